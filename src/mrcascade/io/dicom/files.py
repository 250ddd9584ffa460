"""Where DICOM files lie: single files, below a folder, or inside a zip archive."""

import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from mrcascade.errors import MRCascadeError
from mrcascade.io.names import is_result_name
from mrcascade.io.stream import reading
from mrcascade.io.walk import files_below

# Names that mean DICOM even where the preamble is missing, as in files from before Part 10.
ENDINGS = (".dcm", ".ima")
ZIP_ENDING = ".zip"

_MAGIC, _MAGIC_OFFSET = b"DICM", 128
# A member of an archive is unpacked to read it: in memory up to this size, else on disk.
_UNPACKED_IN_MEMORY = 2**26


@dataclass(frozen=True, order=True)
class DicomFile:
    """One file: `path`, or the `member` of the zip archive `path`."""

    path: Path
    member: str = ""

    def __str__(self) -> str:
        return f"{self.path}/{self.member}" if self.member else str(self.path)

    @property
    def name(self) -> str:
        return PurePosixPath(self.member).name if self.member else self.path.name

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders above the file; an archive counts as one."""
        return (*self.path.parts, *PurePosixPath(self.member).parts)[:-1]

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The content, seekable; MRCascadeError where it cannot be read."""
        with reading(self.path):
            if not self.member:
                with self.path.open("rb") as file:
                    yield file
                return
            with _unpacked(self.path, self.member) as copy:
                yield copy

    def looks_like_dicom(self) -> bool:
        """By the ending of the name or the mark after the preamble; no such file: False."""
        if self.name.lower().endswith(ENDINGS):
            return True
        if not self.member and not self.path.is_file():
            return False
        with reading(self.path):
            if not self.member:
                with self.path.open("rb") as file:
                    return _has_magic(file.read(_MAGIC_OFFSET + len(_MAGIC)))
            with _unpacked(self.path, self.member) as copy:
                return _has_magic(copy.read(_MAGIC_OFFSET + len(_MAGIC)))


def is_dicom_name(path: Path) -> bool:
    """Whether `path` can only mean DICOM: a folder, an archive, or a DICOM file."""
    if path.is_dir() or path.name.lower().endswith(ZIP_ENDING):
        return True
    return DicomFile(path).looks_like_dicom()


def dicom_files(path: Path, others: Sequence[str]) -> list[DicomFile]:
    """The DICOM files that `path` stands for, sorted by name.

    A folder stands for what lies below it; hidden files, results of ``sr`` and names that end in
    one of `others` are passed over; an archive for its members; anything else for itself.
    """
    if path.is_dir():
        below = (p for p in files_below(path) if not _is_result(p.relative_to(path)))
        named = [DicomFile(p) for p in below if not p.name.lower().endswith(tuple(others))]
        return [f for f in named if f.looks_like_dicom()]
    if path.name.lower().endswith(ZIP_ENDING):
        return [f for f in _members(path) if f.looks_like_dicom()]
    return [DicomFile(path)]


def _is_result(below: Path) -> bool:
    return any(is_result_name(Path(part)) for part in below.parts)


def _members(path: Path) -> list[DicomFile]:
    with reading(path), zipfile.ZipFile(path) as archive:
        entries = [e for e in archive.infolist() if not e.is_dir()]
        if any(e.flag_bits & 1 for e in entries):
            raise MRCascadeError(f"{path} is encrypted; unpack it first")
    names = [e.filename for e in entries]
    hidden = ("__MACOSX", ".")
    plain = (n for n in names if not any(p.startswith(hidden) for p in PurePosixPath(n).parts))
    return [DicomFile(path, name) for name in sorted(plain)]


@contextmanager
def _unpacked(path: Path, member: str) -> Iterator[BinaryIO]:
    with tempfile.SpooledTemporaryFile(_UNPACKED_IN_MEMORY) as copy:
        try:
            with zipfile.ZipFile(path) as archive, archive.open(member) as content:
                shutil.copyfileobj(content, copy, 2**20)
        except (zlib.error, EOFError, KeyError, RuntimeError) as error:
            raise zipfile.BadZipFile(str(error)) from error
        copy.seek(0)
        yield copy  # type: ignore[misc]


def _has_magic(head: bytes) -> bool:
    return head[_MAGIC_OFFSET:] == _MAGIC
