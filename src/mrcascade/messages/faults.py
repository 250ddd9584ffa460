"""One line for any error, expected or not; the traceback goes to a log file or to stderr."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from mrcascade.errors import MRCascadeError
from mrcascade.messages.printable import printable, shortened

_DEBUG = "MRCASCADE_DEBUG"  # an environment variable, as the processes of a job inherit it
_REMEDIES = {
    errno.EACCES: "check its permissions",
    errno.EPERM: "check its permissions",
    errno.EROFS: "choose another folder",
    errno.ENAMETOOLONG: "give it a shorter name",
    errno.ENOENT: "check the name",
    errno.EISDIR: "give the name of a file",
    errno.ENOTDIR: "check the name",
    errno.ELOOP: "its links lead in a circle",
    errno.ENOSPC: "free some or choose another folder",
    errno.EDQUOT: "free some or choose another folder",
    errno.EIO: "check the disk",
    errno.ESTALE: "check the network drive",
    errno.EMFILE: "raise the limit, as by ulimit -n 4096",
    errno.ENOMEM: "free some or try a machine with more",
}
_log: str | None = None  # path of this process's log file, once there is one


def debugging() -> bool:
    """Return whether to show tracebacks and other libraries' warnings."""
    return os.environ.get(_DEBUG, "") not in ("", "0")


@contextmanager
def showing_tracebacks(asked: bool) -> Iterator[None]:
    """Switch `debugging` on within the block, and in the processes that it starts, if asked."""
    before = os.environ.get(_DEBUG)
    if asked:
        os.environ[_DEBUG] = "1"
    try:
        yield
    finally:
        if before is not None:
            os.environ[_DEBUG] = before
        elif asked:
            del os.environ[_DEBUG]


@contextmanager
def naming(name: str, *others: str) -> Iterator[None]:
    """Turn every error of the block into a one-line MRCascadeError that contains ``name``.

    A message that contains one of ``others`` names the subject already.
    """
    try:
        yield
    except Exception as error:
        message = one_line(error, name)
        if not any(known in message for known in (name, *others)):
            message = f"{name}: {message}"
        elif isinstance(error, MRCascadeError):
            raise
        raise MRCascadeError(message) from error


def one_line(error: BaseException, name: str = "") -> str:
    """Return a line that says what happened to ``name``, and what to do about it.

    An unexpected error's traceback goes to a log file, which the line names. While `debugging`,
    every traceback goes to stderr instead.
    """
    known = _known(error, name)
    place = None
    if debugging():
        _show(error)
    elif known is None:
        place = _keep(error)
    if known is not None:
        return known
    message = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    subject = f"{name}: " if name else ""
    where = f"the traceback is in {place}" if place else "--debug shows where"
    return f"{subject}unexpected {shortened(message)}; {where}, please report it"


def _known(error: BaseException, name: str) -> str | None:
    if isinstance(error, MRCascadeError):
        return str(error)
    subject = f"{name}: " if name else ""
    if isinstance(error, OSError) and error.strerror:
        file = error.filename if isinstance(error.filename, str) else ""
        place = f"{file}: " if file else subject
        remedy = _REMEDIES.get(error.errno or 0, "check the file and its disk")
        return f"{place}{error.strerror.lower()}; {remedy}"
    if isinstance(error, MemoryError):
        return f"{subject}not enough memory; free some or try a machine with more"
    if isinstance(error, RecursionError):
        return f"{subject}something in it is nested too deeply to be read; repair the file"
    if isinstance(error, ValueError) and "embedded null" in str(error):
        return f"{subject}a name with a null byte; check the name"
    return None


def _text(error: BaseException) -> str:
    lines = "".join(traceback.format_exception(error)).splitlines()
    return "\n".join(map(printable, lines)) + "\n"


def _show(error: BaseException) -> None:
    if sys.stderr is not None:
        sys.stderr.write(_text(error).encode("ascii", "backslashreplace").decode())


def _keep(error: BaseException) -> str | None:
    """Append a traceback to this process's log file, which only its owner may read.

    Returns its path, or None where it cannot be written.
    """
    global _log
    try:
        if _log is None:
            descriptor, name = tempfile.mkstemp(prefix="mrcascade-", suffix=".log")
            os.close(descriptor)
            _log = name
        with open(_log, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(_text(error))
    except OSError:
        return None
    return _log
