"""Work shared out over processes, each with a device and networks of its own.

The one seam for it: `sr` shares out files, `evaluate` slices. A `WorkerPool` is a
`concurrent.futures.Executor`, so that another one can take its place.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, TypeVar

import torch

from mrcascade.errors import MRCascadeError
from mrcascade.messages.faults import one_line
from mrcascade.messages.quiet import quiet_process

Task = TypeVar("Task")
Work = Callable[[Any], Any]  # one task in, its result out; both can be pickled

# Of a worker process, made when it starts.
_work: Work | MRCascadeError
_working = False


class WorkerPool(ProcessPoolExecutor):
    """Processes that do tasks of one kind.

    With device "cuda" worker i takes GPU i, from the first again after the last, and this process
    opens none; on a CPU each gets its share of the threads. Workers end with this process, also
    where it is killed. A pool that is left by an error ends what its workers are at, as Ctrl-C
    does.
    """

    def __init__(self, workers: int, device: str, make: Callable[[str], Work]) -> None:
        """make: called once in each process with the name of its device; what it returns does the
        tasks. It is pickled, so that it is a function of a module, or a `partial` of one."""
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
        """Each task and its result, in the order in which they are done.

        ``needless(result, task)``: whether a task that has not begun is left out after a result of
        another one. Raises what a task raised, and MRCascadeError where a process came to its end.
        """
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
                "a worker process came to its end, perhaps for lack of memory; repeat the command"
                " to go on, with fewer --workers"
            ) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.shutdown(wait=False, cancel_futures=True)
            self._interrupt()
        self.shutdown()

    def _interrupt(self) -> None:
        while not self._started.empty():
            with suppress(OSError):  # it has ended
                os.kill(self._started.get(), signal.SIGINT)


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
            torch.cuda.set_device(number)  # nothing of this process shall open the first one
            device = f"cuda:{number}"
        _work = make(device)
    except Exception as error:  # the pool would only say that the process came to its end
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
    """Ctrl-C goes to all processes, and to a worker once more by its parent: the first one ends the
    task, whose cleaning up nothing disturbs."""
    if _working:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # this is a worker
    parent.join()
    os._exit(1)
