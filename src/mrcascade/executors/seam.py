"""Tasks on an executor: handed out as processes become free, results as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from itertools import islice
from types import TracebackType
from typing import Any, Self, TypeVar

from mrcascade.executors.task import Job, do_task

Task = TypeVar("Task")

_LOOK_SECONDS = 1.0  # time between two looks at a cluster that is busy


class Workers:
    """Processes that do tasks on a `concurrent.futures.Executor`, as a context manager.

    Attributes:
        retries: whether the executor may begin a task again, after the death of a process.
    """

    retries = False

    def __init__(
        self, executor: Executor, at_once: int, run: Callable[[Job, Any], Any] = do_task
    ) -> None:
        """Use an executor.

        Args:
            executor: the executor.
            at_once: number of tasks that are handed out at a time.
            run: function of a module that does a task of a job in a process.
        """
        self._executor, self._at_once, self._run = executor, at_once, run

    @property
    def at_once(self) -> int:
        """Number of tasks that are handed out now."""
        return self._at_once

    def results(
        self, job: Job, tasks: Iterable[Task], lost: Callable[[Task, str], Any]
    ) -> Iterator[tuple[Task, Any]]:
        """Yield each task with its result, in the order of completion.

        Tasks are drawn from the iterable as they are handed out, so it may leave out those that
        earlier results have made useless.

        Args:
            job: what the tasks have in common.
            tasks: the tasks.
            lost: called with a task that the executor gave up and the reason; returns its result.

        Raises:
            MRCascadeError: the processes cannot go on. Errors of tasks are raised as they are.
        """
        left = iter(tasks)
        running: dict[Future[Any], Task] = {}
        while True:
            for task in islice(left, max(0, self.at_once - len(running))):
                running[self._submit(job, task)] = task
            if not running:
                return
            done, _ = wait(running, _LOOK_SECONDS, FIRST_COMPLETED)
            for future in [one for one in running if one in done]:
                task = running.pop(future)
                yield task, self._result(future, task, lost)

    def _submit(self, job: Job, task: Any) -> Future[Any]:
        return self._executor.submit(self._run, job, task)

    def _result(self, future: Future[Any], task: Task, lost: Callable[[Task, str], Any]) -> Any:
        return future.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the processes, or what they do for this command; interrupt it after an error."""
        self._executor.shutdown(cancel_futures=kind is not None)
