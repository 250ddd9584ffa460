"""Reconstructions without a prior: zero filling (the pseudo-inverse) and bicubic interpolation."""

from __future__ import annotations

import numpy as np
import torch

from mrcascade.operators.base import LinearOperator
from mrcascade.operators.kernel_matrices import keys_cubic
from mrcascade.operators.kernels import kernel_named


def zero_filled(measurement: np.ndarray, operator: LinearOperator) -> np.ndarray:
    """``H^+ y`` of (S, h, w); for the Fourier kernel this is zero filling of k-space."""
    return operator.pinv(torch.from_numpy(measurement)).numpy()


def interpolated(measurement: np.ndarray, operator: LinearOperator, kernel: str) -> np.ndarray:
    """Return (S, H, W) on the grid of the result, by the method `interpolation_name` names."""
    if kernel_named(kernel).pseudo_inverse:
        return zero_filled(measurement, operator)
    return bicubic(measurement, kernel, operator.in_shape)


def interpolation_name(kernel: str) -> str:
    """Name of the interpolation that a kernel's measurements are compared with: "zero-filled"
    where ``up`` is the pseudo-inverse, else "bicubic", as the pseudo-inverse of other kernels
    gives blocks or amplifies noise."""
    return "zero-filled" if kernel_named(kernel).pseudo_inverse else "bicubic"


def bicubic(measurement: np.ndarray, kernel: str, shape: tuple[int, int]) -> np.ndarray:
    """Cubic interpolation of (S, h, w) to (S, *shape), on the grid of the measurement's kernel.

    The places of the samples decide the result: the kernel's ``origin`` says whether voxel 0 keeps
    its centre or the edges of the field of view stay. The wrong choice moves the image by
    ``(f - 1) / (2 f)`` measured voxels. The border repeats where the kernel is periodic, and keeps
    its last value elsewhere.
    """
    rows, cols = (
        cubic_matrix(n, m, kernel) for n, m in zip(shape, measurement.shape[1:], strict=True)
    )
    result = np.einsum("ij,sjk,lk->sil", rows, measurement, cols, optimize=True)
    return result.astype(measurement.dtype)


def cubic_matrix(n: int, m: int, kernel: str) -> np.ndarray:
    """Keys's cubic convolution from ``m`` samples to ``n`` on the grid of ``kernel``; (n, m)."""
    known = kernel_named(kernel)
    fine, place = np.arange(n), known.places(n, m)
    first = np.floor(place).astype(int) - 1
    matrix = np.zeros((n, m))
    for tap in range(4):
        source = first + tap
        inside = source % m if known.periodic else np.clip(source, 0, m - 1)
        np.add.at(matrix, (fine, inside), keys_cubic(place - source))
    return matrix
