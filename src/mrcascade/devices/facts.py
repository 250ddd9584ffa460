"""Facts about the device that computes: memory, name, TF32."""

from __future__ import annotations

import math
import os
import platform
from pathlib import Path
from typing import Any

import torch


def synchronize(device: str | torch.device) -> None:
    """Wait until a GPU has finished its work; do nothing on a CPU."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def free_bytes(device: torch.device) -> int:
    """Return the memory in bytes that this process can still use on a GPU.

    It includes the allocator's cache, which earlier files no longer need.
    """
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + int(kept)


def whole_memory(device: torch.device) -> float:
    """Return the memory in bytes of a GPU, or of the machine for a CPU; inf where not known."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[1])
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # not on every system
        return math.inf


def available_memory() -> tuple[float, float]:
    """Return the machine's memory in bytes that programs can still use, and all of it.

    Both are inf where not known.
    """
    whole = whole_memory(torch.device("cpu"))
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return whole, whole
    named = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    return next((float(kibibytes) * 1024 for kibibytes in named), whole), whole


def release_cache(device: torch.device) -> None:
    """Release a GPU's unused memory, so that the next file finds it unfragmented."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def hardware(device: str | torch.device, threads: int | None = None) -> str:
    """Name of the processor that computes; for a CPU with its threads (default: torch's number)."""
    if torch.device(device).type == "cuda":
        return str(torch.cuda.get_device_name(device))
    threads = threads or torch.get_num_threads()
    return f"{threads} CPU thread{'s' * (threads != 1)} ({_processor()})"


def device_facts(device: torch.device) -> dict[str, Any]:
    """Return the sidecar's entries on the device, which a result's rounding depends on.

    For a GPU they include its name, and whether the networks' float32 convolutions and matrix
    products may use TF32. Data consistency never does (`product_dtype`).
    """
    facts: dict[str, Any] = {"Device": str(device)}
    if device.type == "cuda":
        convolutions, products = tf32(device)
        facts["DeviceName"] = hardware(device)
        facts["TF32"] = {"Convolutions": convolutions, "MatrixProducts": products}
    return facts


def tf32(device: str | torch.device) -> tuple[bool, bool]:
    """Return whether float32 convolutions and float32 matrix products may use TF32 on a device.

    The environment variable NVIDIA_TF32_OVERRIDE forbids both at 0. Any other value counts as
    permission for both, although NVIDIA documents 0 only.
    """
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
    except RuntimeError:  # torch 2.9 raises it where `fp32_precision` was set instead
        return bool(precise.fp32_precision == "tf32")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
