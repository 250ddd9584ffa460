"""Evaluation in several worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from mrcascade.evaluation.bench import Bench
from mrcascade.evaluation.figure import Picture
from mrcascade.evaluation.job import Evaluation, Surveyed, checked_methods, load_priors
from mrcascade.evaluation.lpips import LPIPS, find_weights
from mrcascade.evaluation.units import Failed, Scored, Unit
from mrcascade.jobs.executor import Work, WorkerPool


def run_in_workers(
    job: Evaluation, survey: Sequence[Surveyed], pictures: Sequence[Picture], units: Sequence[Unit]
) -> Iterator[Scored | Failed]:
    """Yield the results of units as `share_out` does, from ``job.workers`` processes."""
    make = partial(_worker, job, tuple(survey), tuple(pictures))
    return share_out(units, job.workers, job.device, make)


def share_out(
    units: Sequence[Unit], workers: int, device: str, make: Callable[[str], Work]
) -> Iterator[Scored | Failed]:
    """Yield the results of units in the order of completion, from worker processes.

    After a failed unit, other units of its file and method are dropped if they have not begun. The
    processes end with the iteration, even if it is left early.

    Args:
        units: the work.
        workers: number of processes.
        device: device that they share.
        make: returns the work of a process, given its device; it can be pickled.
    """
    with WorkerPool(workers, device, make) as pool:
        for _, result in pool.results(units, _needless):
            yield result


def _needless(result: Scored | Failed, unit: Unit) -> bool:
    """Return whether another unit's result makes this unit useless."""
    return isinstance(result, Failed) and unit.same_work(result.unit)


def make_bench(job: Evaluation, survey: Sequence[Surveyed], pictures: Sequence[Picture]) -> Bench:
    """Return a bench that has loaded its own networks."""
    methods, weights = checked_methods(job), find_weights(job.lpips_weights)
    lpips = None if weights is None else LPIPS.load(weights, job.device)
    return Bench(job, methods, load_priors(methods, job), lpips, survey, pictures)


def _worker(
    job: Evaluation, survey: Sequence[Surveyed], pictures: Sequence[Picture], device: str
) -> Work:
    bench = make_bench(replace(job, device=device), survey, pictures)
    return partial(bench.run, tick=no_tick)


def no_tick(parts: int, text: str) -> None:
    """Ignore the steps of a worker, because the parent counts parts."""
