from .base import LinearOperator
from .iterative import CallableOperator
from .kernels import KERNELS, Kernel, down_matrix, kernel_named, register_kernel, up_matrix
from .mismatch import expected_error, sampled_error
from .noise import gaussian_noise
from .norm import squared_norm
from .separable import IdentityOperator, SeparableOperator, downsampler, upsampler

__all__ = [
    "KERNELS",
    "CallableOperator",
    "IdentityOperator",
    "Kernel",
    "LinearOperator",
    "SeparableOperator",
    "down_matrix",
    "downsampler",
    "expected_error",
    "gaussian_noise",
    "kernel_named",
    "register_kernel",
    "sampled_error",
    "squared_norm",
    "up_matrix",
    "upsampler",
]
