"""Whether results meet noise-free data, as the projection promises."""

from __future__ import annotations

import numpy as np

from mrcascade.arrays.intensity import EMPTY
from mrcascade.errors import MRCascadeError
from mrcascade.operators import LinearOperator, SeparableOperator

#: Largest relative residual of noise-free data. Rounding to float32 leaves about 3e-7.
EXACT = 1e-5
# Singular values below this share of the largest belong to parts of y that no image explains.
_VANISHING = 1e-6
# Rounding errors of H x, in units of float32's relative spacing times ||H|| ||x||.
_ROUNDINGS = 8 * float(np.finfo(np.float32).eps)


def check_exact(
    residual: np.ndarray,
    measured: np.ndarray,
    images: np.ndarray,
    operator: LinearOperator,
    device: object,
) -> None:
    """Raise MRCascadeError where projected results miss noise-free data by more than `EXACT`.

    Something other than rounding to float32 is at work then: a device that multiplies with fewer
    digits, or one that fails. A slice that is fainter than `EMPTY` counts as one of that
    brightness, as its residual is relative to hardly anything. Nothing is promised, and so nothing
    is checked, for measurements that no image explains fully (an operator with vanishing singular
    values, or with more samples than pixels), and for operators that are not separable, whose
    iterations warn where they do not end.

    Args:
        residual: (S,), of `relative_residual`.
        measured: (S, h, w), in units of the robust maximum.
        images: (S, H, W), the results, in the same unit.
        operator: H, of the images.
        device: that did the work.
    """
    if not isinstance(operator, SeparableOperator):
        return
    smallest, largest = operator.singular_range
    if smallest <= _VANISHING * largest:
        return
    size = np.linalg.norm(measured, axis=(1, 2))
    faint = EMPTY * np.sqrt(measured[0].size)
    rounding = _ROUNDINGS * largest * np.linalg.norm(images, axis=(1, 2))
    allowed = EXACT * np.maximum(size, faint) + rounding
    # In this form NaN counts as missed; the residual of a slice of zeros is NaN by definition.
    missed = (size > 0) & ~(residual * size <= allowed)
    if missed.any():
        worst = np.max(residual[missed])
        raise MRCascadeError(
            f"{missed.sum()} of {len(size)} results miss their noise-free measurement, by up to"
            f" {worst:.1e} of its norm instead of {EXACT:.0e}: {device} computes with fewer digits"
            " than float32 or fails; try --device cpu, or --precision float32 where the residual is"
            " nan"
        )
