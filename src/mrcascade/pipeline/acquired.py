"""Interpolated inputs: how many of the stored pixels were acquired, and cropping to those."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mrcascade.acquired import matrix_with_signal
from mrcascade.dataset import fourier_crop
from mrcascade.errors import MRCascadeError
from mrcascade.intensity import RobustMaximum
from mrcascade.io import Axes, SliceStore, Source
from mrcascade.noise_estimate import slices_for_noise

# A spectrum narrower than this share of what was stated contradicts it.
CLEARLY = 0.9
Matrix = tuple[int, int]


@dataclass(frozen=True)
class Acquired:
    """How much of the stored matrix was acquired, both (rows, columns). evidence: who says so."""

    stored: Matrix
    matrix: Matrix
    evidence: str

    @property
    def interpolated(self) -> bool:
        return self.matrix != self.stored

    def __str__(self) -> str:
        stored, matrix = (f"{rows} x {cols}" for rows, cols in (self.stored, self.matrix))
        return f"{stored} pixels were interpolated from {matrix} acquired ones ({self.evidence})"


def acquired_by_header(source: Source, axes: Axes, wanted: str | Matrix | None) -> Acquired:
    """What the option or the file says, before any pixel is read.

    wanted: the option ``--acquired-matrix``. Raises MRCascadeError where it asks for more than is
    stored.
    """
    rows, columns = (source.shape[a] for a in axes)
    stored = rows, columns
    if wanted is not None and not isinstance(wanted, str):
        if wanted[0] > rows or wanted[1] > columns:
            raise MRCascadeError(
                f"{source.source}: acquired matrix {wanted[0]},{wanted[1]} is larger than the"
                f" stored {rows},{columns}; give one that is not, or auto"
            )
        return Acquired(stored, wanted, "--acquired-matrix")
    stated = source.acquired or {}
    found = [min(stated.get(axis, n), n) for axis, n in zip(axes, stored, strict=True)]
    return Acquired(stored, (found[0], found[1]), source.acquired_by if stated else "")


def acquired_by_pixels(measured: SliceStore, stated: Acquired) -> Acquired:
    """What was stated, or less where the spectra of the slices are clearly narrower.

    A spectrum tells the matrix to some percent only, a header exactly. A matrix given by hand
    stays.
    """
    if stated.evidence == "--acquired-matrix":
        return stated
    chosen = slices_for_noise(len(measured))
    seen = matrix_with_signal(measured.read(i, i + 1)[0] for i in chosen)
    pairs = zip(seen, stated.matrix, strict=True)
    rows, columns = (size if size < CLEARLY * told else told for size, told in pairs)
    evidence = [stated.evidence] if stated.interpolated else []
    if (rows, columns) != stated.matrix:
        evidence.append("the empty border of its k-space")
    return Acquired(stated.stored, (rows, columns), " and ".join(evidence))


def crop_to_acquired(
    measured: SliceStore, matrix: Sequence[int], folder: Path, stack: ExitStack
) -> tuple[SliceStore, float]:
    """The slices at their acquired matrix, in a new store, and their robust maximum."""
    order = measured.order
    sizes = dict(zip(order.axes, matrix, strict=True))
    shape = tuple(sizes.get(axis, n) for axis, n in enumerate(order.shape))
    store = stack.enter_context(SliceStore(folder, replace(order, shape=shape), measured.dtype))
    maximum = RobustMaximum(math.prod(shape))
    for number in range(len(measured)):
        cropped = fourier_crop(measured.read(number, number + 1), matrix)
        store.write(number, np.asarray(cropped, measured.dtype))
        maximum.add(cropped)
    return store, maximum.value()
