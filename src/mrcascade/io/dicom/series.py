"""DICOM series: which files belong together, and which series was meant."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from mrcascade.atomic import FOLDER_ENDING
from mrcascade.errors import MRCascadeError
from mrcascade.io.dicom.files import ENDINGS, ZIP_ENDING, DicomFile
from mrcascade.io.dicom.frames import FileFacts, read_facts
from mrcascade.io.dicom.stack import Stack, stack_of

ALL_SERIES = "all"
_NAMED_IN_MESSAGES = 8


@dataclass(frozen=True, eq=False)
class Series:
    """The files of one DICOM series: an input, as an image file is one.

    path: the folder or archive that holds them all, or the only file. name: results are named
    after it. files: in the order in which they were found. shares_path: with other series. damage:
    of a file beside them that could be one of them, so that the series cannot be trusted.
    """

    path: Path
    name: str
    files: tuple[FileFacts, ...]
    shares_path: bool = False
    damage: MRCascadeError | None = None

    def __str__(self) -> str:
        return f"{self.path} ({self.label})" if self.shares_path else str(self.path)

    @property
    def uid(self) -> str:
        return self.files[0].series

    @property
    def number(self) -> int | None:
        return self.files[0].number

    @property
    def label(self) -> str:
        """``series 5 "t2_tse_tra"``."""
        number = "without number" if self.number is None else str(self.number)
        description = self.files[0].description
        return f"series {number}" + (f' "{description}"' if description else "")

    @property
    def acquired(self) -> tuple[int, int] | None:
        """(rows, columns) of the acquired matrix, if the header says."""
        return self.files[0].acquired

    @cached_property
    def stack(self) -> Stack:
        """The frames in order; MRCascadeError where they do not form one array."""
        if self.damage is not None:
            raise self.damage
        return stack_of(self.files, str(self))

    def describe(self) -> str:
        """One line: number, description, size, UID."""
        images = sum(len(f.frames) for f in self.files)
        pixels = self.files[0].format
        return (
            f"{self.label}: {images} image{'s' * (images != 1)} of {pixels.rows} x"
            f" {pixels.columns}, {self.path}, UID {self.uid or 'missing'}"
            f"{', beside a damaged file' * (self.damage is not None)}"
        )


@dataclass(frozen=True)
class Found:
    """What a search for series came to.

    ignored: DICOM files that hold no MR image. damaged: files that cannot be read, with the error,
    where no series lies in their folder.
    """

    series: tuple[Series, ...]
    ignored: tuple[DicomFile, ...]
    damaged: tuple[tuple[DicomFile, MRCascadeError], ...] = ()


def find_series(files: Iterable[DicomFile]) -> Found:
    """Group files into series, in the order of series number and place.

    The same image in two files counts once. A damaged file could be a slice of any series in its
    folder: these raise its error when they are used.
    """
    groups: dict[str, dict[str, FileFacts]] = {}
    ignored, damaged = [], []
    for file in files:
        try:
            facts = read_facts(file)
        except MRCascadeError as error:
            damaged.append((file, error))
            continue
        if facts is None:
            ignored.append(file)
            continue
        groups.setdefault(facts.series, {}).setdefault(facts.instance or str(file), facts)
    found = [_series(tuple(group.values())) for group in groups.values()]
    found.sort(key=lambda s: (str(s.path), s.number is None, s.number or 0, s.uid))
    shared = {s.path for s in found if sum(t.path == s.path for t in found) > 1}
    named = [_numbered(s) if s.path in shared else s for s in found]
    for file, damage in damaged:
        named = [replace(s, damage=damage) if _beside(file, s) else s for s in named]
    alone = (d for d in damaged if not any(_beside(d[0], s) for s in named))
    return Found(tuple(named), tuple(ignored), tuple(alone))


def choose_series(found: Found, selector: str | None, where: str) -> list[Series]:
    """The series that are meant; ``where`` names in messages what was searched.

    selector: a series number, a series UID, or "all". Without one, all series that have a folder
    (or archive, or file) of their own. Raises MRCascadeError where none is meant, or several
    share a folder and none was chosen.
    """
    if not found.series:
        raise found.damaged[0][1] if found.damaged else _none_found(found, where)
    if selector is not None and selector.lower() != ALL_SERIES:
        return [_selected(found.series, selector, where)]
    if selector is None:
        for one in found.series:
            beside = [s for s in found.series if s.path == one.path]
            if len(beside) > 1:
                raise MRCascadeError(
                    f"{one.path} holds {len(beside)} series; choose one with --series, or all"
                    f" with --series {ALL_SERIES}: {_listed(beside)}"
                )
    return list(found.series)


def _selected(series: Sequence[Series], selector: str, where: str) -> Series:
    meant = [s for s in series if selector in (s.uid, str(s.number))]
    if not meant:
        raise MRCascadeError(f"{where} holds no series {selector}; there are {_listed(series)}")
    if len(meant) > 1:
        uids = ", ".join(s.uid for s in meant)
        raise MRCascadeError(
            f"{where} holds {len(meant)} series of number {selector}; give a UID to --series:"
            f" {uids}"
        )
    return meant[0]


def _listed(series: Sequence[Series]) -> str:
    labels = [s.label for s in series[:_NAMED_IN_MESSAGES]]
    if len(set(labels)) < len(labels):
        labels = [f"{label} ({s.uid})" for label, s in zip(labels, series, strict=False)]
    more = len(series) - len(labels)
    return ", ".join(labels) + (f" and {more} more" if more else "")


def _none_found(found: Found, where: str) -> MRCascadeError:
    if found.ignored:
        others = f"{len(found.ignored)} DICOM file{'s' * (len(found.ignored) > 1)} of other kinds"
        return MRCascadeError(f"{where} holds no MR image, only {others}; give an MR series")
    return MRCascadeError(f"{where} holds no DICOM image; give a folder or archive that does")


def _series(files: tuple[FileFacts, ...]) -> Series:
    path = _home([f.file for f in files])
    name = path.name or path.resolve().name
    endings = (*ENDINGS, ZIP_ENDING) if path.is_file() else (FOLDER_ENDING,)
    for ending in endings:
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
    return Series(path, name, files)


def _beside(file: DicomFile, series: Series) -> bool:
    """Whether a file lies in a folder that the series has files in, or below its only folder."""
    folders = {one.file.folders for one in series.files}
    return file.folders in folders or file.path == series.path


def _numbered(series: Series) -> Series:
    label = series.uid.rsplit(".", 1)[-1] if series.number is None else str(series.number)
    name = f"{series.name}_{label}" if label else series.name
    return replace(series, name=name, shares_path=True)


def _home(files: Sequence[DicomFile]) -> Path:
    """The only file, or the deepest folder (or the archive) that holds all files."""
    if len(files) == 1:
        return files[0].path
    paths = {f.path for f in files}
    if len(paths) == 1:
        return files[0].path
    return Path(os.path.commonpath([p.parent for p in paths]))
