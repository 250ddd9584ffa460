"""Members of a zip archive, unpacked no further than they are read."""

import os
import struct
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO, BinaryIO

from mrcascade.errors import MRCascadeError
from mrcascade.io.stream import reading
from mrcascade.storage.files import check_regular, open_regular

# Bytes of the list of all members, which is held whole: 100,000 names of 100 characters.
_LARGEST_DIRECTORY = 2**24
# A member is kept in memory up to this size, else on disk.
_UNPACKED_IN_MEMORY = 2**26
_PIECE = 2**20
_OPEN_ARCHIVES = 2

# The end of the central directory, and that of a large archive (APPNOTE 4.3.16, 4.3.14).
_END = struct.Struct("<4s4H2LH")
_END_MARK = b"PK\x05\x06"
_UNSET = 2**32 - 1
_END_64 = struct.Struct("<4sQ2H2L4Q")
_END_64_MARK = b"PK\x06\x06"
_LONGEST_TAIL = _END.size + 2**16 + 20 + _END_64.size  # with a comment and a locator


def member_names(path: Path) -> list[str]:
    """Return the names of the files in an archive, in its order.

    Raises MRCascadeError where they are encrypted, zipfile.BadZipFile where the archive is damaged,
    and OSError where it cannot be read.
    """
    with _damage_told():
        entries = [e for e in _archive(path).infolist() if not e.is_dir()]
    if any(e.flag_bits & 1 for e in entries):
        raise MRCascadeError(f"{path} is encrypted; unpack it first")
    return [e.filename for e in entries]


@contextmanager
def open_member(path: Path, name: str) -> Iterator[BinaryIO]:
    """Open the content of a member, seekable.

    Raises as `member_names` does, and MRCascadeError while it is read.
    """
    with _damage_told():
        archive = _archive(path)
        size, content = archive.getinfo(name).file_size, archive.open(name)
    with content, tempfile.SpooledTemporaryFile(_UNPACKED_IN_MEMORY) as copy:
        yield _Unpacking(path, content, copy, size)  # type: ignore[misc]


class _Unpacking:
    """A member as a file; bytes before the farthest one read are unpacked once."""

    def __init__(self, path: Path, content: IO[bytes], copy: IO[bytes], size: int) -> None:
        self._path = path
        self._content, self._copy, self._size = content, copy, size
        self._unpacked = self._position = 0

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(start + offset, 0)
        return self._position

    def read(self, count: int = -1) -> bytes:
        stop = self._size if count is None or count < 0 else self._position + count
        self._unpack(min(stop, self._size))
        self._copy.seek(self._position)
        data = self._copy.read(max(min(stop, self._unpacked) - self._position, 0))
        self._position += len(data)
        return data

    def _unpack(self, stop: int) -> None:
        self._copy.seek(self._unpacked)
        while self._unpacked < stop:
            with reading(self._path):
                with _damage_told():
                    part = self._content.read(min(_PIECE, stop - self._unpacked))
                if not part:
                    raise zipfile.BadZipFile("a member ends early")
            self._copy.write(part)
            self._unpacked += len(part)


@contextmanager
def _damage_told() -> Iterator[None]:
    """Turn the errors of zipfile into BadZipFile, except those that `reading` handles."""
    try:
        yield
    except (MRCascadeError, OSError, NotImplementedError):
        raise
    except Exception as error:  # any kind: neither zipfile nor its decoders document which
        raise zipfile.BadZipFile(str(error)) from error


def _archive(path: Path) -> zipfile.ZipFile:
    """Return an archive; its directory is read once, as long as the file stays the same.

    A forked process opens it anew, as two processes would share one position in the file.
    """
    check_regular(path)
    found = path.stat()
    identity = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
    return _opened(path, identity, os.getpid())


@lru_cache(maxsize=_OPEN_ARCHIVES)
def _opened(path: Path, identity: tuple[int, ...], process: int) -> zipfile.ZipFile:
    size = _directory_bytes(path)
    if size > _LARGEST_DIRECTORY:
        raise MRCascadeError(
            f"{path} lists so many files that the list alone has {size / 2**20:.0f} MiB; unpack it,"
            " and name the folder"
        )
    return zipfile.ZipFile(path)


def _directory_bytes(path: Path) -> int:
    """Return the size of an archive's list of members, as the archive states it; 0 without one."""
    with open_regular(path) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - _LONGEST_TAIL, 0))
        tail = file.read()
    place = tail.rfind(_END_MARK)
    if place < 0 or len(tail) - place < _END.size:
        return 0
    found = int(_END.unpack_from(tail, place)[5])
    large = tail.rfind(_END_64_MARK, 0, place)
    if large >= 0 and place - large >= _END_64.size:
        found = max(found * (found != _UNSET), int(_END_64.unpack_from(tail, large)[8]))
    return found
