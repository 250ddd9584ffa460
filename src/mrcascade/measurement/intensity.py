"""Intensity of a measurement in memory: as the caller gives it, else estimated."""

from __future__ import annotations

import numpy as np
import torch

from mrcascade.arrays.intensity import Intensity
from mrcascade.errors import MRCascadeError
from mrcascade.measurement.noise import zero_level
from mrcascade.operators import LinearOperator

CONSTANT = 1e-4  # largest change of a constant 1 by an operator that keeps constants


def measured_intensity(
    stack: np.ndarray, operator: LinearOperator, known: Intensity | None = None
) -> Intensity:
    """Intensity of slices (S, h, w) that ``operator`` measured.

    A zero level of the measurement is that of the image where the operator keeps constants, as the
    kernels do; elsewhere it is taken for 0.

    Args:
        known: the intensity, where it is known already.

    Raises MRCascadeError for a zero level other than 0 that the operator does not keep.
    """
    if known is None:
        zero = zero_level(stack)
        return Intensity.of(stack, zero if zero and _keeps_constants(operator) else 0.0)
    if known.zero and not _keeps_constants(operator):
        raise MRCascadeError(
            f"{operator.name} changes constants, so that its measurements have no zero level of"
            f" {known.zero:g}; subtract what it makes of such an image from them"
        )
    return known


def _keeps_constants(operator: LinearOperator) -> bool:
    constant = operator(torch.ones((1, *operator.in_shape), dtype=torch.float64))
    return bool((constant - 1).abs().max() < CONSTANT)
