"""In how many bits data consistency multiplies matrices."""

import os

import torch
from torch import Tensor

# Lets oneDNN, which multiplies on some CPUs, round operands of float32.
_ONEDNN_MODES = ("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE")


def product_dtype(tensor: Tensor) -> torch.dtype:
    """Real dtype in which products with a tensor keep all of its digits.

    That is the tensor's own, but float64 for float32 wherever a switch may round float32 operands
    of a product: to TF32 on GPUs (torch's and NVIDIA's settings and environment variables, some of
    which a process cannot undo), to TF32 or bfloat16 on CPUs. The networks, which need fewer
    digits, follow those switches. float64 also needs no state that threads would share.
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
