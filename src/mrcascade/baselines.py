"""Reconstructions without a prior: zero filling (the pseudo-inverse) and bicubic interpolation."""

from __future__ import annotations

import numpy as np
import torch

from mrcascade.io.geometry import EDGE_KERNELS
from mrcascade.operators import LinearOperator
from mrcascade.operators.kernels import keys_cubic


def zero_filled(measurement: np.ndarray, operator: LinearOperator) -> np.ndarray:
    """``H^+ y`` of (S, h, w); for the Fourier kernel this is zero filling of k-space."""
    return operator.pinv(torch.from_numpy(measurement)).numpy()


def interpolated(measurement: np.ndarray, operator: LinearOperator, kernel: str) -> np.ndarray:
    """Return (S, h, w) on the grid of the result as the baseline of the measurement's kernel does:
    zero-filled where it is ``fourier``, else bicubic, as the pseudo-inverse of the other kernels
    gives blocks or amplifies noise."""
    if kernel == "fourier":
        return zero_filled(measurement, operator)
    return bicubic(measurement, kernel, operator.in_shape)


def bicubic(measurement: np.ndarray, kernel: str, shape: tuple[int, int]) -> np.ndarray:
    """Cubic interpolation of (S, h, w) to (S, *shape), on the grid of the measurement's kernel.

    The samples' places decide over the result: with ``fourier`` and ``gaussian`` voxel 0 keeps
    its centre, with ``area`` and ``bicubic`` the edges of the field of view stay. The wrong choice
    moves the image by ``(f - 1) / (2 f)`` measured voxels. The border repeats (``fourier``, whose
    images are periodic) or keeps its last value.
    """
    rows, cols = (
        cubic_matrix(n, m, kernel) for n, m in zip(shape, measurement.shape[1:], strict=True)
    )
    result = np.einsum("ij,sjk,lk->sil", rows, measurement, cols, optimize=True)
    return result.astype(measurement.dtype)


def cubic_matrix(n: int, m: int, kernel: str) -> np.ndarray:
    """Keys's cubic convolution from ``m`` samples to ``n`` on the grid of ``kernel``; (n, m)."""
    fine = np.arange(n)
    place = (fine + 0.5) * m / n - 0.5 if kernel in EDGE_KERNELS else fine * m / n
    first = np.floor(place).astype(int) - 1
    matrix = np.zeros((n, m))
    for tap in range(4):
        source = first + tap
        inside = source % m if kernel == "fourier" else np.clip(source, 0, m - 1)
        np.add.at(matrix, (fine, inside), keys_cubic(place - source))
    return matrix
