"""Crops of stacks: in k-space to another matrix, in the image to sides that factors divide."""

from collections.abc import Sequence

import numpy as np

from mrcascade.arrays.factors import Factor, legal_size
from mrcascade.operators.kernels import down_matrix, up_matrix


def fourier_crop(stack: np.ndarray, matrix: Sequence[int]) -> np.ndarray:
    """Crop k-space of (S, H, W) to its centre.

    Args:
        stack: slices (S, H, W), real or complex.
        matrix: samples to keep per axis (rows, columns); a side never grows.

    Returns:
        Slices on the smaller grid. A constant image keeps its value.
    """
    rows, cols = (min(m, n) for m, n in zip(matrix, stack.shape[1:], strict=True))
    if (rows, cols) == stack.shape[1:]:
        return stack
    a = down_matrix("fourier", stack.shape[1], rows).astype(np.float32)
    b = down_matrix("fourier", stack.shape[2], cols).astype(np.float32)
    return np.einsum("ij,sjk,lk->sil", a, stack, b, optimize=True)


def fourier_resized(stack: np.ndarray, matrix: Sequence[int]) -> np.ndarray:
    """Crop or zero-fill k-space of (S, H, W) to a matrix (rows, columns), axis by axis.

    Returns slices on the new grid, real or complex. A constant image keeps its value.
    """
    rows, cols = (
        down_matrix("fourier", n, m) if m <= n else up_matrix("fourier", m, n)
        for m, n in zip(matrix, stack.shape[1:], strict=True)
    )
    return np.einsum("ij,sjk,lk->sil", rows, stack, cols, optimize=True)


def centre_crop(stack: np.ndarray, factors: Sequence[Factor]) -> np.ndarray:
    """Return the centre of (S, H, W) with the largest sides that the (row, column) factors divide.

    Raises MRCascadeError where a side is smaller than its smallest legal size.
    """
    window = []
    for n, factor in zip(stack.shape[1:], factors, strict=True):
        size = legal_size(n, factor)
        start = (n - size) // 2
        window.append(slice(start, start + size))
    return stack[:, window[0], window[1]]
