"""Timing of work on a device."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from mrcascade.devices.facts import synchronize

# Number of timed runs. The fastest counts, because other programs slow some down.
_TIMED = 3


def fastest_seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return the time of the fastest of three runs, after one warm-up run."""
    work()
    return min(elapsed(work, device) for _ in range(_TIMED))


def elapsed(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of one run, which ends when a GPU has finished its work."""
    synchronize(device)  # earlier work on the GPU may still run
    started = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - started
