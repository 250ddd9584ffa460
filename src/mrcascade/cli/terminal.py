"""Output to the terminal: lines of printable text in the characters that the stream can encode."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

from mrcascade.messages.printable import printable


class OutputError(BaseException):
    """Error for a standard output that cannot be written.

    It is not an ``Exception``, as it ends the command and is not the fault of any input.

    Attributes:
        closed: whether the reader of the output closed it.
        reason: what is wrong, in words.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.closed = isinstance(error, BrokenPipeError)
        self.reason = (error.strerror or type(error).__name__).lower()


def line(text: str) -> None:
    """Write a line to stdout. Raises OutputError where that fails."""
    try:
        _write(sys.stdout, text)
    except OSError as error:
        _discard_output()
        raise OutputError(error) from error


def tell(text: str) -> None:
    """Write a line to stderr. A closed stderr is ignored."""
    with contextlib.suppress(OSError):
        _write(sys.stderr, text)


def problem(text: str) -> None:
    """Write an error or a warning to stderr."""
    tell(f"mrcascade: {text}")


def note(text: str) -> None:
    """Write a note, which is not an error, to stderr."""
    problem(f"note: {text}")


def end() -> None:
    """Flush the buffer of stdout. Raises OutputError where that fails."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        _discard_output()
        raise OutputError(error) from error


def showable(text: str, stream: Any) -> str:
    """Return `printable` text, with escapes for characters that the stream cannot encode."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return printable(text).encode(encoding, "backslashreplace").decode(encoding)


def _write(stream: Any, text: str) -> None:
    if stream is None:  # closed before the program began
        return
    stream.write(showable(text, stream) + "\n")
    stream.flush()


def _discard_output() -> None:
    """Send the rest of the buffer to the null device, or Python reports it at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
