"""Acquired matrix of an image: as the header states it, or narrower where its spectrum shows so.

Super-resolution, evaluation and training all use this rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from mrcascade.io import Axes
from mrcascade.measurement.noise import slices_for_noise
from mrcascade.measurement.spectrum import matrix_with_signal

# A spectrum narrower than this share of the stated matrix contradicts it. The place of an edge has
# an error of some 8 %, so a smaller difference means nothing.
CLEARLY = 0.9
SPECTRUM = "the empty border of its k-space"
Matrix = tuple[int, int]


@dataclass(frozen=True)
class Acquired:
    """Acquired part of a stored matrix.

    Attributes:
        stored: (rows, columns) of the stored pixels.
        matrix: (rows, columns) that were acquired.
        evidence: source of ``matrix`` in words; empty where nothing states it and all counts.
    """

    stored: Matrix
    matrix: Matrix
    evidence: str

    @property
    def interpolated(self) -> bool:
        """Whether the stored matrix is larger than the acquired one."""
        return self.matrix != self.stored

    @property
    def by_spectrum(self) -> bool:
        """Whether the spectrum decided the matrix, alone or after a statement."""
        return self.evidence.endswith(SPECTRUM)

    def __str__(self) -> str:
        stored, matrix = (f"{rows} x {cols}" for rows, cols in (self.stored, self.matrix))
        return f"{stored} pixels were interpolated from {matrix} acquired ones ({self.evidence})"


def stated_matrix(
    stored: Matrix, axes: Axes, stated: Mapping[int, int] | None, source: str
) -> Acquired:
    """Return the acquired matrix that a file states, or else the stored one.

    Args:
        stored: (rows, columns) of the stored pixels.
        axes: array axes of the rows and columns.
        stated: samples by axis, as in `Image`; None where the file says nothing.
        source: what states them, in words.
    """
    told = stated or {}
    rows, columns = (min(told.get(axis, n), n) for axis, n in zip(axes, stored, strict=True))
    return Acquired(stored, (rows, columns), source if told else "")


def narrowed_by_spectrum(
    stated: Acquired, count: int, read: Callable[[int], np.ndarray]
) -> Acquired:
    """Return the stated matrix, or a smaller one where the slices' spectra are clearly narrower.

    A header is exact and a spectrum is not, so small differences are ignored.

    Args:
        stated: the acquired matrix by the header.
        count: number of slices.
        read: returns slice i as stored, (H, W), real or complex.
    """
    seen = matrix_with_signal(read(i) for i in slices_for_noise(count))
    pairs = zip(seen, stated.matrix, strict=True)
    rows, columns = (size if size < CLEARLY * told else told for size, told in pairs)
    if (rows, columns) == stated.matrix:
        return stated
    evidence = [stated.evidence, SPECTRUM] if stated.interpolated else [SPECTRUM]
    return Acquired(stated.stored, (rows, columns), " and ".join(evidence))
