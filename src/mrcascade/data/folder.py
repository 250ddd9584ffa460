"""Folders of images for training and evaluation: layout, manifest, acquired matrix.

The usual layout is ``ROOT/<group>/<split>/files``; any other folder works as well. A DICOM series
counts as one file at the place of its folder. A ``manifest.json`` in ROOT may state facts that the
files lack. It is a list of objects, each with a ``file``; the facts are ``slice_axis``,
``effective_matrix`` (the in-plane matrix that was acquired), ``contrast`` and ``subject``.

fastMRI's own folders, such as ``multicoil_train``, are splits too. Other fastMRI files are split by
a hash of the patient, so that all images of a patient are in one split.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np

from mrcascade.data.contrast import contrast_of
from mrcascade.data.subjects import find_subjects, share_of
from mrcascade.errors import MRCascadeError
from mrcascade.io import (
    FORMATS,
    Axes,
    Image,
    ImageFile,
    Planes,
    Series,
    choose_planes,
    file_endings,
    find_below,
    format_by_ending,
    images_below,
    is_result_name,
    join_pairs,
    read_image,
    refuse_phase,
    to_slices,
)
from mrcascade.measurement.acquired import Acquired, Matrix, narrowed_by_spectrum, stated_matrix
from mrcascade.messages.faults import naming
from mrcascade.messages.printable import shortened
from mrcascade.storage.files import TABLE_BYTES, check_regular, read_json

_LONGEST_NAME = 255  # bytes of a file or folder name
MANIFEST = "manifest.json"
SPLITS = ("train", "val", "test")
_SYNONYMS = {"training": "train", "validation": "val"}  # in names of fastMRI's folders
_ANATOMIES = ("brain", "knee", "prostate")
# fastMRI's knee files have only a number in their names.
_KNEE = re.compile(r"file1\d{6}")
_SHARES = (0.8, 0.9)  # where the shares of patients for train and for val end; the rest is test


@dataclass(frozen=True)
class DataFile:
    """An image of a data folder.

    Attributes:
        image: the file, a pair of magnitude and phase, or a DICOM series.
        name: path relative to the data folder, with slashes. A pair has the name of its magnitude,
            a series that of its folder.
        group: first folder in the name that is not a split; in the usual layout the anatomy.
            fastMRI files without one have the anatomy in their name, others the data folder's name.
        split: train, val or test; None where no file has one.
        complex_valued: whether k-space gives a complex image rather than its magnitude.
        facts: the manifest's entry for the file.
        subject: name of the subject; None where it is not known (``find_subjects``).
    """

    image: ImageFile
    name: str
    group: str
    split: str | None
    complex_valued: bool
    facts: dict[str, Any]
    subject: str | None = None

    @property
    def contrast(self) -> str:
        """Contrast by the manifest or the file name, empty where neither says."""
        return contrast_of(PurePath(self.name), self.facts)

    @property
    def axes(self) -> Axes | None:
        """In-plane axes of a file in the manifest.

        None without a manifest, where the geometry decides, and for a DICOM series, which has
        planes of its own.
        """
        if not self.facts or self.image.fills_folder:
            return None
        first, second = (a for a in range(3) if a != self.facts.get("slice_axis", 2) % 3)
        return first, second

    @property
    def matrix(self) -> Matrix | None:
        """Acquired matrix (rows, columns) by the manifest, None where it does not say."""
        told = self.facts.get("effective_matrix")
        return None if told is None else as_matrix(told)


def list_data(root: Path, pairs: bool, complex_kspace: bool) -> list[DataFile]:
    """Return the images below a folder, or those that its manifest names, sorted by path.

    Args:
        root: the data folder.
        pairs: whether magnitude and phase files side by side are one complex image. Otherwise
            phase files are ignored.
        complex_kspace: whether k-space gives complex images rather than magnitudes.

    Raises:
        MRCascadeError: there is no image, several DICOM series share a folder, a DICOM file is
            damaged, or the manifest is not valid.
    """
    manifest = read_manifest(root)
    images = _named(root, manifest, pairs) if manifest else _found(root, pairs)
    if not images:
        raise MRCascadeError(
            f"{root}: every image in it is a phase without its magnitude; put the _part-mag files"
            " beside them"
        )
    images.sort(key=lambda image: image.path)
    names = [_relative(image, root) for image in images]
    # The folder of a series may itself be a split.
    inside = (n / "*" if i.fills_folder else n for i, n in zip(images, names, strict=True))
    splits = [split_of(name) for name in inside]
    if not any(splits):
        splits = [_split_of_patient(image) for image in images]
    facts = [manifest.get(name.as_posix(), {}) for name in names]
    subjects = find_subjects(images, names, [_folders(name) for name in names], facts)
    return [
        DataFile(
            image, name.as_posix(), _group_of(name, root), split, complex_kspace, told, subject
        )
        for image, name, split, told, subject in zip(
            images, names, splits, facts, subjects, strict=True
        )
    ]


def _named(root: Path, names: Iterable[str], pairs: bool) -> list[ImageFile]:
    paths = [root / name for name in names]
    series: list[Series] = []
    for folder in (path for path in paths if path.is_dir()):
        found = _series_below(folder)
        if len(found) != 1:
            raise MRCascadeError(
                f"{root / MANIFEST} names {folder}, which holds {len(found)} DICOM series; name the"
                " folder of one"
            )
        series += found
    return [*join_pairs([path for path in paths if not path.is_dir()], pairs), *series]


def _found(root: Path, pairs: bool) -> list[ImageFile]:
    # A result of `sr` is no ground truth, wherever it lies.
    paths = [path for path in images_below(root) if not is_result_name(path)]
    series = _series_below(root)
    if not paths and not series:
        raise MRCascadeError(
            f"{root}: no image found; give a folder with DICOM series, or files that end in"
            f" {', '.join(file_endings())}"
        )
    return [*join_pairs(paths, pairs), *series]


def _series_below(folder: Path) -> list[Series]:
    found = find_below(folder)
    for unusable in (*found.damaged, *found.unusable):
        raise unusable.error
    for series in found.series:
        if series.shares_path:
            raise MRCascadeError(
                f"{series.path} holds several DICOM series, such as {series.label}; give each a"
                " folder of its own"
            )
    return list(found.series)


def _relative(image: ImageFile, root: Path) -> PurePath:
    """Return an image's path in the data folder.

    A series that is the whole data folder gets that folder's name.
    """
    path = image.path
    return path.relative_to(root) if path != root else PurePath(root.resolve().name)


class FileSlices(NamedTuple):
    """An image of a data folder, the planes of its slices, the slices (S, H, W), and how much of
    (H, W) was acquired."""

    image: Image
    planes: Planes
    stack: np.ndarray
    acquired: Acquired


def read_slices(file: DataFile, matrix: Matrix | None = None) -> FileSlices:
    """Read an image's slices.

    matrix: what a table says, else the manifest's counts. Without either, what the file states
    counts, or less where its spectrum is clearly narrower, as `narrowed_by_spectrum` decides.
    Raises MRCascadeError as `read_image` does, and for a phase by itself.
    """
    with naming(str(file.image.path)):
        refuse_phase(file.image)
        image = read_image(file.image, file.complex_valued)
    planes = choose_planes(image, file.axes, MANIFEST)
    stack = to_slices(image, planes.axes)
    stored = stack.shape[1], stack.shape[2]
    told = matrix or file.matrix
    if told is not None:
        rows, columns = (min(m, n) for m, n in zip(told, stored, strict=True))
        return FileSlices(image, planes, stack, Acquired(stored, (rows, columns), "a table"))
    stated = stated_matrix(stored, planes.axes, image.acquired, "its header")
    acquired = narrowed_by_spectrum(stated, len(stack), lambda i: stack[i])
    return FileSlices(image, planes, stack, acquired)


def read_manifest(root: Path) -> dict[str, dict[str, Any]]:
    """Return the facts of ``root / manifest.json`` by relative file name; {} without a manifest.

    Raises MRCascadeError where it is not a list of objects with a ``file`` each, where a name
    leads out of ``root``, and where ``slice_axis`` or ``effective_matrix`` is not valid.
    """
    path = root / MANIFEST
    check_regular(path)
    if not path.is_file():
        return {}
    try:
        facts = {str(entry["file"]): dict(entry) for entry in read_json(path, TABLE_BYTES)}
    except MRCascadeError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise MRCascadeError(
            f"{path}: not a list of objects with a 'file' each; repair it"
        ) from error
    for name, entry in facts.items():
        if not _can_name_a_file(name):
            raise MRCascadeError(f"{path}: {shortened(repr(name))} is not a file name; repair it")
        if PurePath(name).is_absolute() or ".." in PurePath(name).parts:
            raise MRCascadeError(f"{path}: {name!r} lies elsewhere; name files below {root}")
        axis = entry.get("slice_axis", 2)
        if isinstance(axis, bool) or axis not in range(-3, 3):
            raise MRCascadeError(f"{path}: slice_axis of {name} is not 0, 1 or 2; repair it")
        try:
            as_matrix(entry.get("effective_matrix", (1, 1)))
        except (ValueError, TypeError, OverflowError) as error:
            raise MRCascadeError(
                f"{path}: effective_matrix of {name} is not two whole numbers; repair it"
            ) from error
    return facts


def _can_name_a_file(name: str) -> bool:
    try:
        parts = [os.fsencode(part) for part in PurePath(name).parts]
    except UnicodeEncodeError:
        return False
    return bool(parts) and "\0" not in name and max(map(len, parts)) <= _LONGEST_NAME


def as_matrix(values: Sequence[Any]) -> Matrix:
    """Return (rows, columns) of two numbers or words. Raises ValueError or TypeError for others."""
    if any(isinstance(v, bool) for v in values):
        raise TypeError(f"{values} are no numbers")
    try:
        rows, columns = (int(v) for v in values)
    except OverflowError as error:
        raise ValueError(f"{values} is not a matrix") from error
    if min(rows, columns) < 1:
        raise ValueError(f"{rows}x{columns} is not a matrix")
    return rows, columns


def split_of(name: PurePath) -> str | None:
    """Return the split whose folder contains a file, None without one."""
    return next((split for part in name.parts[:-1] if (split := _split_named(part, name))), None)


def _split_named(folder: str, file: PurePath) -> str | None:
    if folder in SPLITS or not _is_fastmri(file):
        return folder if folder in SPLITS else None
    words = [_SYNONYMS.get(word, word) for word in re.split(r"[_-]", folder.lower())]
    return next((word for word in words if word in SPLITS), None)


def _split_of_patient(image: ImageFile) -> str | None:
    """Return the split of a fastMRI file by a hash of its patient; None for other files.

    Adding files leaves the others in their splits.
    """
    if not _is_fastmri(image.path):
        return None
    share = share_of(image.person)
    return SPLITS[sum(share >= limit for limit in _SHARES)]


def _folders(name: PurePath) -> list[str]:
    """Return the folders in a relative file name that are not splits."""
    return [part for part in name.parts[:-1] if _split_named(part, name) is None]


def _group_of(name: PurePath, root: Path) -> str:
    folders = _folders(name)
    if folders or not _is_fastmri(name):
        return folders[0] if folders else root.resolve().name
    if _KNEE.match(name.stem):
        return "knee"
    named = (anatomy for anatomy in _ANATOMIES if anatomy in name.stem.lower())
    return next(named, root.resolve().name)


def _is_fastmri(path: PurePath) -> bool:
    return format_by_ending(path) is FORMATS["fastmri"]
