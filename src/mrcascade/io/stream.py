"""The bytes of an input file from front to back, decompressed and hashed."""

import hashlib
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from mrcascade.errors import MRCascadeError
from mrcascade.io.gzip_members import GZIP_MAGIC, GzipMembers
from mrcascade.io.walk import is_dangling
from mrcascade.storage.digest import file_sha256
from mrcascade.storage.files import open_regular

# Deflate packs at most 1032 bytes into one (zlib's technical notes).
_LARGEST_GZIP_RATIO = 1032
_DRAIN_BYTES = 2**20
_MOST_LEFT = 2**26


class InputStream:
    """Content of a file from front to back, made by `open_stream`.

    Faults of the disk and of the compression are raised as MRCascadeError.

    Attributes:
        path: the file.
        packed: whether it is compressed. The content decides, as renamed files are common.
        most: upper bound of the content's size, in bytes.
    """

    def __init__(self, file: BinaryIO, path: Path) -> None:
        magic = file.read(2)
        file.seek(0)
        size = os.fstat(file.fileno()).st_size
        self.path = path
        self.packed = magic == GZIP_MAGIC
        self.most = (size + 1) * _LARGEST_GZIP_RATIO if self.packed else size
        self._hashed = _Hashed(file)
        source: Any = self._hashed
        self._content = GzipMembers(source) if self.packed else source

    def read(self, count: int) -> bytes:
        """Return the next `count` bytes; fewer at the end."""
        parts = []
        with reading(self.path):
            while count > 0:
                part = self._content.read(count)
                if not part:
                    break
                parts.append(part)
                count -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def finish(self) -> str:
        """Read the rest, which checks the checksum of a compressed file; return the file's SHA-256.

        Raises MRCascadeError where much is left that the header does not account for.
        """
        left = 0
        with reading(self.path):
            while part := self._content.read(_DRAIN_BYTES) or self._hashed.read(_DRAIN_BYTES):
                left += len(part)
                if left > _MOST_LEFT:
                    raise MRCascadeError(
                        f"{self.path} goes on for more than {_MOST_LEFT // 2**20} MiB after the"
                        " image that its header announces; save it again"
                    )
        return self._hashed.digest.hexdigest()


@contextmanager
def open_stream(path: Path) -> Iterator[InputStream]:
    """Open a file for reading.

    Raises MRCascadeError where it is missing, a folder or unreadable.
    """
    if path.is_dir():
        raise MRCascadeError(f"{path} is a folder; give the name of an image file")
    with reading(path):
        file = open_regular(path)
    with file:
        with reading(path):
            stream = InputStream(file, path)
        yield stream


def bytes_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes. Raises MRCascadeError where it cannot be read."""
    with reading(path):
        return file_sha256(path)


class _Hashed:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, count: int = -1) -> bytes:
        data = self._file.read(count)
        self.digest.update(data)
        return data


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn errors of the disk and of a damaged compression into MRCascadeError."""
    try:
        yield
    except FileNotFoundError as error:
        if is_dangling(path):
            raise MRCascadeError(
                f"{path} is a link to a missing file; fetch the file (in a DataLad dataset with"
                " datalad get), or remove the link"
            ) from error
        raise MRCascadeError(f"{path} does not exist; check the name") from error
    except (EOFError, zlib.error) as error:
        raise MRCascadeError(
            f"{path} is a truncated or damaged gzip file; copy or download it again"
        ) from error
    except (zipfile.BadZipFile, NotImplementedError) as error:  # the latter: a rare compression
        raise MRCascadeError(
            f"{path} is a damaged zip archive, or no zip archive; unpack it, or copy it again"
        ) from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise MRCascadeError(
            f"cannot read {path}: {reason.lower()}; check the file and its permissions"
        ) from error
