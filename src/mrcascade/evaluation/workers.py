"""Work shared out over processes, each with its own copy of the networks."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import Any

import torch

from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.bench import Bench, Failed, Scored, Unit
from mrcascade.evaluation.figure import Picture
from mrcascade.evaluation.job import Evaluation, Surveyed, checked_methods, load_priors
from mrcascade.evaluation.lpips import LPIPS, find_weights
from mrcascade.messages.faults import one_line
from mrcascade.messages.quiet import quiet_process

_bench: Bench | MRCascadeError  # of a worker process, made when it starts


def threads_per_worker(job: Evaluation) -> int:
    """CPU threads that each process uses."""
    return max(1, torch.get_num_threads() // job.workers)


def run_in_workers(
    job: Evaluation, survey: Sequence[Surveyed], pictures: Sequence[Picture], units: Sequence[Unit]
) -> Iterator[Scored | Failed]:
    """Results of ``units`` in the order in which they are done, from ``job.workers`` processes.

    Where one has failed, others of its file and method are left out if they have not begun.

    With device "cuda" worker i takes GPU i, from the first again after the last, and this process
    opens none. The processes end with the iteration, also where it is left early.
    """
    context = multiprocessing.get_context("spawn")
    numbers: Any = context.Queue()
    for number in range(job.workers):
        numbers.put(number)
    begin = (job, tuple(survey), tuple(pictures), threads_per_worker(job), numbers)
    pool = ProcessPoolExecutor(job.workers, context, _begin, begin)
    try:
        futures = {pool.submit(_run, unit): unit for unit in units}
        for future in as_completed(futures):
            if future.cancelled():
                continue
            result = future.result()
            if isinstance(result, Failed):
                for other, unit in futures.items():
                    if unit.same_work(result.unit):
                        other.cancel()
            yield result
    except BrokenProcessPool as error:
        raise MRCascadeError(
            "a worker process came to its end, perhaps for lack of memory; repeat the command to go"
            " on, with fewer --workers"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def make_bench(job: Evaluation, survey: Sequence[Surveyed], pictures: Sequence[Picture]) -> Bench:
    """A bench with networks of its own."""
    methods, weights = checked_methods(job), find_weights(job.lpips_weights)
    lpips = None if weights is None else LPIPS.load(weights, job.device)
    return Bench(job, methods, load_priors(methods, job), lpips, survey, pictures)


def _begin(
    job: Evaluation,
    survey: Sequence[Surveyed],
    pictures: Sequence[Picture],
    threads: int,
    numbers: Any,
) -> None:
    global _bench
    quiet_process()
    try:
        torch.set_num_threads(threads)
        if job.device == "cuda":
            number = numbers.get() % torch.cuda.device_count()
            torch.cuda.set_device(number)  # nothing of this process shall open the first one
            job = replace(job, device=f"cuda:{number}")
        _bench = make_bench(job, survey, pictures)
    except Exception as error:  # the pool would only say that the process came to its end
        _bench = MRCascadeError(one_line(error))


def _run(unit: Unit) -> Scored | Failed:
    if isinstance(_bench, MRCascadeError):
        raise _bench
    return _bench.run(unit, _silent)


def _silent(slices: int, text: str) -> None:
    """Steps of a worker; the parent counts its slices."""
