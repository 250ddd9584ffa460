"""In how many bits the networks compute, and whether the processor has instructions for it."""

from __future__ import annotations

import platform

import torch

from mrcascade.errors import MRCascadeError

#: What may be asked for; "auto" is the second where that is fast, else the first.
PRECISIONS = ("float32", "bfloat16", "auto")


def resolve_precision(asked: str, device: str | torch.device) -> str:
    """ "float32" or "bfloat16", on a device; MRCascadeError for what is none of ``PRECISIONS``."""
    if asked not in PRECISIONS:
        raise MRCascadeError(f"unknown precision {asked!r}: choose from {', '.join(PRECISIONS)}")
    if asked != "auto":
        return asked
    return "bfloat16" if computes_in_bfloat16(device) else "float32"


def computes_in_bfloat16(device: str | torch.device) -> bool:
    """Whether convolutions in bfloat16 are faster than in float32 there.

    A CPU without such instructions converts each operand, which was six times slower on one with
    AVX2 (``benchmarks/speed.py --modes mean``).
    """
    kind = torch.device(device).type
    if kind == "cuda":
        if torch.version.hip is not None:
            return True
        # Of this device: torch.cuda.is_bf16_supported asks the current one.
        return bool(torch.cuda.get_device_properties(device).major >= 8)
    if kind != "cpu":
        return False
    if platform.machine() in ("aarch64", "arm64"):
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
