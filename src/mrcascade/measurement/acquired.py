"""The rule by which an image's acquired matrix is decided: stated, else seen in its spectrum.

Super-resolution, evaluation and training follow it alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from mrcascade.io import Axes
from mrcascade.measurement.noise import slices_for_noise
from mrcascade.measurement.spectrum import matrix_with_signal

# A spectrum narrower than this share of what was stated contradicts it. Edges are found to some
# 8 %, so that a smaller difference says nothing.
CLEARLY = 0.9
SPECTRUM = "the empty border of its k-space"
Matrix = tuple[int, int]


@dataclass(frozen=True)
class Acquired:
    """How much of the stored matrix was acquired, both (rows, columns).

    evidence: who says so, in words; empty where nothing does and the whole matrix counts.
    """

    stored: Matrix
    matrix: Matrix
    evidence: str

    @property
    def interpolated(self) -> bool:
        """Whether more pixels are stored than were acquired."""
        return self.matrix != self.stored

    @property
    def by_spectrum(self) -> bool:
        """Whether the spectrum, alone or besides what was stated, gave the matrix."""
        return self.evidence.endswith(SPECTRUM)

    def __str__(self) -> str:
        stored, matrix = (f"{rows} x {cols}" for rows, cols in (self.stored, self.matrix))
        return f"{stored} pixels were interpolated from {matrix} acquired ones ({self.evidence})"


def stated_matrix(
    stored: Matrix, axes: Axes, stated: Mapping[int, int] | None, source: str
) -> Acquired:
    """What a file states, the stored size where it does not.

    stored: (rows, columns), along ``axes``. stated: axis -> samples, as in `Image`. source: what
    states it, in words.
    """
    told = stated or {}
    rows, columns = (min(told.get(axis, n), n) for axis, n in zip(axes, stored, strict=True))
    return Acquired(stored, (rows, columns), source if told else "")


def narrowed_by_spectrum(
    stated: Acquired, count: int, read: Callable[[int], np.ndarray]
) -> Acquired:
    """What was stated, or less where the spectra of the slices are clearly narrower.

    A spectrum tells the matrix to some percent only, a header exactly. ``read(i)`` gives slice i
    of ``count``, (H, W) as stored.
    """
    seen = matrix_with_signal(read(i) for i in slices_for_noise(count))
    pairs = zip(seen, stated.matrix, strict=True)
    rows, columns = (size if size < CLEARLY * told else told for size, told in pairs)
    if (rows, columns) == stated.matrix:
        return stated
    evidence = [stated.evidence, SPECTRUM] if stated.interpolated else [SPECTRUM]
    return Acquired(stated.stored, (rows, columns), " and ".join(evidence))
