"""Which images a job works on: names, folders, archives and lists become one list of inputs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from mrcascade.errors import MRCascadeError
from mrcascade.io import (
    SUFFIXES,
    Input,
    Series,
    choose_series,
    dicom_files,
    find_series,
    format_of,
    input_path,
    is_result_name,
    join_pairs,
    list_images,
    pair_of,
)
from mrcascade.pipeline.common import SuperResolution, sr_targets

LIST_ENDING = ".txt"


def find_inputs(named: Sequence[Path], series: str | None = None, channels: int = 1) -> list[Input]:
    """The images that ``named`` stands for, each once, in the order given.

    A folder stands for every image and DICOM series below it, but for results of ``sr``; an
    archive for the DICOM series in it; single DICOM files, wherever they are named, for the series
    they form; a ``.txt`` file for the paths in its lines, relative to the list's own folder (blank
    lines and lines that start with # are passed over); anything else for itself. ``series``
    chooses among the DICOM series of each, as `choose_series` does. For a prior of two ``channels``
    magnitude and phase files that lie side by side are one complex image, whichever is named; for
    another one, phase files in folders are passed over.

    Raises MRCascadeError for a folder without images, for a list that is missing, not text or
    empty, and where several series share a folder and none is chosen.
    """
    found: dict[object, Input] = {}
    single: dict[str, Path] = {}  # DICOM files
    for path in _listed(named):
        if path.is_dir():
            images = _in_folder(path, series, channels)
        elif path.suffix.lower() == ".zip":
            images = _series_of([path], series)
        elif _is_single_dicom(path):
            single.setdefault(os.path.abspath(path), path)
            continue
        else:
            images = [path if channels < 2 else pair_of(path) or path]
        found |= {_key(image): image for image in images if _key(image) not in found}
    if single:
        found |= {_key(image): image for image in _series_of(list(single.values()), series)}
    return list(found.values())


def check_names(images: Sequence[Input], output: Path, job: SuperResolution) -> None:
    """Raise MRCascadeError where two inputs would write the same file in ``output``.

    What fails by itself, such as a name without a known format, is passed over.
    """
    makers: dict[Path, Input] = {}
    for image in images:
        try:
            targets = sr_targets(image, output, job)
        except MRCascadeError:
            continue
        for target in targets.values():
            if target in makers:
                raise MRCascadeError(
                    f"{makers[target]} and {image} would both write {target};"
                    " restore them into different folders"
                )
            makers[target] = image


def _key(image: Input) -> object:
    if isinstance(image, Series):
        return image.path, image.uid
    return os.path.abspath(input_path(image))


def _listed(named: Sequence[Path]) -> list[Path]:
    return [
        path
        for name in named
        for path in (_in_list(name) if name.suffix.lower() == LIST_ENDING else [name])
    ]


def _is_single_dicom(path: Path) -> bool:
    try:
        return format_of(path) == "dicom"
    except MRCascadeError:
        return False  # whatever opens it will say what is wrong


def _in_folder(folder: Path, series: str | None, channels: int) -> list[Input]:
    dicom = dicom_files(folder, tuple(SUFFIXES))
    if not dicom and series is None:
        images = _to_restore(list_images(folder), channels)
        if not images:
            raise MRCascadeError(
                f"{folder}: every image in it is a result of sr, or a phase without its magnitude;"
                " name one to restore it once more"
            )
        return images
    found = find_series(dicom)
    images = []
    if series is None:
        images += _to_restore(_images(folder), channels)
    if found.series or not images:
        images += choose_series(found, series, str(folder))
    if series is None:  # what is damaged fails by itself, and the rest goes on
        images += [file.path for file, _ in found.damaged]
    return images


def _to_restore(paths: Sequence[Path], channels: int) -> list[Input]:
    fresh = [path for path in paths if not is_result_name(path)]
    return list(join_pairs(fresh, complex_images=channels == 2))


def _images(folder: Path) -> list[Path]:
    try:
        return list_images(folder)
    except MRCascadeError:
        return []  # beside DICOM files there need not be any


def _series_of(paths: Sequence[Path], series: str | None) -> list[Input]:
    files = [file for path in paths for file in dicom_files(path, tuple(SUFFIXES))]
    where = str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
    return list(choose_series(find_series(files), series, where))


def _in_list(path: Path) -> list[Path]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError as error:
        raise MRCascadeError(f"{path} does not exist; check the name") from error
    except (OSError, UnicodeDecodeError) as error:
        raise MRCascadeError(
            f"{path}: not a readable list; write one path per line as UTF-8 text"
        ) from error
    names = [line for line in lines if line and not line.startswith("#")]
    if not names:
        raise MRCascadeError(f"{path} names no file; write one path per line")
    return [path.parent / name for name in names]
