"""Time that a prior's networks take within a restoration."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from mrcascade.devices.facts import synchronize
from mrcascade.evaluation.flops import networks_of
from mrcascade.prior.cascade import CascadePrior


class NetworkClock:
    """Sums the time of the forward passes of U-Nets and regression branches.

    On a GPU, events in its queue take the time, so that the CPU never waits for a pass and
    launches the next one as in a run without a clock.
    """

    def __init__(self, prior: CascadePrior) -> None:
        self._prior = prior
        self._device = prior.device
        self._marks: list[tuple[Any, Any]] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Take the time of every pass within the ``with`` block."""
        begun: list[Any] = []

        def before(*_: object) -> None:
            begun.append(self._mark())

        def after(*_: object) -> None:
            self._marks.append((begun.pop(), self._mark()))

        handles = []
        for module in networks_of(self._prior):
            handles.append(module.register_forward_pre_hook(before))
            handles.append(module.register_forward_hook(after))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @property
    def seconds(self) -> float:
        """Seconds of all passes so far; waits for a GPU."""
        if self._device.type != "cuda":
            return float(sum(end - start for start, end in self._marks))
        synchronize(self._device)
        return sum(float(start.elapsed_time(end)) for start, end in self._marks) / 1000

    def _mark(self) -> Any:
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event
