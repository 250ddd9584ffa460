"""Interpolated inputs: their effective (acquired) matrix, and the crop to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from mrcascade.arrays.intensity import Intensity, RobustMaximum
from mrcascade.errors import MRCascadeError
from mrcascade.io import Axes, SliceStore, Source, StackOrder
from mrcascade.measurement.acquired import Acquired, Matrix, narrowed_by_spectrum, stated_matrix
from mrcascade.operators.crop import fourier_crop

BY_HAND = "--acquired-matrix"


def acquired_by_header(source: Source, axes: Axes, wanted: str | Matrix | None) -> Acquired:
    """Return the acquired matrix by the option or the header, before any pixel is read.

    Args:
        source: the open input.
        axes: its in-plane axes.
        wanted: value of ``--acquired-matrix``: (rows, columns), "auto" or None.

    Raises:
        MRCascadeError: ``wanted`` is larger than the stored matrix.
    """
    rows, columns = (source.shape[a] for a in axes)
    stored = rows, columns
    if wanted is not None and not isinstance(wanted, str):
        if wanted[0] > rows or wanted[1] > columns:
            raise MRCascadeError(
                f"{source.source}: acquired matrix {wanted[0]},{wanted[1]} is larger than the"
                f" stored {rows},{columns}; give one that is not, or auto"
            )
        return Acquired(stored, wanted, BY_HAND)
    return stated_matrix(stored, axes, source.acquired, source.acquired_by)


def acquired_by_pixels(measured: SliceStore, stated: Acquired) -> Acquired:
    """Return the stated matrix, or a smaller one if the slices' spectra are clearly narrower.

    A matrix given by hand is not changed.
    """
    if stated.evidence == BY_HAND:
        return stated
    return narrowed_by_spectrum(stated, len(measured), lambda i: measured.read(i, i + 1)[0])


def crop_to_acquired(
    measured: SliceStore,
    matrix: Sequence[int],
    new_store: Callable[[StackOrder, np.dtype], SliceStore],
    zero: float = 0.0,
) -> tuple[SliceStore, Intensity]:
    """Fourier-crop slices to their acquired matrix.

    Args:
        measured: stored slices.
        matrix: acquired (rows, columns).
        new_store: makes the store of the result.
        zero: value of no signal. The crop preserves constants, so the result has the same value.

    Returns:
        The cropped slices in a new store, and their intensity.
    """
    order = measured.order
    sizes = dict(zip(order.axes, matrix, strict=True))
    shape = tuple(sizes.get(axis, n) for axis, n in enumerate(order.shape))
    store = new_store(replace(order, shape=shape), measured.dtype)
    maximum = RobustMaximum(math.prod(shape))
    for number in range(len(measured)):
        cropped = fourier_crop(measured.read(number, number + 1), matrix)
        store.write(number, np.asarray(cropped, measured.dtype))
        maximum.add(cropped - zero if zero else cropped)
    return store, Intensity(maximum.value(), zero)
