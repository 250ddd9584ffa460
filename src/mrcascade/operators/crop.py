"""Crops of stacks: to a smaller matrix in k-space, to sides that factors divide in the image."""

from collections.abc import Sequence

import numpy as np

from mrcascade.arrays.factors import Factor, legal_size
from mrcascade.operators.kernels import down_matrix


def fourier_crop(stack: np.ndarray, matrix: Sequence[int]) -> np.ndarray:
    """Keep the centre of k-space of (S, H, W), ``matrix`` samples per axis; constants stay."""
    rows, cols = (min(m, n) for m, n in zip(matrix, stack.shape[1:], strict=True))
    if (rows, cols) == stack.shape[1:]:
        return stack
    a = down_matrix("fourier", stack.shape[1], rows).astype(np.float32)
    b = down_matrix("fourier", stack.shape[2], cols).astype(np.float32)
    return np.einsum("ij,sjk,lk->sil", a, stack, b, optimize=True)


def centre_crop(stack: np.ndarray, factors: Sequence[Factor]) -> np.ndarray:
    """Centre of (S, H, W) with the largest sides that the (row, column) factors divide.

    Raises MRCascadeError where a side is smaller than that.
    """
    window = []
    for n, factor in zip(stack.shape[1:], factors, strict=True):
        size = legal_size(n, factor)
        start = (n - size) // 2
        window.append(slice(start, start + size))
    return stack[:, window[0], window[1]]
