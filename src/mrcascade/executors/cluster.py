"""Workers of a Dask cluster (https://distributed.dask.org).

Dask hands the tasks out and begins those of a dead worker again elsewhere. One task is in work per
worker process, with as many threads as the worker has; so a death counts against one task alone.
"""

from __future__ import annotations

import os
import platform
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager, suppress
from types import ModuleType, TracebackType
from typing import Any

import torch

from mrcascade import __version__
from mrcascade.devices.choice import usable_device
from mrcascade.devices.precision import resolve_precision
from mrcascade.errors import MRCascadeError
from mrcascade.executors.seam import Task, Workers
from mrcascade.executors.task import Job, do_task, forget, wanted_while
from mrcascade.messages.faults import one_line
from mrcascade.messages.printable import printable, shortened

_ADDRESS = re.compile(
    r"(?:(?:tcp|tls|ws|wss|ucx)://)?[^\s/:]+:\d{1,5}|tcp://\[[0-9a-fA-F:.]+\]:\d{1,5}"
)
INSTALL = "pip install 'mrcascade[cluster]'"
_CONNECT_SECONDS = 10.0
_WORKER_SECONDS = 60.0  # longest wait for the first worker
_STOP_SECONDS = 60.0  # longest wait for workers to leave the tasks of an interrupted command
_COUNT_SECONDS = 1.0  # time between two counts of the workers

# State of a worker process: it does one task at a time, also where it has several threads.
_at_work = threading.Lock()
_token: str | None = None  # of the job in work


class ClusterWorkers(Workers):
    """Workers of a Dask cluster, which must have this version of mrcascade and the same files.

    A task goes to another worker where its worker dies. One that several workers died of is lost
    (`distributed.scheduler.allowed-failures`, by default after four). Workers may join and leave.
    An error that leaves the context stops the tasks in work, at their next network evaluation.
    """

    retries = True

    def __init__(self, address: str, say: Callable[[str], None]) -> None:
        """Connect to a scheduler.

        Args:
            address: its address, such as ``tcp://host:8786``.
            say: called with a line where no worker is left, and one when work goes on.

        Raises:
            MRCascadeError: the library is not installed, the scheduler cannot be reached, or no
                worker is there, or one has another version of mrcascade.
        """
        if not _ADDRESS.fullmatch(address):
            raise MRCascadeError(
                f"--scheduler {printable(address)}: no address of a scheduler; give one such as"
                " tcp://host:8786"
            )
        self._address, self._say = address, say
        self._library = _library()
        self._client = self._connected()
        self._tokens: list[str] = []
        self._count, self._counted, self._told = 1, -_COUNT_SECONDS, False
        try:
            self._check_workers()
        except BaseException:
            self._close()
            raise
        # Tasks are told apart by what they are, not by their arguments.
        super().__init__(self._client.get_executor(pure=False), 1, _run)

    @property
    def at_once(self) -> int:
        """Number of worker processes, at least 1."""
        if time.monotonic() - self._counted >= _COUNT_SECONDS:
            with suppress(Exception):  # where the scheduler is gone, the tasks' futures tell
                self._count = len(self._client.nthreads())
            self._counted = time.monotonic()
            if (self._count == 0) != self._told:
                self._told = self._count == 0
                self._say(
                    f"{self._address}: no worker is left; waiting for one (Ctrl-C ends)"
                    if self._told
                    else f"{self._address}: work goes on"
                )
        return max(1, self._count)

    def agreed(self, device: str, precision: str) -> tuple[str, str]:
        """Return device and precision that "auto" means on the workers.

        Raises MRCascadeError where they differ, or one cannot use the device.
        """
        answers = self._asked(_choose, device, precision)
        for worker, answer in answers.items():
            if isinstance(answer, Exception):
                raise MRCascadeError(f"worker {worker}: {one_line(answer)}") from answer
        found = sorted(set(answers.values()))
        if len(found) > 1:
            kinds = ", ".join(" ".join(one) for one in found)
            raise MRCascadeError(
                f"--scheduler {self._address}: workers differ ({kinds}); give --device and"
                " --precision that all of them have"
            )
        return found[0]

    def _connected(self) -> Any:
        try:
            return self._library.Client(
                self._address, timeout=_CONNECT_SECONDS, set_as_default=False
            )
        except Exception as error:  # addresses, networks and certificates fail in many ways
            reason = shortened(printable(" ".join(str(error).split())) or type(error).__name__, 120)
            raise MRCascadeError(
                f"--scheduler {self._address}: no Dask scheduler answers there ({reason}); check"
                " the address, which dask scheduler prints when it starts"
            ) from error

    def _check_workers(self) -> None:
        self._wait_for_worker()
        versions = self._client.get_versions(packages=["mrcascade"])
        mine = versions["client"]["packages"]["mrcascade"]
        for worker, told in versions["workers"].items():
            _check_version(worker, told["packages"]["mrcascade"], mine)

    def _wait_for_worker(self) -> None:
        try:
            self._client.wait_for_workers(1, timeout=_WORKER_SECONDS)
        except self._library.TimeoutError as error:
            raise MRCascadeError(
                f"--scheduler {self._address}: it has no worker; start some with dask worker"
            ) from error

    def _asked(self, function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
        """Return what a function gives, or raises, in each worker process that is there."""
        until = time.monotonic() + _WORKER_SECONDS
        while time.monotonic() < until:
            self._wait_for_worker()
            answers = self._client.run(function, *arguments, on_error="return")
            # Connections to workers that died meanwhile are broken.
            told = {w: a for w, a in answers.items() if not isinstance(a, OSError)}
            if told:
                return told
        raise MRCascadeError(
            f"--scheduler {self._address}: no worker answers; see the scheduler's log"
        )

    def _submit(self, job: Job, task: Any) -> Future[Any]:
        if job.token not in self._tokens:
            self._tokens.append(job.token)
        return super()._submit(job, task)

    def _result(self, future: Future[Any], task: Task, lost: Callable[[Task, str], Any]) -> Any:
        try:
            return super()._result(future, task, lost)
        except MRCascadeError:
            raise
        except self._library.scheduler.KilledWorker as error:
            return lost(
                task,
                f"{error.allowed_failures + 1} worker processes died while they worked on it,"
                " perhaps for lack of memory; see their logs, or try it on a larger machine",
            )
        except CancelledError as error:
            raise MRCascadeError(
                f"--scheduler {self._address}: the connection is lost; repeat the command to go on"
            ) from error
        except Exception as error:
            raise MRCascadeError(f"--scheduler {self._address}: {one_line(error)}") from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._executor.shutdown(wait=False)  # cancels what is left after an error
            if kind is not None and self._tokens:
                self._wait_until_left()
            for token in self._tokens:
                self._client.run(forget, token, on_error="ignore")
        except Exception as failure:  # the scheduler is gone; the first error counts
            if kind is None:
                raise MRCascadeError(one_line(failure)) from failure
        finally:
            self._close()

    def _wait_until_left(self) -> None:
        until = time.monotonic() + _STOP_SECONDS
        while time.monotonic() < until:
            answers = self._client.run(_works_for, self._tokens, on_error="ignore")
            if not any(answers.values()):
                return
            time.sleep(0.1)
        self._say(f"{self._address}: a worker has not left its task yet; it will after that")

    def _close(self) -> None:
        with suppress(Exception):
            self._client.close(timeout=_CONNECT_SECONDS)


def _library() -> ModuleType:
    """Import distributed. Raises MRCascadeError where it is not installed."""
    try:
        import distributed
    except ImportError as error:
        raise MRCascadeError(f"--scheduler needs the package distributed: {INSTALL}") from error
    return distributed


def _check_version(worker: str, theirs: str | None, mine: str | None) -> None:
    if theirs != mine:
        has = "no mrcascade" if theirs is None else f"mrcascade {theirs}"
        raise MRCascadeError(
            f"worker {worker} has {has}, and this is {mine}; install the same version there"
        )


# ---- in a worker process ----


def _choose(device: str, precision: str) -> tuple[str, str]:
    """Return the device and the precision of this process."""
    chosen = usable_device(device)
    return chosen, resolve_precision(precision, chosen)


def _works_for(tokens: list[str]) -> bool:
    return _token in tokens


def _run(job: Job, task: Any) -> Any:
    """Do a task unless, or until, nobody waits for it any more."""
    global _token
    worker = _library().get_worker()
    key = worker.get_current_task()
    _check_version(worker.address, __version__, job.version)

    def wanted() -> bool:
        state = worker.state.tasks.get(key)
        return state is not None and state.state != "cancelled"

    with _at_work, _working_in(job.folder), wanted_while(wanted):
        if not wanted():
            return None
        _token = job.token
        torch.set_num_threads(worker.state.nthreads)
        try:
            return do_task(job, task)
        except MRCascadeError as error:
            raise MRCascadeError(f"worker {worker.address}: {error}") from error
        except KeyboardInterrupt:  # which would end the worker
            return None
        finally:
            _token = None


@contextmanager
def _working_in(folder: str) -> Iterator[None]:
    """Give relative paths the meaning that they have for the command."""
    before = os.getcwd()
    try:
        os.chdir(folder)
    except OSError as error:
        raise MRCascadeError(
            f"{folder}: worker {platform.node()} has no such folder, and the command was started"
            " there; workers need the same file system"
        ) from error
    try:
        yield
    finally:
        with suppress(OSError):
            os.chdir(before)
