"""What torch tells of the device that does the work."""

from __future__ import annotations

import math
import os
import platform
from pathlib import Path
from typing import Any

import torch


def synchronize(device: str | torch.device) -> None:
    """Wait until a GPU has done what it was given; a CPU never lags behind."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def free_bytes(device: torch.device) -> int:
    """Memory in bytes that a GPU has left for this process, the allocator's cache included, which
    holds what an earlier file no longer needs."""
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + int(kept)


def whole_memory(device: torch.device) -> float:
    """Memory in bytes of a GPU, or else of the machine; infinite where that is not told."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[1])
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # not on every system
        return math.inf


def release_cache(device: torch.device) -> None:
    """Give a GPU's unused memory back, so that what comes next finds it in one piece."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def hardware(device: str | torch.device, threads: int | None = None) -> str:
    """The processor that does the work, in words; ``threads`` instead of torch's number."""
    if torch.device(device).type == "cuda":
        return str(torch.cuda.get_device_name(device))
    threads = threads or torch.get_num_threads()
    return f"{threads} CPU thread{'s' * (threads != 1)} ({_processor()})"


def device_facts(device: torch.device) -> dict[str, Any]:
    """What a result's rounding depends on besides software and precision, for its sidecar.

    A GPU has a name, and says whether the networks' float32 convolutions and matrix products may
    be rounded to TF32; data consistency never is (`product_dtype`).
    """
    facts: dict[str, Any] = {"Device": str(device)}
    if device.type == "cuda":
        convolutions, products = tf32(device)
        facts["DeviceName"] = hardware(device)
        facts["TF32"] = {"Convolutions": convolutions, "MatrixProducts": products}
    return facts


def tf32(device: str | torch.device) -> tuple[bool, bool]:
    """Whether torch lets a device round the operands of float32 convolutions and of float32 matrix
    products to TF32. NVIDIA_TF32_OVERRIDE in the environment forbids both at 0; any other value
    counts as leave for both, although NVIDIA only documents 0."""
    if torch.device(device).type != "cuda" or os.environ.get("NVIDIA_TF32_OVERRIDE") == "0":
        return False, False
    forced = os.environ.get("NVIDIA_TF32_OVERRIDE") is not None
    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    return (
        forced or _allows(convolutions, getattr(convolutions, "conv", None)),
        forced or _allows(products, products),
    )


def _allows(switch: Any, precise: Any) -> bool:
    try:
        return bool(switch.allow_tf32)
    except RuntimeError:  # which torch 2.9 raises where `fp32_precision` was set instead
        return bool(precise.fp32_precision == "tf32")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
