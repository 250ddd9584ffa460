"""Precision of the networks: float32, or bfloat16 where the processor computes it fast."""

from __future__ import annotations

import platform

import torch

from mrcascade.errors import MRCascadeError

#: Names of precisions; "auto" means bfloat16 where that is fast, else float32.
PRECISIONS = ("float32", "bfloat16", "auto")


def resolve_precision(asked: str, device: str | torch.device) -> str:
    """Return "float32" or "bfloat16" for one of ``PRECISIONS`` on a device.

    Raises MRCascadeError for other names.
    """
    if asked not in PRECISIONS:
        raise MRCascadeError(f"unknown precision {asked!r}: choose from {', '.join(PRECISIONS)}")
    if asked != "auto":
        return asked
    return "bfloat16" if computes_in_bfloat16(device) else "float32"


def computes_in_bfloat16(device: str | torch.device) -> bool:
    """Return whether a device computes convolutions faster in bfloat16 than in float32.

    A CPU without bfloat16 instructions converts each operand, which makes it several times slower
    (``mrcascade benchmark --precision bfloat16``).
    """
    kind = torch.device(device).type
    if kind == "cuda":
        if torch.version.hip is not None:
            return True
        # torch.cuda.is_bf16_supported would ask the current device, not this one.
        return bool(torch.cuda.get_device_properties(device).major >= 8)
    if kind != "cpu":
        return False
    if platform.machine() in ("aarch64", "arm64"):
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
