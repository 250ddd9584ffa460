"""Worker processes of this machine, each with its own device and networks."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

import torch

from mrcascade.devices.facts import whole_memory
from mrcascade.errors import MRCascadeError
from mrcascade.executors.seam import Task, Workers
from mrcascade.executors.task import Job, do_task
from mrcascade.messages.faults import one_line
from mrcascade.messages.quiet import quiet_process

#: Files from which a batch on a CPU pays for the start of a process per thread. Beyond the start,
#: such processes restore about 1.3 times as much as one with all threads, whose threads wait for
#: each other (`benchmarks/batch_speed.py` compares).
SHARED_FILES = 4
# What a process may need: libraries, and networks with the arrays of a volume (`jobs.memory`).
_PROCESS_BYTES = 3 * 2**30
_LOOK_SECONDS = 0.5  # time between two looks of a worker at its parent
_CTRL_C = {signal.SIGINT}
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)  # of a worker: the terminal's, and its parent's

# State of a worker process, set when it starts.
_device: str | MRCascadeError
_working = _stopped = _terminated = False


def default_workers(device: str, batch: bool = False) -> int:
    """Return the default number of local processes.

    One per GPU. On a CPU one; for a batch of files one per thread, as many as the memory holds.
    """
    if device == "cuda":
        return torch.cuda.device_count()
    if not batch:
        return 1
    room = whole_memory(torch.device("cpu")) / _PROCESS_BYTES
    return max(1, int(min(torch.get_num_threads(), room)))


class LocalWorkers(Workers):
    """Processes of this machine.

    With device "cuda", worker i uses GPU i modulo the number of GPUs, and the parent process opens
    none. On a CPU the workers share the threads. Workers end when the parent ends, even if it is
    killed. An error that leaves the context interrupts the workers as Ctrl-C does.
    """

    def __init__(self, count: int, device: str) -> None:
        """Prepare ``count`` processes for "cuda" or "cpu"; they start with their first tasks."""
        context = multiprocessing.get_context("spawn")
        self._processes: set[Any] = set()
        numbers: Any = context.Queue()
        for number in range(count):
            numbers.put(number)
        threads = max(1, torch.get_num_threads() // count)
        begin = (device, threads, numbers)
        # A task beyond those in work waits for each process, so that none is idle meanwhile.
        super().__init__(ProcessPoolExecutor(count, context, _begin, begin), 2 * count, _run)

    def _submit(self, job: Job, task: Any) -> Future[Any]:
        with _held_back():  # new processes get Ctrl-C when they handle it (`_begin`)
            others = {*multiprocessing.active_children()}
            future = super()._submit(job, task)
            self._processes.update({*multiprocessing.active_children()} - others)
            return future

    def _result(self, future: Future[Any], task: Task, lost: Callable[[Task, str], Any]) -> Any:
        try:
            return super()._result(future, task, lost)
        except BrokenProcessPool as error:
            raise MRCascadeError(
                "a worker process died, perhaps for lack of memory; repeat the command to go on,"
                " with fewer --workers"
            ) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._executor.shutdown()
            return
        with _handling(signal.SIG_IGN):  # a second one must not disturb the cleaning up
            for process in self._processes:
                process.terminate()  # ends those that start, interrupts the others
            self._executor.shutdown(cancel_futures=True)


@contextmanager
def _held_back() -> Iterator[None]:
    """Hold Ctrl-C back until the end of the block, and in processes that start there."""
    came: list[int] = []
    mask = _masked("SIG_BLOCK", _CTRL_C)  # new processes inherit it
    # Other threads of this process get the signal all the same, and hand it to the main one.
    try:
        with _handling(lambda number, _: came.append(number)):
            yield
    finally:
        _masked("SIG_SETMASK", mask)
    if came:
        signal.raise_signal(signal.SIGINT)


def _masked(how: str, signals: set[Any]) -> set[Any]:
    """Change which signals this thread does not get, and return those before."""
    change = getattr(signal, "pthread_sigmask", None)  # Windows has none
    return set() if change is None else change(getattr(signal, how), signals)


@contextmanager
def _handling(handler: Callable[[int, Any], object] | signal.Handlers) -> Iterator[None]:
    """Handle Ctrl-C otherwise within the block."""
    if threading.current_thread() is not threading.main_thread():  # others do not get it
        yield
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _begin(device: str, threads: int, numbers: Any) -> None:
    global _device
    for number in _INTERRUPTS:
        signal.signal(number, _interrupted)
    _masked("SIG_UNBLOCK", _CTRL_C)
    threading.Thread(target=_end_in_time, daemon=True).start()
    quiet_process()
    try:
        torch.set_num_threads(threads)
        if device == "cuda":
            index = numbers.get() % torch.cuda.device_count()
            torch.cuda.set_device(index)  # else this process would open the first GPU as well
            device = f"cuda:{index}"
        _device = device
    except Exception as error:  # else the pool would only report that the process died
        _device = MRCascadeError(one_line(error))


def _run(job: Job, task: Any) -> Any:
    global _working
    if isinstance(_device, MRCascadeError):
        raise _device
    _working = True
    try:
        if _stopped:  # a task that was on its way here
            raise KeyboardInterrupt
        return do_task(job, task, _device)
    finally:
        _working = False


def _interrupted(number: int, frame: FrameType | None) -> None:
    """Interrupt the task at the first signal, and ignore later ones.

    A worker gets Ctrl-C from the terminal and is terminated by its parent. The second signal must
    not disturb the cleaning up.
    """
    global _stopped, _terminated
    first, _stopped = not _stopped, True
    _terminated |= number == signal.SIGTERM
    if first and _working:
        raise KeyboardInterrupt


def _end_in_time() -> None:
    """End this process with its parent; once it is terminated, after the task in work.

    A pool that lost a process hands out no more tasks, and no word to end.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None  # this is a worker
    idle = 0  # looks since the task ended: its result must get away
    while parent.is_alive() and idle < 2:
        parent.join(_LOOK_SECONDS)
        idle = idle + 1 if _terminated and not _working else 0
    os._exit(1)
