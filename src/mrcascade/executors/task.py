"""What happens in a worker process: it makes the work of a job once, and does tasks with it."""

from __future__ import annotations

import os
import pickle
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mrcascade import __version__
from mrcascade.errors import MRCascadeError
from mrcascade.messages.faults import one_line

Work = Callable[[Any], Any]  # task -> result; both can be pickled
Make = Callable[[str], Work]  # device -> work, which holds the networks

# Token and work of the job that this process works for; the error where it could not be made.
_current: tuple[str, Work | MRCascadeError] | None = None
# Whether anybody waits for the task in work.
_wanted: Callable[[], bool] = lambda: True  # noqa: E731


@dataclass(frozen=True)
class Job:
    """What the tasks of a job have in common. It goes to a worker process with each of them.

    Attributes:
        token: tells jobs apart.
        content: the pickled function that makes the work of a process. It is pickled once, as it
            may know every file of an evaluation.
        device: name of the device.
        folder: working folder of the command, which relative paths begin at.
        version: version of the command.
    """

    token: str
    content: bytes
    device: str
    folder: str
    version: str = __version__

    @classmethod
    def of(cls, make: Make, device: str) -> Job:
        """Return the job of this process. ``make`` can be pickled, and is called in the workers."""
        return cls(uuid.uuid4().hex, pickle.dumps(make), device, os.getcwd())


def do_task(job: Job, task: Any, device: str | None = None) -> Any:
    """Return the result of a task; the first task of a job makes its work.

    Args:
        job: the job.
        task: the task.
        device: device of this process, if it is not the job's.

    Raises:
        MRCascadeError: the work could not be made. Errors of the task are raised as they are.
    """
    global _current
    if _current is None or _current[0] != job.token:
        _current = None  # frees the networks of the job before
        try:
            _current = job.token, pickle.loads(job.content)(device or job.device)
        except Exception as error:
            _current = job.token, MRCascadeError(one_line(error))
    work = _current[1]
    if isinstance(work, MRCascadeError):
        raise work
    return work(task)


def forget(token: str) -> None:
    """Free the work of a job that has ended."""
    global _current
    if _current is not None and _current[0] == token:
        _current = None


def leave_if_unwanted() -> None:
    """Raise KeyboardInterrupt where nobody waits for the task in work any more.

    Work calls it as it goes on, so that the workers of a cluster stop soon after a command did.
    Local workers get signals.
    """
    if not _wanted():
        raise KeyboardInterrupt


@contextmanager
def wanted_while(wanted: Callable[[], bool]) -> Iterator[None]:
    """Let `leave_if_unwanted` ask ``wanted`` within the block."""
    global _wanted
    before, _wanted = _wanted, wanted
    try:
        yield
    finally:
        _wanted = before
