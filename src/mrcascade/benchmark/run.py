"""Run of a benchmark: the first slice of each mode, then rounds in which all modes take turns."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mrcascade import __version__
from mrcascade.benchmark.contenders import KERNEL, Problem, choose_contenders
from mrcascade.benchmark.peak import peak_rate
from mrcascade.benchmark.timing import (
    Case,
    RunCost,
    Tick,
    choose_cases,
    first_slice,
    timed_rounds,
)
from mrcascade.devices.facts import hardware
from mrcascade.devices.failures import DeviceError, device_errors_of, lacks_memory
from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.flops import FlopMeter
from mrcascade.storage.outputs import SOFTWARE


@dataclass(frozen=True)
class Benchmark:
    """Options of ``benchmark``; the fields have the names of the command's options.

    Attributes:
        repeats: largest number of rounds.
        seconds: time in which the work should end. Chains that would take longer than their part
            of it are timed with fewer steps; at least one round runs.
        threads: number of CPU threads; None for torch's own.
    """

    size: int = 256
    factor: tuple[float, float] = (4.0, 4.0)
    modes: tuple[str, ...] | None = None
    prior: str | Path = "mr-small"
    baselines: str | Path = "mr-small-baselines"
    noise: float = 0.0
    steps: int | None = None
    batch_sizes: tuple[int, ...] = (1, 8)
    repeats: int = 3
    seconds: float = 120.0
    threads: int | None = None
    device: str = "cpu"
    precision: str = "float32"
    compile: bool = False


def run_benchmark(
    job: Benchmark, *, say: Callable[[str], None], stage: Callable[[str, int], Tick]
) -> dict[str, Any]:
    """Time every mode on this machine.

    Each mode first restores one slice from nothing. Then all modes and batch sizes take turns, in
    one round after another.

    Args:
        job: the options.
        say: called with one line per fact.
        stage: called with the name of a stage and its number of runs; returns a function that is
            called with the number of runs done and a text.

    Returns:
        The content of the JSON file (``docs/reference/benchmark.md`` lists its entries).

    Raises:
        MRCascadeError: an option or a prior does not fit, or the device fails.
    """
    device = torch.device(job.device)
    end = time.perf_counter() + job.seconds
    with _threads(job.threads), _device_errors(device, max(job.batch_sizes)):
        contenders = choose_contenders(
            job.modes,
            Problem(job.size, job.factor, job.noise, max(job.batch_sizes)),
            prior=job.prior,
            baselines=job.baselines,
            steps=job.steps,
            device=job.device,
            precision=job.precision,
            compiled=job.compile,
            say=say,
        )
        prior = contenders[0].prior
        peak_rate(device, prior.levels[0].precision)  # wakes the device up
        meter, firsts = FlopMeter(), []
        compiler = prior.compiler
        with nullcontext() if compiler is None else compiler.telling(say):
            tick = stage("first slices", len(contenders))
            for contender in contenders:
                tick(0, contender.name)
                firsts.append(first_slice(contender, meter))
                tick(1, "")
            left = max(end - time.perf_counter(), 0.0)
            cases = choose_cases(contenders, firsts, job.batch_sizes, left / job.repeats)
            tick = stage("rounds", job.repeats * len(cases))
            peaks, rounds = timed_rounds(cases, meter, job.repeats, end, tick)
        if compiler is not None and (failure := compiler.news()) is not None:
            say(failure)
        return {
            "Software": [{"Name": SOFTWARE, "Version": __version__}],
            "machine": {
                "processor": hardware(device),
                "system": f"{platform.system()} {platform.machine()}",
                "device": str(device),
                "threads": torch.get_num_threads(),
                "precision": prior.levels[0].precision,
                "compiled": compiler is not None and compiler.evaluations > 0,
                "torch": str(torch.__version__),
                "peak_gflops": _short(statistics.median(peaks) / 1e9),
            },
            "settings": {
                "factor": list(job.factor),
                "kernel": KERNEL,
                "noise": job.noise,
                "rounds": len(rounds),
            },
            "results": [
                _result(job.size, case, timings, peaks)
                for case, timings in zip(cases, zip(*rounds, strict=True), strict=True)
            ],
        }


def _result(
    size: int, case: Case, timings: Sequence[RunCost], peaks: Sequence[float]
) -> dict[str, Any]:
    """Return the entry of one case. Shares and seconds are medians over the rounds."""
    recipe, first = case.contender.recipe, case.first
    pairs = zip(timings, peaks, strict=True)
    share: float | None = statistics.median(timing.rate / peak for timing, peak in pairs)
    outside: float | None = statistics.median(timing.outside for timing in timings)
    if recipe.gradients:  # backward passes are neither counted nor timed
        share = outside = None
    return {
        "mode": case.contender.name,
        "prior": case.contender.prior.name,
        "size": size,
        "batch": case.batch,
        "steps": recipe.steps,
        "timed_steps": case.recipe.steps,
        "seconds_per_slice": _short(statistics.median(t.per_slice for t in timings)),
        "all_seconds_per_slice": [_short(t.per_slice) for t in timings],
        "nfe": timings[0].evaluations,
        "gflop": _short(timings[0].flop / timings[0].batch / 1e9),
        "share_of_peak": None if share is None else _short(share),
        "outside_networks": None if outside is None else _short(outside),
        "first_slice_seconds": _short(first.seconds),
        "first_slice_outside_networks": None if outside is None else _short(first.outside),
    }


@contextmanager
def _device_errors(device: torch.device, batch: int) -> Iterator[None]:
    """Turn failures of the device within the block into one line."""
    try:
        with device_errors_of("benchmark", device):
            yield
    except DeviceError as error:
        if not lacks_memory(error.__cause__ or error):
            raise
        raise MRCascadeError(
            f"not enough memory on {device} for {batch} slice{'s' * (batch > 1)} at once; give a"
            " smaller --batch-size or --size"
        ) from error


def _short(value: float) -> float:
    """Return four significant digits; no timing has more."""
    return float(f"{value:.4g}")


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """Compute with this number of CPU threads within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
