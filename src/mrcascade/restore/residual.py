"""Distance of results from their own measurement."""

from __future__ import annotations

import numpy as np
import torch

from mrcascade.measurement.border import NO_MARGINS, Margins
from mrcascade.operators import LinearOperator


def relative_residual(
    images: np.ndarray,
    measurement: np.ndarray,
    operator: LinearOperator,
    margins: Margins = NO_MARGINS,
) -> np.ndarray:
    """Return ``||y - H x|| / ||y||`` of each slice.

    Args:
        images: x, (S, H, W), real or complex.
        measurement: y, (S, h, w), without margins.
        operator: H on the grid of the images.
        margins: margins that the images and the operator have.

    Returns:
        (S,) float64; NaN for empty slices, where y is zero.
    """
    wide = np.complex128 if np.iscomplexobj(images) else np.float64
    x, y = torch.from_numpy(images.astype(wide)), torch.from_numpy(measurement.astype(wide))
    own = margins.measured(measurement.shape[-2:])
    error = torch.linalg.vector_norm(y - operator(x)[(..., *own)], dim=(-2, -1))
    size = torch.linalg.vector_norm(y, dim=(-2, -1))
    return torch.where(size > 0, error / size, torch.nan).numpy()
