"""Reading of a user's files: regular files only, and no more bytes than such a file may have.

Opening a named pipe waits for a writer, and reading a device may never end, so neither is opened.
Links are followed.
"""

from __future__ import annotations

import io
import json
import os
import stat
from pathlib import Path
from typing import Any

from mrcascade.errors import MRCascadeError

# Limit for a file that describes others: JSON, lists, tables of settings.
SIDE_BYTES = 2**24
# Limit for a file with an entry per image or slice.
TABLE_BYTES = 2**26

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class UnusableFileError(MRCascadeError):
    """Error for a path that is not read at all: a pipe, a socket, a device, a file too large."""


def check_regular(path: Path) -> None:
    """Raise `UnusableFileError` for a pipe, a socket or a device, without opening it.

    Folders and missing paths pass: opening them raises an error that says more.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return
    _refuse_special(path, mode)


def open_regular(path: Path) -> io.BufferedReader:
    """Open a regular file for reading bytes.

    Raises:
        UnusableFileError: it is a pipe, a socket or a device.
        OSError: it cannot be opened.
    """
    check_regular(path)
    # A pipe may have taken the path since: open without waiting for a writer, and check again.
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 (returned)
    try:
        _refuse_special(path, os.fstat(file.fileno()).st_mode)
    except UnusableFileError:
        file.close()
        raise
    return file


def read_bytes(path: Path, most: int = SIDE_BYTES) -> bytes:
    """Return the bytes of a file.

    Raises:
        UnusableFileError: it is not a regular file, or has more than ``most`` bytes.
        OSError: it cannot be read.
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
    """Return the text of a file, with "\\n" as line end.

    Raises what `read_bytes` raises, and UnicodeDecodeError.
    """
    text = read_bytes(path, most).decode(encoding)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: Path, most: int = SIDE_BYTES) -> Any:
    """Return the content of a JSON file.

    Raises what `read_text` raises, and ValueError where the text is not JSON.
    """
    return parse_json(read_text(path, most))


def parse_json(text: str | bytes) -> Any:
    """Return the content of a JSON text.

    Raises ValueError where it is not JSON, or nested more deeply than Python can read.
    """
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
