"""Output to the terminal: lines of printable text in the characters that the stream can encode.

Terminals get colours and drawn tables by the library rich. Files and pipes get plain lines.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mrcascade.messages.printable import printable

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod

_messages: tuple[Any, Console] | None = None  # stderr, and what draws on it


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
    with _writing():
        _write(_open_stdout(), text)


def raw_line(text: str) -> None:
    """Write a line of a program's text to stdout as it is. Raises OutputError where that fails."""
    with _writing():
        _open_stdout().write(text + "\n")


def tell(text: str) -> None:
    """Write a line to stderr, above a running progress bar. A closed stderr is ignored."""
    _tell("", "", text)


def problem(text: str) -> None:
    """Write an error or a warning to stderr."""
    _tell("mrcascade: ", "bold red", text)


def note(text: str) -> None:
    """Write a note, which is not an error, to stderr."""
    _tell("mrcascade: note: ", "yellow", text)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a table to stdout: drawn on a terminal, elsewhere in Markdown.

    Columns of numbers align right.
    """
    from mrcascade.benchmark.table import are_numbers, markdown

    if not is_terminal(sys.stdout):
        for row in markdown(header, rows):
            line(row)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table()
    for name, *column in zip(header, *rows, strict=True):
        justify: JustifyMethod = "right" if are_numbers(column) else "left"
        # The first column has names, which a user may copy.
        drawn.add_column(name, justify=justify, no_wrap=not drawn.columns, overflow="fold")
    for cells in rows:
        drawn.add_row(*(Text(showable(cell, sys.stdout)) for cell in cells))
    with _writing():
        Console(file=sys.stdout).print(drawn)


def is_terminal(stream: Any) -> bool:
    """Return whether a stream is a terminal that can move its cursor."""
    return stream is not None and stream.isatty() and os.environ.get("TERM") not in ("dumb", "")


def console() -> Console:
    """Return what draws on stderr, where that is a terminal."""
    global _messages
    if _messages is None or _messages[0] is not sys.stderr:
        from rich.console import Console

        _messages = sys.stderr, Console(file=sys.stderr, highlight=False)
    return _messages[1]


def end() -> None:
    """Flush the buffer of stdout. Raises OutputError where that fails."""
    with _writing():
        if sys.stdout is not None:
            sys.stdout.flush()


def showable(text: str, stream: Any) -> str:
    """Return `printable` text, with escapes for characters that the stream cannot encode."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return printable(text).encode(encoding, "backslashreplace").decode(encoding)


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    """Turn a failure of the block into an OutputError."""
    try:
        yield
    except OSError as error:
        _discard_output()
        raise OutputError(error) from error


def _open_stdout() -> Any:
    """Return stdout. Raises OSError where it was closed before the program began."""
    if sys.stdout is None:
        raise OSError(errno.EBADF, "it is closed")
    return sys.stdout


def _tell(begin: str, style: str, text: str) -> None:
    with contextlib.suppress(OSError):
        if not is_terminal(sys.stderr):
            _write(sys.stderr, begin + text)
            return
        from rich.text import Text

        words = Text.assemble((begin, style), showable(text, sys.stderr))
        console().print(words, soft_wrap=True)


def _write(stream: Any, text: str) -> None:
    if stream is None:  # stderr that was closed before the program began
        return
    stream.write(showable(text, stream) + "\n")
    stream.flush()


def _discard_output() -> None:
    """Send the rest of the buffer to the null device, or Python reports it at exit."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # it may be None
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
