"""Costs of runs, and the run of all methods by turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf

from mrcascade.benchmark.clock import NetworkClock
from mrcascade.benchmark.contenders import Contender
from mrcascade.benchmark.peak import peak_rate
from mrcascade.devices.timing import elapsed
from mrcascade.evaluation.flops import FlopMeter
from mrcascade.evaluation.warm_up import WarmUp
from mrcascade.prior.cascade import CascadePrior
from mrcascade.restore.plan import forget_plans
from mrcascade.sampling import Recipe

# Fewest steps T of a chain that is timed in part, four for each of three levels.
FEWEST_STEPS = 12

Tick = Callable[[int, str], None]


@dataclass(frozen=True)
class RunCost:
    """Cost of one run over a batch.

    Attributes:
        batch: number of slices.
        seconds: wall time, compilation left out.
        inside: seconds in the networks' forward passes.
        evaluations: network evaluations per slice.
        flop: operations of the networks' forward passes, of all slices.
    """

    batch: int
    seconds: float
    inside: float
    evaluations: int
    flop: int

    @property
    def per_slice(self) -> float:
        """Seconds per slice."""
        return self.seconds / self.batch

    @property
    def outside(self) -> float:
        """Share of the time outside the networks."""
        return 1 - self.inside / self.seconds

    @property
    def rate(self) -> float:
        """Operations of the networks per second of the whole run."""
        return self.flop / self.seconds

    def scaled(self, whole: RunCost) -> RunCost:
        """Return the cost of a chain at its full length, given that of one with fewer steps.

        Time in the networks grows with their operations, time outside with the number of
        evaluations.

        whole: run of the full length, of any batch size.
        """
        flop = whole.flop * self.batch // whole.batch
        inside = self.inside * flop / self.flop
        outside = (self.seconds - self.inside) * whole.evaluations / self.evaluations
        return RunCost(self.batch, inside + outside, inside, whole.evaluations, flop)


@dataclass(frozen=True)
class Case:
    """A contender with a batch size.

    Attributes:
        contender: what is timed.
        batch: number of slices at once.
        first: cost of the contender's first slice, at full length.
        recipe: settings that are timed. They have fewer steps than the contender's where the time
            does not suffice for all.
    """

    contender: Contender
    batch: int
    first: RunCost
    recipe: Recipe

    def at_full_length(self, timing: RunCost) -> RunCost:
        """Return the cost of the contender's own settings, given that of ``recipe``."""
        return timing if self.recipe == self.contender.recipe else timing.scaled(self.first)


def first_slice(contender: Contender, meter: FlopMeter) -> RunCost:
    """Time one slice from nothing: operator, decompositions, plan, restoration."""
    forget_plans()
    return _timed(contender.prior, lambda: contender.prepare(contender.recipe)(1, 0), 1, meter)


def choose_cases(
    contenders: Sequence[Contender],
    firsts: Sequence[RunCost],
    batch_sizes: Sequence[int],
    seconds: float,
) -> list[Case]:
    """Return the cases of a round that should take some time.

    Cases that need less than an even part of it leave the rest to the others. A chain that needs
    more gets as many steps as fit, at least `FEWEST_STEPS`.

    Args:
        contenders: what is timed.
        firsts: cost of the first slice of each.
        batch_sizes: numbers of slices at once.
        seconds: time of a round.
    """
    trios = [(c, f, b) for c, f in zip(contenders, firsts, strict=True) for b in batch_sizes]
    costs = [first.seconds * batch for _, first, batch in trios]
    part = even_part(costs, seconds)
    cases = []
    for (contender, first, batch), cost in zip(trios, costs, strict=True):
        recipe, steps = contender.recipe, contender.recipe.steps
        if steps is not None and cost > part:
            fewer = max(FEWEST_STEPS, int(steps * part / cost))
            recipe = recipe.changed(steps=fewer) if fewer < steps else recipe
        cases.append(Case(contender, batch, first, recipe))
    return cases


def even_part(costs: Sequence[float], total: float) -> float:
    """Return the largest cap with ``sum(min(cost, cap)) <= total``; inf where all costs fit."""
    left = total
    for done, cost in enumerate(sorted(costs)):
        part = left / (len(costs) - done)
        if cost > part:
            return max(part, 0.0)
        left -= cost
    return inf


def timed_rounds(
    cases: Sequence[Case], meter: FlopMeter, repeats: int, end: float, tick: Tick
) -> tuple[list[float], list[list[RunCost]]]:
    """Time all cases by turns, so that a disturbance of the machine affects all of them.

    Args:
        cases: what is timed.
        meter: counts FLOP.
        repeats: largest number of rounds.
        end: reading of ``time.perf_counter``. After the first, no round begins that would end
            later.
        tick: called with the number of runs done and a text.

    Returns:
        The peak rate of the device in each round, and the cost of each case in each round.
    """
    restores = [case.contender.prepare(case.recipe) for case in cases]
    warm_up = WarmUp()
    peaks: list[float] = []
    rounds: list[list[RunCost]] = []
    for number in range(repeats):
        started = time.perf_counter()
        prior = cases[0].contender.prior
        peaks.append(peak_rate(prior.device, prior.levels[0].precision))
        rounds.append([])
        for case, restore in zip(cases, restores, strict=True):
            contender, batch = case.contender, case.batch
            tick(0, f"{contender.name}, batch {batch}")
            warm_up(contender.prior, contender.problem.operator(), batch)
            timing = _timed(contender.prior, partial(restore, batch, number), batch, meter)
            rounds[-1].append(case.at_full_length(timing))
            tick(1, "")
        now = time.perf_counter()
        if now + (now - started) > end:
            break
    return peaks, rounds


def _timed(prior: CascadePrior, work: Callable[[], int], batch: int, meter: FlopMeter) -> RunCost:
    evaluations = 0

    def run() -> None:
        nonlocal evaluations
        evaluations = work()

    clock, compiler = NetworkClock(prior), prior.compiler
    compiled = compiler.seconds if compiler else 0.0
    with meter.counting(prior) as count, clock.running():
        seconds = elapsed(run, prior.device)
    compiling = compiler.seconds - compiled if compiler else 0.0
    return RunCost(batch, seconds - compiling, clock.seconds - compiling, evaluations, count.total)
