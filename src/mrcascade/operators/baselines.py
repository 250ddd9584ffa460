"""Reconstructions without a prior: zero filling (the pseudo-inverse) and bicubic interpolation."""

from __future__ import annotations

import numpy as np
import torch

from mrcascade.operators.base import LinearOperator
from mrcascade.operators.kernel_matrices import keys_cubic
from mrcascade.operators.kernels import kernel_named


def zero_filled(measurement: np.ndarray, operator: LinearOperator) -> np.ndarray:
    """Return ``H^+ y`` for y (S, h, w); for the Fourier kernel it is zero filling of k-space."""
    return operator.pinv(torch.from_numpy(measurement)).numpy()


def interpolated(measurement: np.ndarray, operator: LinearOperator, kernel: str) -> np.ndarray:
    """Interpolate (S, h, w) to the operator's grid (S, H, W), as `interpolation_name` says."""
    if kernel_named(kernel).pseudo_inverse:
        return zero_filled(measurement, operator)
    return bicubic(measurement, kernel, operator.in_shape)


def interpolation_name(kernel: str) -> str:
    """Return the name of the interpolation that serves as baseline for a kernel.

    "zero-filled" where ``up`` is the pseudo-inverse, else "bicubic": the pseudo-inverse of other
    kernels gives blocks or amplifies noise.
    """
    return "zero-filled" if kernel_named(kernel).pseudo_inverse else "bicubic"


def bicubic(measurement: np.ndarray, kernel: str, shape: tuple[int, int]) -> np.ndarray:
    """Interpolate (S, h, w) to (S, *shape) by Keys's cubic on the grid of ``kernel``.

    The kernel's ``origin`` places the samples: either the centre of voxel 0 or the edges of the
    field of view stay. The wrong choice shifts the image by ``(f - 1) / (2 f)`` measured voxels.
    Beyond the border a periodic kernel repeats the image; others repeat its last value.
    """
    rows, cols = (
        cubic_matrix(n, m, kernel) for n, m in zip(shape, measurement.shape[1:], strict=True)
    )
    result = np.einsum("ij,sjk,lk->sil", rows, measurement, cols, optimize=True)
    return result.astype(measurement.dtype)


def cubic_matrix(n: int, m: int, kernel: str) -> np.ndarray:
    """Return the (n, m) matrix of Keys's cubic interpolation on the grid of ``kernel``."""
    known = kernel_named(kernel)
    fine, place = np.arange(n), known.places(n, m)
    first = np.floor(place).astype(int) - 1
    matrix = np.zeros((n, m))
    for tap in range(4):
        source = first + tap
        inside = source % m if known.periodic else np.clip(source, 0, m - 1)
        np.add.at(matrix, (fine, inside), keys_cubic(place - source))
    return matrix
