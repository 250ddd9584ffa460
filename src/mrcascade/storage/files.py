"""How every file of a user is opened for reading: regular files alone, and small ones in bounds.

Opening a named pipe waits for a writer, and reading a device may never end, so that neither is
opened. A link counts as what it leads to.
"""

from __future__ import annotations

import io
import json
import os
import stat
from pathlib import Path
from typing import Any

from mrcascade.errors import MRCascadeError

# The most that is read of a file that describes others: JSON, lists, tables of settings.
SIDE_BYTES = 2**24
# The most that is read of a file with an entry per image or slice, which may be many.
TABLE_BYTES = 2**26

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class UnusableFileError(MRCascadeError):
    """Something that is not read at all, whatever a reader would make of its content."""


def check_regular(path: Path) -> None:
    """Raise `UnusableFileError` for a pipe, a socket or a device, without opening it.

    A folder passes, as does what cannot be looked up: whoever opens it says what is wrong.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return
    _refuse_special(path, mode)


def open_regular(path: Path) -> io.BufferedReader:
    """A regular file, opened for reading its bytes.

    Raises `UnusableFileError` as `check_regular` does, OSError where the file cannot be opened.
    """
    check_regular(path)
    # The path may have been given to a pipe in between: opened without waiting, looked at again.
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 (returned)
    try:
        _refuse_special(path, os.fstat(file.fileno()).st_mode)
    except UnusableFileError:
        file.close()
        raise
    return file


def read_bytes(path: Path, most: int = SIDE_BYTES) -> bytes:
    """The bytes of a file.

    Raises `UnusableFileError` as `open_regular` does, and where there are more than ``most``;
    OSError where the file cannot be read.
    """
    with open_regular(path) as file:
        content = file.read(most + 1)
        if len(content) > most:
            size = max(os.fstat(file.fileno()).st_size, len(content))
            raise UnusableFileError(
                f"{path}: has {size / 2**20:.0f} MiB, more than the {most / 2**20:.0f} that such a"
                " file may have; check that it is the right one"
            )
    return content


def read_text(path: Path, most: int = SIDE_BYTES, encoding: str = "utf-8") -> str:
    """The text of a file, line ends as "\\n"; errors as of `read_bytes`, and UnicodeDecodeError."""
    text = read_bytes(path, most).decode(encoding)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: Path, most: int = SIDE_BYTES) -> Any:
    """What a JSON file holds; errors as of `read_text`, and ValueError where it is no JSON."""
    return parse_json(read_text(path, most))


def parse_json(text: str | bytes) -> Any:
    """What a JSON text says; ValueError where it is no JSON or nested too deeply to be read."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _refuse_special(path: Path, mode: int) -> None:
    kind = _KINDS.get(stat.S_IFMT(mode))
    if kind is not None:
        raise UnusableFileError(
            f"{path} is {kind}, not a file; save its content as a file and name that"
        )
