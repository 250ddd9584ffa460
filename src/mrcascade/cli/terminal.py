"""The one place that writes to the terminal: lines of printable text, in what it can show."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

from mrcascade.messages.printable import printable


class OutputError(BaseException):
    """Standard output takes no more.

    No ``Exception``: it ends the command, and is no fault of the file that is in work.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.closed = isinstance(error, BrokenPipeError)
        self.reason = (error.strerror or type(error).__name__).lower()


def line(text: str) -> None:
    """Write a line of output. Raises OutputError where that cannot be."""
    try:
        _write(sys.stdout, text)
    except OSError as error:
        _discard_output()
        raise OutputError(error) from error


def tell(text: str) -> None:
    """Write a line about the work to stderr, which may be closed."""
    with contextlib.suppress(OSError):
        _write(sys.stderr, text)


def problem(text: str) -> None:
    """Write an error or a warning to stderr."""
    tell(f"mrcascade: {text}")


def note(text: str) -> None:
    """Write what is worth knowing and no error to stderr."""
    problem(f"note: {text}")


def end() -> None:
    """Write what other code left in the buffer of stdout. Raises OutputError as `line` does."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        _discard_output()
        raise OutputError(error) from error


def showable(text: str, stream: Any) -> str:
    """Return `printable` text in characters that the stream has."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return printable(text).encode(encoding, "backslashreplace").decode(encoding)


def _write(stream: Any, text: str) -> None:
    if stream is None:  # closed before the program began
        return
    stream.write(showable(text, stream) + "\n")
    stream.flush()


def _discard_output() -> None:
    """Send what is still in the buffer nowhere, or Python complains of it when it ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
