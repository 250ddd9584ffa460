"""Linear measurement operators: kernels, separable operators, operators given as functions."""

from mrcascade.arrays.factors import Factor, as_fraction, legal_size
from mrcascade.operators.base import LinearOperator
from mrcascade.operators.iterative import CallableOperator
from mrcascade.operators.kernels import KERNELS, down_matrix, up_matrix
from mrcascade.operators.mismatch import expected_error, sampled_error
from mrcascade.operators.noise import gaussian_noise
from mrcascade.operators.norm import squared_norm
from mrcascade.operators.separable import (
    IdentityOperator,
    SeparableOperator,
    downsampler,
    upsampler,
)

__all__ = [
    "KERNELS",
    "CallableOperator",
    "Factor",
    "IdentityOperator",
    "LinearOperator",
    "SeparableOperator",
    "as_fraction",
    "down_matrix",
    "downsampler",
    "expected_error",
    "gaussian_noise",
    "legal_size",
    "sampled_error",
    "squared_norm",
    "up_matrix",
    "upsampler",
]
