"""Worker processes, each with its own device and networks.

`sr` distributes files over them, `evaluate` slices. `WorkerPool` is a
`concurrent.futures.Executor`, so other executors can replace it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any, TypeVar

import torch

from mrcascade.errors import MRCascadeError
from mrcascade.messages.faults import one_line
from mrcascade.messages.quiet import quiet_process

Task = TypeVar("Task")
Work = Callable[[Any], Any]  # task -> result; both can be pickled

# State of a worker process, set when it starts.
_work: Work | MRCascadeError
_working = False


class WorkerPool(ProcessPoolExecutor):
    """Processes for tasks of one kind.

    With device "cuda", worker i uses GPU i modulo the number of GPUs, and the parent process opens
    none. On a CPU the workers share the threads. Workers end when the parent ends, even if it is
    killed. An error that leaves the pool's context interrupts the workers as Ctrl-C does.
    """

    def __init__(self, workers: int, device: str, make: Callable[[str], Work]) -> None:
        """Start the processes.

        Args:
            workers: number of processes.
            device: "cuda" or "cpu".
            make: called once in each process with the name of its device; returns the function
                that does a task. Must be picklable: a function of a module, or a `partial` of one.
        """
        context = multiprocessing.get_context("spawn")
        self._started: Any = context.SimpleQueue()
        numbers: Any = context.Queue()
        for number in range(workers):
            numbers.put(number)
        threads = max(1, torch.get_num_threads() // workers)
        begin = (make, device, threads, numbers, self._started)
        super().__init__(workers, context, _begin, begin)

    def results(
        self,
        tasks: Iterable[Task],
        needless: Callable[[Any, Task], bool] = lambda result, task: False,
    ) -> Iterator[tuple[Task, Any]]:
        """Yield each task with its result, in the order of completion.

        Args:
            tasks: the tasks to do.
            needless: called with a result and a task that has not begun; True drops that task.

        Raises:
            MRCascadeError: a worker process died. Errors of tasks are raised as they are.
        """
        with _uninterrupted():  # new processes ignore Ctrl-C until they handle it (`_begin`)
            futures = {self.submit(_run, task): task for task in tasks}
        try:
            for future in as_completed(futures):
                if future.cancelled():
                    continue
                result = future.result()
                for other, task in futures.items():
                    if needless(result, task):
                        other.cancel()
                yield futures[future], result
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
            self.shutdown()
            return
        with _uninterrupted():  # a second Ctrl-C must not disturb the cleaning up
            self.shutdown(wait=False, cancel_futures=True)
            self._interrupt()
            self.shutdown()

    def _interrupt(self) -> None:
        while not self._started.empty():
            with suppress(OSError):  # it has ended
                os.kill(self._started.get(), signal.SIGINT)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ignore Ctrl-C within the block, and in processes that start there."""
    if threading.current_thread() is not threading.main_thread():  # others do not get it
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _begin(
    make: Callable[[str], Work], device: str, threads: int, numbers: Any, started: Any
) -> None:
    global _work
    signal.signal(signal.SIGINT, _interrupted)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    quiet_process()
    try:
        torch.set_num_threads(threads)
        if device == "cuda":
            number = numbers.get() % torch.cuda.device_count()
            torch.cuda.set_device(number)  # else this process would open the first GPU as well
            device = f"cuda:{number}"
        _work = make(device)
    except Exception as error:  # else the pool would only report that the process died
        _work = MRCascadeError(one_line(error))
    started.put(os.getpid())


def _run(task: Any) -> Any:
    global _working
    if isinstance(_work, MRCascadeError):
        raise _work
    _working = True
    try:
        return _work(task)
    finally:
        _working = False


def _interrupted(number: int, frame: FrameType | None) -> None:
    """Interrupt the task at the first signal, and ignore later ones.

    A worker gets Ctrl-C twice, from the terminal and from its parent. The second signal must not
    disturb the cleaning up.
    """
    if _working:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # this is a worker
    parent.join()
    os._exit(1)
