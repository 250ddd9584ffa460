"""Linear measurement operators: kernels, separable operators, operators given as functions."""

from mrcascade.operators.base import LinearOperator
from mrcascade.operators.factors import Factor, legal_size
from mrcascade.operators.iterative import CallableOperator
from mrcascade.operators.kernels import KERNELS, SHARED_EDGE_KERNELS, down_matrix, up_matrix
from mrcascade.operators.mismatch import expected_error
from mrcascade.operators.norm import squared_norm
from mrcascade.operators.separable import (
    IdentityOperator,
    SeparableOperator,
    downsampler,
    upsampler,
)

__all__ = [
    "KERNELS",
    "SHARED_EDGE_KERNELS",
    "CallableOperator",
    "Factor",
    "IdentityOperator",
    "LinearOperator",
    "SeparableOperator",
    "down_matrix",
    "downsampler",
    "expected_error",
    "legal_size",
    "squared_norm",
    "up_matrix",
    "upsampler",
]
