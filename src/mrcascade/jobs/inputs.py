"""Inputs of a job: names, folders, archives and lists become one list of images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mrcascade.errors import MRCascadeError
from mrcascade.io import (
    ALL_SERIES,
    Found,
    ImageFile,
    Selection,
    check_bids_output,
    choose_series,
    dicom_files,
    find_below,
    find_dataset,
    find_series,
    format_of,
    image_file,
    images_below,
    is_result_name,
    join_pairs,
    list_images,
    named_image,
    parse_selection,
)
from mrcascade.jobs.common import Item, sr_targets
from mrcascade.jobs.progress import Report, silent
from mrcascade.jobs.request import SuperResolution
from mrcascade.storage.files import TABLE_BYTES, read_text
from mrcascade.storage.outputs import refuse_inputs

LIST_ENDING = ".txt"


def find_inputs(
    named: Sequence[Path],
    series: str | None = None,
    bids_filter: str | None = None,
    channels: int = 1,
    note: Report = silent,
) -> list[Item]:
    """Return the images that the given paths stand for, each once, in the given order.

    * A BIDS dataset, or a folder of its subjects: the images that ``bids_filter`` chooses.
    * Any other folder: every image and DICOM series below it, except results of ``sr``.
    * An archive: the DICOM series in it.
    * Single DICOM files: the series that they form together.
    * A ``.txt`` file: the paths in its lines, relative to its folder. Blank lines and lines that
      start with # are ignored.
    * Any other file: itself.

    For a prior with two channels, magnitude and phase files side by side are one complex image,
    whichever is named. For other priors, phase files in folders are left out. Unreadable files of
    a series become inputs of their own, so that each fails with its own error. Results keep the
    sub-folders that their inputs have below a named folder or the root of a BIDS dataset.

    Args:
        named: paths as the user gave them.
        series: chooses among several DICOM series (`choose_series`).
        bids_filter: chooses images of a BIDS dataset (`parse_selection`).
        channels: channels of the prior, 1 or 2.
        note: gets a line per image that is left out.

    Raises:
        MRCascadeError: a folder has no images; a list is missing, empty or not text; several
            series share a folder and none is chosen; a filter comes without a BIDS dataset; or a
            BIDS dataset comes with other inputs.
    """
    selection = parse_selection(bids_filter)
    found: dict[object, Item] = {}
    single: dict[str, Path] = {}  # DICOM files
    for path in _listed(named):
        if os.path.isdir(path):  # False without permission to look; such a path fails later
            items = _in_dataset(path, selection, channels) if series is None else []
            images = [] if items else _in_folder(path, series, channels, note)
            items += [_mirrored(image, path) for image in images]
        elif path.suffix.lower() == ".zip":
            items = [Item(one) for one in _series_of([path], series, note)]
        elif _is_single_dicom(path):
            single.setdefault(os.path.abspath(path), path)
            continue
        else:
            items = [Item(named_image(path, pairs=channels == 2))]
        found |= {item.image.key: item for item in items if item.image.key not in found}
    if single:
        items = [Item(one) for one in _series_of(list(single.values()), series, note)]
        found |= {item.image.key: item for item in items}
    _check_datasets(list(found.values()), bids_filter)
    return list(found.values())


def combined_input(items: Sequence[Item]) -> Item:
    """Return one input of several stacks: the first one gives grid and name of the result.

    Raises MRCascadeError where there is a single stack, or they are of several folders of a BIDS
    dataset.
    """
    if len(items) < 2:
        named = f"{items[0]} is the only one given" if items else "none is given"
        raise MRCascadeError(
            f"--combine makes one volume of two or more stacks, and {named}; name them all, or"
            " leave --combine out"
        )
    people = {item.folder.as_posix() for item in items if item.dataset}
    if len(people) > 1:
        raise MRCascadeError(
            f"--combine makes one volume, and the images are those of {', '.join(sorted(people))};"
            " choose the stacks of one with --bids-filter, or name their files"
        )
    return replace(items[0], others=tuple(item.image for item in items[1:]))


def check_dataset(items: Sequence[Item], output: Path) -> None:
    """Raise MRCascadeError if results of one BIDS dataset would mix with those of another."""
    for dataset in {item.dataset for item in items if item.dataset}:
        check_bids_output(dataset, output)


def check_names(items: Sequence[Item], output: Path, job: SuperResolution) -> None:
    """Raise MRCascadeError if two inputs would write one file, or a result would replace an input.

    Inputs that fail later anyway, such as names without a known format, are skipped.
    """
    makers: dict[Path, Item] = {}
    for item in items:
        try:
            targets = sr_targets(item, output, job)
        except (MRCascadeError, OSError):
            continue
        for target in targets.values():
            if target in makers:
                raise MRCascadeError(
                    f"{makers[target]} and {item} would both write {target};"
                    " restore them into different folders"
                )
            makers[target] = item
    refuse_inputs(makers, [path for item in items for path in item.paths])


def _in_dataset(folder: Path, selection: Selection, channels: int) -> list[Item]:
    dataset = find_dataset(folder)
    if dataset is None:
        return []
    paths = dataset.images(folder, selection)
    images = join_pairs(paths, True) if channels == 2 else [image_file(path) for path in paths]
    return [Item(image, dataset.inside(image.path).parent, dataset) for image in images]


def _check_datasets(items: Sequence[Item], bids_filter: str | None) -> None:
    roots = {item.dataset and os.path.abspath(item.dataset.root) for item in items}
    if roots <= {None}:
        if bids_filter is not None:
            raise MRCascadeError(
                f"--bids-filter {bids_filter}: no input is a BIDS dataset, a folder with"
                " dataset_description.json at its root; leave the option out"
            )
        return
    if len(roots) > 1:
        names = " and ".join(sorted(root or "other inputs" for root in roots))
        raise MRCascadeError(
            f"the results of a BIDS dataset form a dataset of their own; give {names} one by one,"
            " each with its own output folder"
        )


def _mirrored(image: ImageFile, folder: Path) -> Item:
    """Return the item of an image below a folder; a series that is the folder has no sub-folder."""
    inside = Path() if image.path == folder else image.path.parent.relative_to(folder)
    return Item(image, inside)


def _listed(named: Sequence[Path]) -> list[Path]:
    return [
        path
        for name in named
        for path in (_in_list(name) if name.suffix.lower() == LIST_ENDING else [name])
    ]


def _is_single_dicom(path: Path) -> bool:
    try:
        return format_of(path).folder
    except (MRCascadeError, OSError):
        return False  # the reader will report the fault


def _in_folder(folder: Path, series: str | None, channels: int, note: Report) -> list[ImageFile]:
    found = find_below(folder)
    if found.nothing and series is None:
        images = _to_restore(list_images(folder), channels)
        if not images:
            raise MRCascadeError(
                f"{folder}: every image in it is a result of sr, or a phase without its magnitude;"
                " name one to restore it once more"
            )
        return images
    images = []
    if series is None:
        images += _to_restore(images_below(folder), channels)
    if found.series or not images:
        images += choose_series(found, series, str(folder))
    return images + _damaged_or_noted(found, series, note)


def _damaged_or_noted(found: Found, series: str | None, note: Report) -> list[ImageFile]:
    """Return damaged files as inputs, which fail while the others go on.

    Files that cannot be inputs, or lie beside a chosen series, are only noted as left out.
    """
    fail: list[ImageFile] = []
    for one in found.damaged:
        every = series is None or series.lower() == ALL_SERIES
        if every and not one.file.member:
            fail.append(image_file(one.file.path))
        else:
            note(f"left out: {one.error}")
    for line in found.notes():
        note(line)
    return fail


def _to_restore(paths: Sequence[Path], channels: int) -> list[ImageFile]:
    fresh = [path for path in paths if not is_result_name(path)]
    return join_pairs(fresh, complex_images=channels == 2)


def _series_of(paths: Sequence[Path], series: str | None, note: Report) -> list[ImageFile]:
    if len(paths) == 1:
        found, where = find_below(paths[0]), str(paths[0])
    else:
        files = [file for path in paths for file in dicom_files(path)]
        found, where = find_series(files), f"{paths[0]} and {len(paths) - 1} more"
    chosen: list[ImageFile] = list(choose_series(found, series, where))
    return chosen + _damaged_or_noted(found, series, note)


def _in_list(path: Path) -> list[Path]:
    try:
        lines = [line.strip() for line in read_text(path, TABLE_BYTES, "utf-8-sig").splitlines()]
    except FileNotFoundError as error:
        raise MRCascadeError(f"{path} does not exist; check the name") from error
    except (OSError, UnicodeDecodeError) as error:
        raise MRCascadeError(
            f"{path}: not a readable list; write one path per line as UTF-8 text"
        ) from error
    names = [line for line in lines if line and not line.startswith("#")]
    if any("\0" in name for name in names):
        raise MRCascadeError(f"{path}: not a list; write one path per line as UTF-8 text")
    if not names:
        raise MRCascadeError(f"{path} names no file; write one path per line")
    return [path.parent / name for name in names]
