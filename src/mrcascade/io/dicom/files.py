"""Places of DICOM files: single files, below a folder, or inside a zip archive."""

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

# Endings that mean DICOM even without the preamble, as in files from before Part 10.
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
        """Name of the file or member, without folders."""
        return PurePosixPath(self.member).name if self.member else self.path.name

    @property
    def folders(self) -> tuple[str, ...]:
        """Folders above the file; an archive counts as one."""
        return (*self.path.parts, *PurePosixPath(self.member).parts)[:-1]

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open the content, seekable. Raises MRCascadeError where it cannot be read."""
        with reading(self.path):
            if not self.member:
                with open_regular(self.path) as file:
                    yield file
                return
            with open_member(self.path, self.member) as content:
                yield content

    def looks_like_dicom(self) -> bool:
        """Return whether the ending or the mark after the preamble means DICOM.

        False for a missing file. A link to a missing file counts unless its name means another
        kind.
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
        """Return whether the ending of the name, if any, means no other kind of file."""
        kind, packed = _kinds_by_name().guess_type(self.name)
        return kind is None and packed is None


def is_dicom_name(path: Path) -> bool:
    """Return whether `path` can only mean DICOM: a folder, an archive, or a DICOM file."""
    if path.is_dir() or path.name.lower().endswith(ZIP_ENDING):
        return True
    return DicomFile(path).looks_like_dicom()


def dicom_files(path: Path) -> list[DicomFile]:
    """Return the DICOM files that `path` stands for, sorted by name.

    A folder stands for the files below it, without hidden files, results of ``sr`` and image files
    of other formats. An archive stands for its members, and any other path for itself.
    """
    if path.is_dir():
        below = (p for p in files_below(path) if not _is_result(p.relative_to(path)))
        named = [DicomFile(p) for p in below if format_by_ending(p) is None]
        return [f for f in named if f.looks_like_dicom()]
    if path.name.lower().endswith(ZIP_ENDING):
        return [f for f in _members(path) if f.looks_like_dicom()]
    return [DicomFile(path)]


def strangers(path: Path, known: Sequence[DicomFile]) -> list[DicomFile]:
    """Return the files below a folder or in an archive that may be damaged slices.

    They are not among `known`, the DICOM files, but their names mean no other kind.
    """
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
    """Python's own table; the machine's could differ."""
    return mimetypes.MimeTypes()


def _has_magic(head: bytes) -> bool:
    return head[_MAGIC_OFFSET:] == _MAGIC
