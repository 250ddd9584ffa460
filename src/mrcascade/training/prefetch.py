"""Patches of the next step, drawn by threads while a step is taken."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch

from mrcascade.training.draws import StepDraws
from mrcascade.training.patches import PatchSource

MOST_THREADS = 8


def drawing_threads() -> int:
    """Return the number of threads that draw: this process's cores without that of the training."""
    allowed = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    cores = len(allowed(0)) if allowed else os.cpu_count() or 1
    processes = os.environ.get("LOCAL_WORLD_SIZE", "1")  # by launchers, of this machine
    shared = cores // max(int(processes), 1) if processes.isdigit() else cores
    return min(max(shared - 1, 1), MOST_THREADS)


class PatchStream:
    """Patches of a source, in the order of a training.

    A patch depends on the number of its image alone, so those of the next step are drawn ahead.
    Errors of a patch are raised by the step that needs it.
    """

    def __init__(self, source: PatchSource, threads: int | None = None) -> None:
        """Start the threads.

        Args:
            source: source of the patches.
            threads: number of threads; None for `drawing_threads`.
        """
        self._source = source
        self._ahead: dict[tuple[tuple[int, int], int], Future[np.ndarray]] = {}
        self._pool = _single_threaded(threads or drawing_threads())

    def take(self, draws: StepDraws, following: Iterable[int] = ()) -> np.ndarray:
        """Return the patches of a step, (N, 3, C, patch, patch), and begin to draw others.

        Args:
            draws: random numbers of the step.
            following: numbers of the images of the next step.
        """
        drawn, self._ahead = self._ahead, {}
        pending = [drawn.get((draws.key, i)) or self._draw(draws, i) for i in draws.images]
        for needless in set(drawn.values()).difference(pending):
            needless.cancel()
        self._ahead = {(draws.key, i): self._draw(draws, i) for i in following}
        return np.stack([patch.result() for patch in pending])

    def _draw(self, draws: StepDraws, image: int) -> Future[np.ndarray]:
        return self._pool.submit(draws.patch, self._source, image)


def _single_threaded(count: int) -> ThreadPoolExecutor:
    """Return a pool of threads, each of which computes alone.

    Else each would bring a team as large as that of the training, and all take turns.
    """
    threads, ready = torch.get_num_threads(), threading.Barrier(count + 1)

    def begin() -> None:
        torch.get_num_threads()  # else the first operation of the thread would set it, later
        torch.set_num_threads(1)  # of this thread, and of threads that begin later
        ready.wait()

    pool = ThreadPoolExecutor(count, "patches", begin)
    for _ in range(count):
        pool.submit(int)
    ready.wait()
    torch.set_num_threads(threads)
    return pool
