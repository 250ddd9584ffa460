"""Cost of a method's work, without what happens only once on a machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch

from mrcascade.devices.facts import hardware
from mrcascade.evaluation.flops import FlopMeter
from mrcascade.evaluation.units import Tick
from mrcascade.evaluation.warm_up import WarmUp
from mrcascade.operators import SeparableOperator
from mrcascade.prior.cascade import CascadePrior

Result = TypeVar("Result")


@dataclass(frozen=True)
class WorkCost:
    """What a piece of work took: wall time, time of all threads of this process, and FLOP."""

    seconds: float
    cpu_seconds: float
    flop: int


class CostMeter:
    """Measures work with a prior; warm-up and compiling come before and do not count."""

    def __init__(self) -> None:
        self._flops, self._warm_up = FlopMeter(), WarmUp()

    def __call__(
        self,
        prior: CascadePrior | None,
        operators: Sequence[SeparableOperator],
        images: int,
        tick: Tick,
        work: Callable[[], Result],
    ) -> tuple[Result, WorkCost]:
        """Return the result of ``work`` and its cost.

        Args:
            prior: prior whose networks work, if any.
            operators: measurements of the images that pass through them.
            images: number of images that pass through the networks together.
            tick: hears of compiling.
            work: the work.
        """
        for operator in operators:
            self._warm_up(prior, operator, images)
        compiler = prior.compiler if prior else None
        compiling = compiler.seconds if compiler else 0.0
        telling = nullcontext() if compiler is None else compiler.telling(partial(tick, 0))
        started, cpu = time.perf_counter(), time.process_time()
        with telling, self._flops.counting(prior) as count:
            result = work()
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        if compiler:  # else the first method would be charged for compiling
            compiling = compiler.seconds - compiling
            seconds, cpu = seconds - compiling, max(0.0, cpu - compiling)
        return result, WorkCost(seconds, cpu, count.total)


class CompilerWatch:
    """Says whether compiled networks were used since it was made, and what failed in compiling."""

    def __init__(self, prior: CascadePrior | None) -> None:
        self._compiler = prior.compiler if prior else None
        self._before = self._compiler.evaluations if self._compiler else 0

    @property
    def used(self) -> bool:
        """Whether compiled networks were evaluated."""
        return self._compiler is not None and self._compiler.evaluations > self._before

    @property
    def news(self) -> tuple[str, ...]:
        """Failures of compiling that were not told yet."""
        failure = None if self._compiler is None else self._compiler.news()
        return () if failure is None else (failure,)


def describe_hardware(device: torch.device, workers: int, batch: int, compiled: bool) -> str:
    """Return the hardware and batch size that the seconds of a unit depend on."""
    shared = f" for each of {workers} processes" if workers > 1 else ""
    how = ", networks compiled" if compiled else ""
    return f"{hardware(device)}{shared}, batches of {batch}{how}"
