"""Recognition of device errors: too little memory, or a device that failed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mrcascade.errors import MRCascadeError

# Parts of messages in lower case. torch has an exception class for its GPU allocators (CUDA, HIP,
# MPS, XPU); its CPU allocator and the libraries below it raise a plain RuntimeError.
_MEMORY = (
    "out of memory",  # CUDA, HIP, MPS and XPU
    "not enough memory",  # torch's CPU allocator on Windows
    "can't allocate memory",  # torch's CPU allocator elsewhere
    "alloc_failed",  # cuDNN, cuBLAS, cuFFT and cuSOLVER
    "allocation_failed",  # cuDNN 9
    "statusallocfailed",  # MIOpen
    "unable to find an engine",  # cuDNN, when no workspace fits
    "out_of_device_memory",  # Level Zero
    "outofmemory",  # hipErrorOutOfMemory
)
_FAILURES = (
    "cuda error",
    "cuda driver error",
    "cudnn error",
    "cudnn_status_",
    "cublas_status_",
    "cufft_",
    "cusolver_status_",
    "nvrtc",
    "nccl",
    "hip error",
    "hiperror",
    "miopen",
    "rocblas",
    "hipblas",
    "mps backend",
    "command buffer",  # Metal
    "ur_result_error",  # XPU
    "device lost",
    "device-side assert",
    "no kernel image",
)


class DeviceError(MRCascadeError):
    """A device failed, or lacks memory, in the work on one file."""


def lacks_memory(error: BaseException) -> bool:
    """Return whether an exception means too little memory, on any device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and _says(error, _MEMORY)


def device_failed(error: BaseException) -> bool:
    """Return whether an exception means that the device failed, such as an illegal access."""
    # torch.AcceleratorError exists from 2.8 on.
    accelerator = getattr(torch, "AcceleratorError", ())
    return isinstance(error, accelerator) or (
        isinstance(error, RuntimeError) and _says(error, _FAILURES)
    )


def still_answers(device: torch.device) -> bool:
    """Whether a device computes: after some failures every call of the process fails, too."""
    try:
        return float(torch.ones(1, device=device) + 1) == 2  # which waits for it
    except RuntimeError as error:
        return lacks_memory(error)


@contextmanager
def device_errors_of(what: object, device: torch.device) -> Iterator[None]:
    """Turn failures of a device while it works on ``what``, such as a file, into DeviceError.

    Most of them leave a GPU unusable for the process, so that what follows fails in the same way.
    """
    try:
        yield
    except RuntimeError as error:
        if lacks_memory(error):
            raise no_memory(what, device) from error
        if not device_failed(error):
            raise
        raise DeviceError(
            f"{what}: {device} failed ({_first_line(error)}); start the command again to go on, and"
            " try --device cpu if that repeats"
        ) from error


def no_memory(what: object, device: torch.device) -> DeviceError:
    """The error where memory does not suffice even for one slice."""
    return DeviceError(
        f"{what}: not enough memory on {device} for one slice; try --device cpu or a machine with"
        " more"
    )


def _says(error: BaseException, parts: tuple[str, ...]) -> bool:
    text = str(error).lower()
    return any(part in text for part in parts)


def _first_line(error: BaseException) -> str:
    return " ".join(str(error).strip().splitlines()[:1])[:160] or type(error).__name__
