"""Evaluation in several worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

from mrcascade.evaluation.bench import Bench
from mrcascade.evaluation.figure import Picture
from mrcascade.evaluation.job import Evaluation, Surveyed, checked_methods, load_priors
from mrcascade.evaluation.lpips import LPIPS, LPIPSFiles
from mrcascade.evaluation.units import Failed, Scored, Unit
from mrcascade.executors import open_workers
from mrcascade.executors.task import Job, Make, Work, leave_if_unwanted
from mrcascade.prior.cascade import CascadePrior
from mrcascade.prior.named import check_digest


class Shared(Protocol):
    """Options of an evaluation that say who does its work."""

    @property
    def workers(self) -> int:
        """Number of processes."""

    @property
    def device(self) -> str:
        """Device of the networks."""

    @property
    def scheduler(self) -> str | None:
        """Address of a Dask scheduler, if its workers do the work."""


def share_out(
    units: Sequence[Unit], job: Shared, make: Make, say: Callable[[str], None]
) -> Iterator[Scored | Failed]:
    """Yield the results of units in the order of completion, from worker processes.

    After a failed unit, other units of its file and method are dropped if they were not handed out
    yet. The processes end with the iteration, even if it is left early.

    Args:
        units: the work.
        job: the evaluation.
        make: returns the work of a process, given its device; it can be pickled.
        say: called with one line about the processes, now and then.
    """
    failed: list[Failed] = []
    useful = (u for u in units if not any(u.same_work(one.unit) for one in failed))
    with open_workers(job.workers, job.device, job.scheduler, say) as workers:
        for _, result in workers.results(Job.of(make, job.device), useful, _lost):
            if isinstance(result, Failed):
                failed.append(result)
            yield result


def _lost(unit: Unit, reason: str) -> Failed:
    return Failed(unit, f"{unit.file}: {reason} (method {unit.method})")


def slice_worker(
    job: Evaluation,
    digests: Mapping[str, str],
    weights: LPIPSFiles | None,
    survey: Sequence[Surveyed],
    pictures: Sequence[Picture],
    device: str,
) -> Work:
    """Return the work of a process, which has networks of its own.

    Args:
        job: the evaluation.
        digests: method -> digest that its prior has for the command.
        weights: weights of LPIPS, if found.
        survey: the files.
        pictures: slices to show.
        device: device of the process.
    """
    job = replace(job, device=device)
    methods = checked_methods(job)
    priors = load_priors(methods, job)
    for method, prior in priors.items():
        check_digest(prior, digests[method])
    lpips = None if weights is None else LPIPS.load(weights, device)
    bench = Bench(job, methods, priors, lpips, survey, pictures)
    return partial(bench.run, tick=leaving_tick)


def digests_of(priors: Mapping[str, CascadePrior]) -> dict[str, str]:
    """Return the digest of each method's prior."""
    return {method: prior.identity for method, prior in priors.items()}


def leaving_tick(parts: int, text: str) -> None:
    """Leave a unit for whose result nobody waits; the parent counts parts."""
    leave_if_unwanted()
