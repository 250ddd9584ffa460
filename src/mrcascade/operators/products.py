"""Precision of the matrix products of data consistency."""

import os

import torch
from torch import Tensor

# These let oneDNN, which multiplies matrices on some CPUs, round float32 operands.
_ONEDNN_MODES = ("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE")


def product_dtype(tensor: Tensor) -> torch.dtype:
    """Return the real dtype in which products with a tensor keep all of its digits.

    It is the tensor's own dtype, except that float32 becomes float64 where a switch may round
    float32 operands: to TF32 on GPUs, to TF32 or bfloat16 on CPUs. The switches are settings and
    environment variables of torch and NVIDIA, and a process cannot undo all of them. The networks
    need fewer digits and follow the switches. float64 also needs no state that threads would share.
    """
    own = tensor.dtype.to_real()
    return torch.float64 if own == torch.float32 and _rounds_float32(tensor.device) else own


def _rounds_float32(device: torch.device) -> bool:
    if device.type == "cuda":
        return True
    if device.type != "cpu":
        return False
    if any(os.environ.get(name, "STRICT").upper() != "STRICT" for name in _ONEDNN_MODES):
        return True
    matmul = getattr(torch.backends.mkldnn, "matmul", None)
    if matmul is None:  # before torch 2.9
        return torch.get_float32_matmul_precision() != "highest"
    return str(matmul.fp32_precision) not in ("ieee", "none")
