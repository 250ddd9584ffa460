"""Timing by turns: order, budget, scaling of chains that are timed in part, clock and peak."""

from __future__ import annotations

import math
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mrcascade.benchmark import timing
from mrcascade.benchmark.clock import NetworkClock
from mrcascade.benchmark.contenders import Contender, Problem
from mrcascade.benchmark.peak import Workload
from mrcascade.benchmark.timing import (
    FEWEST_STEPS,
    Case,
    RunCost,
    choose_cases,
    even_part,
    timed_rounds,
)
from mrcascade.evaluation.flops import FlopMeter
from mrcascade.prior.cascade import CascadePrior
from mrcascade.sampling import RECIPES, Recipe

PROBLEM = Problem(32, (4.0, 4.0), 0.0, 2)


def contender(prior: CascadePrior, name: str, recipe: Recipe, log: list | None = None) -> Contender:
    """A contender that notes its runs and evaluates no network."""

    def prepare(recipe: Recipe):
        def restore(batch: int, seed: int) -> int:
            if log is not None:
                log.append((name, recipe.steps, batch, seed))
            return 3

        return restore

    return Contender(name, prior, PROBLEM, recipe, prepare)


@pytest.mark.parametrize(
    ("costs", "total", "part"),
    [
        ([1, 2, 3], 6, math.inf),
        ([1, 2, 3], 5, 2),  # 1 + 2 + 2
        ([10, 1, 10], 7, 3),  # 3 + 1 + 3
        ([4, 4], 2, 1),
        ([4, 4], 0, 0),
        ([4, 4], -1, 0),
    ],
)
def test_an_even_part(costs: list[float], total: float, part: float) -> None:
    assert even_part(costs, total) == part


def test_long_chains_get_the_steps_that_fit(prior: CascadePrior) -> None:
    chain, mean = Recipe("chain", steps=200), RECIPES["mean"]
    contenders = [contender(prior, "mean", mean), contender(prior, "paper", chain)]
    firsts = [RunCost(1, 1.0, 1.0, 2, 1), RunCost(1, 40.0, 40.0, 134, 1)]

    def steps(seconds: float) -> list[int | None]:
        return [c.recipe.steps for c in choose_cases(contenders, firsts, (1, 2), seconds)]

    assert steps(200) == [None, None, 200, 200]
    assert steps(123) == [None, None, 200, 200]  # just all
    assert steps(83) == [None, None, 200, 100]  # 1 + 2 + 40 + 40
    assert steps(43) == [None, None, 100, 50]  # 1 + 2 + 20 + 20
    assert steps(0) == [None, None, FEWEST_STEPS, FEWEST_STEPS]
    few = [contender(prior, "paper", Recipe("chain", steps=8))]
    assert choose_cases(few, firsts[1:], (1,), 0)[0].recipe.steps == 8


def test_a_chain_in_part_is_scaled_by_work() -> None:
    """12 of 16 s are in the networks: twice as long for twice the FLOP; the rest by evaluations."""
    part = RunCost(batch=4, seconds=16.0, inside=12.0, evaluations=5, flop=400)
    whole = RunCost(batch=1, seconds=99.0, inside=9.0, evaluations=15, flop=200)
    full = part.scaled(whole)
    assert full == RunCost(batch=4, seconds=24.0 + 12.0, inside=24.0, evaluations=15, flop=800)
    assert (full.per_slice, full.outside, full.rate) == (9.0, pytest.approx(1 / 3), 800 / 36)


def test_only_chains_in_part_are_scaled(prior: CascadePrior) -> None:
    first = RunCost(1, 99.0, 9.0, 15, 200)
    full, part = (Recipe("chain", steps=n) for n in (60, 20))
    timed = RunCost(4, 16.0, 12.0, 5, 400)
    one = contender(prior, "chain", full)
    assert Case(one, 4, first, full).at_full_length(timed) is timed
    assert Case(one, 4, first, part).at_full_length(timed) == timed.scaled(first)


@pytest.fixture
def no_peak(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The peak is not measured; returns what it was asked for."""
    asked: list[str] = []
    monkeypatch.setattr(
        timing, "peak_rate", lambda device, precision: asked.append(precision) or 5.0
    )
    return asked


def test_cases_take_turns(prior: CascadePrior, no_peak: list[str]) -> None:
    log: list[tuple] = []
    contenders = [
        contender(prior, "a", Recipe("a", steps=30), log),
        contender(prior, "b", RECIPES["mean"], log),
    ]
    firsts = [RunCost(1, 1.0, 1.0, 3, 1)] * 2
    cases = choose_cases(contenders, firsts, (1, 2), 100)
    ticks: list[int] = []
    peaks, rounds = timed_rounds(
        cases, FlopMeter(), 2, math.inf, lambda runs, text: ticks.append(runs)
    )
    turn = [("a", 30, 1), ("a", 30, 2), ("b", None, 1), ("b", None, 2)]
    assert log == [(*case, seed) for seed in (0, 1) for case in turn]
    assert (peaks, no_peak) == ([5.0, 5.0], ["float32", "float32"])
    assert [[(t.batch, t.evaluations, t.flop) for t in one] for one in rounds] == 2 * [
        [(1, 3, 0), (2, 3, 0), (1, 3, 0), (2, 3, 0)]
    ]
    assert sum(ticks) == 8


def test_one_round_runs_in_any_case(prior: CascadePrior, no_peak: list[str]) -> None:
    cases = choose_cases(
        [contender(prior, "a", RECIPES["mean"])], [RunCost(1, 1.0, 1.0, 3, 1)], (1,), 0
    )
    past = time.perf_counter() - 1
    _, rounds = timed_rounds(cases, FlopMeter(), 5, past, lambda runs, text: None)
    assert len(rounds) == 1


def test_the_clock_times_the_networks_alone(
    prior: CascadePrior, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a clock that goes one second per reading, a pass takes one second."""
    readings = iter(range(100))
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(readings)))
    x = torch.zeros(1, 1, 32, 32)
    clock = NetworkClock(prior)
    with clock.running():
        conditioned = prior.levels[0].condition(x)
        conditioned.denoise(x, 1.0)
        prior.levels[2].condition(None).denoise(x, 1.0)
    assert clock.seconds == 4.0  # a branch, what its chain has in common, and two U-Nets
    prior.levels[0].condition(x)
    assert clock.seconds == 4.0


def test_on_a_gpu_events_take_the_time(
    prior: CascadePrior, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self, stream: object) -> None:
            calls.append(stream)

        def elapsed_time(self, end: Event) -> float:
            assert calls[-1] == "synchronised"
            return 250.0  # ms

    device = torch.device("cuda:1")
    monkeypatch.setattr(CascadePrior, "device", device)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda d: ("stream", d))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda d: calls.append("synchronised"))
    clock = NetworkClock(prior)
    with clock.running():
        prior.levels[0].condition(torch.zeros(1, 1, 32, 32))
    assert clock.seconds == 0.25
    assert calls == [("stream", device)] * 2 + ["synchronised"]


def test_compilation_is_left_out(prior: CascadePrior, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = SimpleNamespace(seconds=7.0)

    def work() -> int:
        compiler.seconds += 2.0
        return 3

    monkeypatch.setattr(prior, "compiler", compiler)
    monkeypatch.setattr(timing, "elapsed", lambda run, device: run() or 10.0)
    monkeypatch.setattr(NetworkClock, "seconds", 6.0)
    timed = timing._timed(prior, work, 2, FlopMeter())
    assert timed == RunCost(2, 8.0, 4.0, 3, 0)


def test_the_operations_of_the_peak_are_torch_s() -> None:
    small = Workload(side=12, images=2, channels=3, pixels=7)
    for work, flop in small.operations(torch.device("cpu"), torch.float32):
        with FlopCounterMode(display=False) as counter:
            work()
        assert counter.get_total_flops() == flop > 0


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_peak_is_of_the_faster_operation(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mrcascade.benchmark import peak

    small = Workload(side=12, images=2, channels=3, pixels=7)
    seconds = iter([2.0, 0.5])

    def fastest(work, device: torch.device) -> float:
        assert work().dtype == getattr(torch, precision)
        return next(seconds)

    monkeypatch.setattr(peak, "CPU_WORKLOAD", small)
    monkeypatch.setattr(peak, "fastest_seconds", fastest)
    expected = max(small.product_flop / 2.0, small.convolution_flop / 0.5)
    assert peak.peak_rate(torch.device("cpu"), precision) == expected


def test_first_slices_start_from_nothing(baselines: Path) -> None:
    from mrcascade.operators.kernels import down_matrix
    from mrcascade.restore import plan as plans

    prior = CascadePrior.from_pretrained(baselines / "single-scale")
    matrices: list[object] = []

    def prepare(recipe: Recipe):
        assert not plans._plans
        matrices.append(down_matrix("fourier", 32, 8))
        plans.make_plan(prior, PROBLEM.operator(), 0.0, recipe)
        return lambda batch, seed: 3

    one = Contender("a", prior, PROBLEM, RECIPES["paper"], prepare)
    for _ in range(2):
        assert timing.first_slice(one, FlopMeter()).evaluations == 3
    assert matrices[0] is not matrices[1]
