"""Largest singular value of an operator; it bounds the step of a gradient descent."""

import numpy as np
import torch
from torch import Tensor

from mrcascade.operators.base import LinearOperator
from mrcascade.operators.separable import SeparableOperator

_POWER_ITERATIONS = 50


def squared_norm(operator: LinearOperator, like: Tensor) -> float:
    """Return ||H||^2, the largest eigenvalue of H^T H.

    A separable operator gives it exactly, from the norms of its matrices. For any other operator,
    50 power iterations on a fixed random image approach it from below.

    Args:
        operator: H.
        like: measurement (N, C, h, w) with channels, dtype and device that the operator accepts.
    """
    if isinstance(operator, SeparableOperator):
        return float(np.linalg.norm(operator.rows, 2) * np.linalg.norm(operator.cols, 2)) ** 2
    shape = (1, like.shape[1], *operator.in_shape)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator, device="cpu").to(like)
    for _ in range(_POWER_ITERATIONS):
        x = x / torch.linalg.vector_norm(x)
        x = operator.adjoint(operator(x))
    return float(torch.linalg.vector_norm(x))
