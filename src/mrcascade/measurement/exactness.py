"""Check that results agree with noise-free data, as the projection guarantees."""

from __future__ import annotations

import numpy as np

from mrcascade.arrays.intensity import EMPTY
from mrcascade.errors import MRCascadeError
from mrcascade.operators import LinearOperator, SeparableOperator

#: Largest allowed relative residual of noise-free data; float32 rounding stays far below it.
EXACT = 1e-5
# Singular values below this share of the largest one count as 0: no image explains that part of y.
_VANISHING = 1e-6
# Allowed rounding error of H x as a share of ||H|| ||x||.
_ROUNDINGS = 8 * float(np.finfo(np.float32).eps)


def check_exact(
    residual: np.ndarray,
    measured: np.ndarray,
    images: np.ndarray,
    operator: LinearOperator,
    device: object,
) -> None:
    """Raise MRCascadeError where projected results miss noise-free data by more than `EXACT`.

    The cause is then not float32 rounding, but a device that fails or multiplies with fewer digits.
    The residual of a slice fainter than `EMPTY` is taken relative to that brightness.

    Two kinds of operators are not checked. No image explains all measurements of an operator with
    vanishing singular values or with more samples than pixels. Operators that are not separable
    are solved by iterations, which warn where they do not converge.

    Args:
        residual: (S,), from `relative_residual`.
        measured: (S, h, w), in units of the robust maximum.
        images: (S, H, W), the results in the same unit.
        operator: the operator H.
        device: the device that computed the results, for the error message.
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
    # "not <=" counts NaN as missed. A slice of zeros has a residual of NaN and is left out.
    missed = (size > 0) & ~(residual * size <= allowed)
    if missed.any():
        worst = np.max(residual[missed])
        raise MRCascadeError(
            f"{missed.sum()} of {len(size)} results miss their noise-free measurement, by up to"
            f" {worst:.1e} of its norm instead of {EXACT:.0e}: {device} computes with fewer digits"
            " than float32 or fails; try --device cpu, or --precision float32 where the residual is"
            " nan"
        )
