"""DICOM series: grouping files into series, and choosing among them."""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from mrcascade.errors import MRCascadeError
from mrcascade.io.dicom.copies import without_copies
from mrcascade.io.dicom.files import ENDINGS, ZIP_ENDING, DicomFile, dicom_files, strangers
from mrcascade.io.dicom.frames import FileFacts, Unusable, read_facts
from mrcascade.io.dicom.header import DamagedFileError
from mrcascade.io.dicom.stack import Stack, stack_of
from mrcascade.io.file import ImageFile
from mrcascade.io.formats import FORMATS, Format, format_by_ending
from mrcascade.io.names import is_result_name
from mrcascade.io.pseudonym import Pseudonyms
from mrcascade.storage.atomic import FOLDER_ENDING

ALL_SERIES = "all"
_NAMED_IN_MESSAGES = 8


@dataclass(frozen=True, eq=False)
class Series(ImageFile):
    """The files of one DICOM series.

    Attributes:
        path: the folder or archive that holds them all, or the only file.
        title: name that results derive from.
        files: files in the order in which they were found.
        shares_path: whether other series have the same path.
        damage: fault of a file that belongs, or may belong, to the series; the series then cannot
            be used.
    """

    path: Path
    title: str
    files: tuple[FileFacts, ...]
    shares_path: bool = False
    damage: MRCascadeError | None = None
    fills_folder: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"{self.path} ({self.label})" if self.shares_path else str(self.path)

    @property
    def name(self) -> str:
        return self.title

    @property
    def suffix(self) -> str:
        """Empty: `title` has no ending."""
        return ""

    @property
    def format(self) -> Format:
        return FORMATS["dicom"]

    @property
    def file_names(self) -> list[str]:
        return list(dict.fromkeys(frame.file.name for frame in self.stack.frames))

    @property
    def key(self) -> tuple[Path, str]:
        return self.path, self.uid

    @property
    def person(self) -> str:
        """Empty where the PatientID has no number, as ANONYMOUS may stand for several patients."""
        return self.patient if re.search("[1-9]", self.patient) else ""

    def under_pseudonym(self, pseudonyms: Pseudonyms) -> "Series":
        return replace(self, title=pseudonyms.name(self.uid))

    @property
    def uid(self) -> str:
        """UID of the series."""
        return self.files[0].series

    @property
    def number(self) -> int | None:
        """Number of the series."""
        return self.files[0].number

    @property
    def patient(self) -> str:
        """The PatientID; empty where there is none."""
        return self.files[0].patient

    @property
    def label(self) -> str:
        """Number and description, such as ``series 5 "t2_tse_tra"``."""
        return _label(self.number, self.files[0].description)

    @property
    def acquired(self) -> tuple[int, int] | None:
        """Acquired matrix (rows, columns), if the header states it."""
        return self.files[0].acquired

    @property
    def own_folder(self) -> Path | None:
        """Folder that holds the series' files; None for an archive, or a file among others.

        A single file has a folder of its own if nothing else lies there, hidden files and results
        of ``sr`` aside, or if another file there belongs to the same series.
        """
        if self.path.is_dir():
            return self.path
        if self.path.name.lower().endswith(ZIP_ENDING):
            return None
        folder = Path(os.path.abspath(self.path)).parent
        others = [
            path
            for path in sorted(folder.iterdir())
            if path.name != self.path.name
            and not path.name.startswith(".")
            and not is_result_name(path)
        ]
        return folder if not others or any(map(self._holds, others)) else None

    def _holds(self, path: Path) -> bool:
        """Return whether a file belongs to the series."""
        file = DicomFile(path)
        if not path.is_file() or format_by_ending(path) or not file.looks_like_dicom():
            return False
        facts = read_facts(file)
        return facts is not None and facts.series == self.uid

    @cached_property
    def stack(self) -> Stack:
        """The frames in order. Raises MRCascadeError where they do not form one array."""
        if self.damage is not None:
            raise self.damage
        return stack_of(self.files, str(self))

    def describe(self) -> str:
        """Return a line with number, description, size and UID."""
        images = sum(len(f.frames) for f in self.files)
        pixels = self.files[0].format
        return (
            f"{self.label}: {images} image{'s' * (images != 1)} of {pixels.rows} x"
            f" {pixels.columns}, {self.path}, UID {self.uid or 'missing'}"
            f"{', beside a damaged file' * (self.damage is not None)}"
        )


@dataclass(frozen=True)
class Found:
    """Result of a search for series.

    Attributes:
        series: the series found.
        ignored: DICOM files that hold no MR image.
        unusable: files of other series that hold no image of a supported kind, such as colour maps
            and mosaics.
        damaged: files that cannot be read, of other series or with no series in their folder.
        copies: files left out because another one holds the same image.
        reused: files that share their instance UID with another image.
        strangers: files that are no DICOM, though their names do not say so.
    """

    series: tuple[Series, ...]
    ignored: tuple[DicomFile, ...]
    unusable: tuple[Unusable, ...] = ()
    damaged: tuple[Unusable, ...] = ()
    copies: tuple[DicomFile, ...] = ()
    reused: tuple[DicomFile, ...] = ()
    strangers: tuple[DicomFile, ...] = ()

    @property
    def nothing(self) -> bool:
        """Whether there is no DICOM file at all."""
        return not (self.series or self.ignored or self.unusable or self.damaged)

    def notes(self) -> list[str]:
        """Return lines that count and name the files left out, with reasons; no damaged ones."""
        lines = []
        groups: dict[str, list[Unusable]] = {}
        for one in self.unusable:
            groups.setdefault(one.series, []).append(one)
        for group in groups.values():
            label = _label(group[0].number, group[0].description)
            named = _named_files([one.file for one in group])
            lines.append(f"{label} cannot be used, {named} left out: {group[0].error}")
        for files, why in (
            (self.ignored, "left out: no MR images"),
            (self.strangers, "left out: no DICOM files"),
            (self.copies, "left out: copies of images that other files hold"),
            (self.reused, "kept: different images, though they share their SOPInstanceUID"),
        ):
            if files:
                lines.append(f"{_named_files(files)} {why}")
        return lines


def _named_files(files: Sequence[DicomFile]) -> str:
    """Return the number of files, and the names of the first ones below their common folder."""
    names = [str(file) for file in files]
    try:
        folder = os.path.commonpath([os.path.dirname(name) for name in names])
        listed = [os.path.relpath(name, folder) for name in names[:_NAMED_IN_MESSAGES]]
        where = f" in {folder}" if folder else ""
    except ValueError:  # absolute and relative names
        listed, where = names[:_NAMED_IN_MESSAGES], ""
    more = len(files) - len(listed)
    also = f" and {more} more" if more else ""
    return f"{len(files)} file{'s' * (len(files) != 1)}{where} ({', '.join(listed)}{also})"


def find_below(path: Path) -> Found:
    """Return the series among `dicom_files`, and other files that may belong to them."""
    files = dicom_files(path)
    unknown = strangers(path, files) if files else []
    return replace(find_series(files), strangers=tuple(unknown))


def find_series(files: Iterable[DicomFile]) -> Found:
    """Group files into series, in the order of path and series number.

    An image in two files counts once. An unusable file makes its series unusable; where its series
    is unknown, every series in its folder. These raise its error when they are used.
    """
    groups: dict[str, list[FileFacts]] = {}
    ignored: list[DicomFile] = []
    unusable: list[Unusable] = []
    for file in files:
        facts = read_facts(file)
        if facts is None:
            ignored.append(file)
        elif isinstance(facts, Unusable):
            unusable.append(facts)
        else:
            groups.setdefault(facts.series, []).append(facts)
    distinct = [without_copies(group) for group in groups.values()]
    found = [_series(one.kept) for one in distinct]
    found.sort(key=lambda s: (str(s.path), s.number is None, s.number or 0, s.uid))
    shared = {s.path for s in found if sum(t.path == s.path for t in found) > 1}
    named = [_numbered(s) if s.path in shared else s for s in found]
    for bad in unusable:
        named = [replace(s, damage=bad.error) if _could_be_of(bad, s) else s for s in named]
    others = [bad for bad in unusable if not any(_could_be_of(bad, s) for s in named)]
    broken = [isinstance(bad.error, DamagedFileError) or not bad.series for bad in others]
    return Found(
        series=tuple(named),
        ignored=tuple(ignored),
        unusable=tuple(bad for bad, b in zip(others, broken, strict=True) if not b),
        damaged=tuple(bad for bad, b in zip(others, broken, strict=True) if b),
        copies=tuple(file for one in distinct for file in one.copies),
        reused=tuple(file for one in distinct for file in one.reused),
    )


def choose_series(found: Found, selector: str | None, where: str) -> list[Series]:
    """Return the series that a selector chooses.

    Args:
        found: result of the search.
        selector: a series number, a series UID, or "all". None chooses all series that have a
            folder (or archive, or file) of their own.
        where: name of the searched place in messages.

    Raises:
        MRCascadeError: nothing is chosen, or several series share a folder and there is no
            selector.
    """
    unusable = (*found.damaged, *found.unusable)
    if not found.series:
        raise unusable[0].error if unusable else _none_found(found, where)
    if selector is not None and selector.lower() != ALL_SERIES:
        if not any(_is_meant(s.uid, s.number, selector) for s in found.series):
            for bad in unusable:
                if _is_meant(bad.series, bad.number, selector):
                    raise bad.error
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


def only_series(
    path: Path, selector: str | None = None, note: Callable[[str], None] | None = None
) -> Series:
    """Return the single series in a folder, archive or file.

    Args:
        path: the folder, archive or file.
        selector: a series number or UID that chooses one.
        note: called with each line about files left out.

    Raises:
        MRCascadeError: there is no series, or more than one.
    """
    found = find_below(path)
    chosen = choose_series(found, selector, str(path))
    if len(chosen) > 1:
        raise MRCascadeError(
            f"{path} holds {len(chosen)} series; choose one, such as {chosen[0].label}"
        )
    if note is not None:
        for line in found.notes():
            note(line)
    return chosen[0]


def _selected(series: Sequence[Series], selector: str, where: str) -> Series:
    meant = [s for s in series if _is_meant(s.uid, s.number, selector)]
    if not meant:
        raise MRCascadeError(f"{where} holds no series {selector}; there are {_listed(series)}")
    if len(meant) > 1:
        uids = ", ".join(s.uid for s in meant)
        raise MRCascadeError(
            f"{where} holds {len(meant)} series of number {selector}; give a UID to --series:"
            f" {uids}"
        )
    return meant[0]


def _is_meant(uid: str, number: int | None, selector: str) -> bool:
    return selector in (uid, str(number))


def _label(number: int | None, description: str) -> str:
    named = "without number" if number is None else str(number)
    return f"series {named}" + (f' "{description}"' if description else "")


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
    return MRCascadeError(
        f"{where} holds no DICOM image; give a folder or archive that does, or name an image file"
    )


def _series(files: tuple[FileFacts, ...]) -> Series:
    path = _home([f.file for f in files])
    name = path.name or path.resolve().name
    endings = (*ENDINGS, ZIP_ENDING) if path.is_file() else (FOLDER_ENDING,)
    for ending in endings:
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
    return Series(path, name, files)


def _could_be_of(unusable: Unusable, series: Series) -> bool:
    """Return whether a file belongs, or may belong, to the series.

    Where its series is unknown, it may belong to those with files in its folder or with its path.
    """
    if unusable.series:
        return unusable.series == series.uid
    folders = {one.file.folders for one in series.files}
    return unusable.file.folders in folders or unusable.file.path == series.path


def _numbered(series: Series) -> Series:
    label = series.uid.rsplit(".", 1)[-1] if series.number is None else str(series.number)
    name = f"{series.name}_{label}" if label else series.name
    return replace(series, title=name, shares_path=True)


def _home(files: Sequence[DicomFile]) -> Path:
    """Return the only file, or the deepest folder (or the archive) that holds all files."""
    if len(files) == 1:
        return files[0].path
    paths = {f.path for f in files}
    if len(paths) == 1:
        return files[0].path
    return Path(os.path.commonpath([p.parent for p in paths]))
