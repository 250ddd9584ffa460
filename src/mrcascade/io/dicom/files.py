"""Where DICOM files lie: single files, below a folder, or inside a zip archive."""

import mimetypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from mrcascade.io.dicom.archive import member_names, open_member
from mrcascade.io.formats import format_by_ending
from mrcascade.io.names import is_result_name
from mrcascade.io.stream import reading
from mrcascade.io.walk import files_below, is_dangling
from mrcascade.storage.files import open_regular

# Names that mean DICOM even where the preamble is missing, as in files from before Part 10.
ENDINGS = (".dcm", ".ima")
ZIP_ENDING = ".zip"

_MAGIC, _MAGIC_OFFSET = b"DICM", 128


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
                with open_regular(self.path) as file:
                    yield file
                return
            with open_member(self.path, self.member) as content:
                yield content

    def looks_like_dicom(self) -> bool:
        """By the ending of the name or the mark after the preamble; no such file: False.

        What a dangling link led to cannot be known, only that its name does not mean another kind.
        """
        if self.name.lower().endswith(ENDINGS):
            return True
        if not self.member and is_dangling(self.path):
            return self.could_be_dicom()
        if not self.member and not self.path.is_file():
            return False
        with self.open() as content:
            return _has_magic(content.read(_MAGIC_OFFSET + len(_MAGIC)))

    def could_be_dicom(self) -> bool:
        """Whether the ending of the name, if any, means no other kind of file."""
        kind, packed = _kinds_by_name().guess_type(self.name)
        return kind is None and packed is None


def is_dicom_name(path: Path) -> bool:
    """Whether `path` can only mean DICOM: a folder, an archive, or a DICOM file."""
    if path.is_dir() or path.name.lower().endswith(ZIP_ENDING):
        return True
    return DicomFile(path).looks_like_dicom()


def dicom_files(path: Path) -> list[DicomFile]:
    """The DICOM files that `path` stands for, sorted by name.

    A folder stands for what lies below it; hidden files, results of ``sr`` and names that mean an
    image file of another format are passed over; an archive for its members; anything else for
    itself.
    """
    if path.is_dir():
        below = (p for p in files_below(path) if not _is_result(p.relative_to(path)))
        named = [DicomFile(p) for p in below if format_by_ending(p) is None]
        return [f for f in named if f.looks_like_dicom()]
    if path.name.lower().endswith(ZIP_ENDING):
        return [f for f in _members(path) if f.looks_like_dicom()]
    return [DicomFile(path)]


def strangers(path: Path, known: Sequence[DicomFile]) -> list[DicomFile]:
    """The files below a folder or in an archive that are not `known` as DICOM, though their names
    mean no other kind: emptied or cut slices may be among them."""
    seen = set(known)
    if path.is_dir():
        below = [p for p in files_below(path) if not _is_result(p.relative_to(path))]
        files = [DicomFile(p) for p in below if format_by_ending(p) is None]
    elif path.name.lower().endswith(ZIP_ENDING):
        files = _members(path)
    else:
        return []
    return [f for f in files if f not in seen and f.could_be_dicom()]


def _is_result(below: Path) -> bool:
    return any(is_result_name(Path(part)) for part in below.parts)


def _members(path: Path) -> list[DicomFile]:
    with reading(path):
        names = member_names(path)
    hidden = ("__MACOSX", ".")
    plain = (n for n in names if not any(p.startswith(hidden) for p in PurePosixPath(n).parts))
    return [DicomFile(path, name) for name in sorted(plain)]


@cache
def _kinds_by_name() -> mimetypes.MimeTypes:
    """Python's own table, whatever the machine's says."""
    return mimetypes.MimeTypes()


def _has_magic(head: bytes) -> bool:
    return head[_MAGIC_OFFSET:] == _MAGIC
