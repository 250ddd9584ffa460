"""Places of results where the user names none: beside the inputs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mrcascade.errors import MRCascadeError

if TYPE_CHECKING:
    from mrcascade.io import ImageFile
    from mrcascade.jobs import Item

#: What help texts say of it.
BESIDE = "beside the input"
BESIDE_INPUTS = f"{BESIDE}; of a BIDS dataset in its derivatives/mrcascade"


def folder_beside(named: Sequence[Path]) -> Path | None:
    """Return the folder that holds the given files.

    None where one of the paths is a folder, DICOM or a list of paths: their images are not known
    yet. Raises MRCascadeError for files of several folders.
    """
    if any(path.suffix.lower() == ".txt" or _may_be_series(path) for path in named):
        return None
    folders = {os.path.abspath(path.parent): path.parent for path in named}
    if len(folders) > 1:
        raise _several(list(folders.values()))
    return next(iter(folders.values()))


def beside_inputs(items: Sequence[Item], named: Sequence[Path]) -> tuple[Path, list[Item]]:
    """Return the common output folder of inputs whose results lie beside them.

    Results of a BIDS dataset form a derivative in it; for others see `place_beside`.

    Args:
        items: the inputs.
        named: paths that the user gave.

    Returns:
        The folder, and the inputs with the folders of their results relative to it.

    Raises:
        MRCascadeError: there are inputs of several folders, and not all below one that was named.
    """
    roots = {item.dataset.root for item in items if item.dataset}
    if len(roots) == 1 and all(item.dataset for item in items):
        return roots.pop() / "derivatives" / "mrcascade", list(items)
    found = [place_beside(item.image) for item in items]
    folders = [folder for folder, _ in found]
    different = list(dict.fromkeys(folders))
    if len(different) > 1 and not (len(named) == 1 and named[0].is_dir()):
        raise _several(different)
    common = Path(os.path.commonpath(different))
    placed = [
        replace(item, image=image, folder=folder.relative_to(common))
        for item, (folder, image) in zip(items, found, strict=True)
    ]
    return _as_named(common, named), placed


def place_beside(image: ImageFile) -> tuple[Path, ImageFile]:
    """Return the folder where the result of an image lies, and the image under its name there.

    The result of a file lies in the file's folder. That of a DICOM series lies beside the folder of
    the series, where it cannot become part of it. If the image is one file of that folder, its name
    begins with the folder's.
    """
    from mrcascade.io import Series

    folder = Path(os.path.abspath(image.path)).parent
    if not isinstance(image, Series) or (own := image.own_folder) is None:
        return folder, image
    if own == image.path:
        return folder, image
    return own.parent, replace(image, title=f"{own.name}_{image.title}")


def place_of(image: ImageFile, named: Path) -> tuple[Path, ImageFile]:
    """Return what `place_beside` does, with a folder as the user wrote paths.

    named: path that the user gave.
    """
    folder, placed = place_beside(image)
    return _as_named(folder, [named]), placed


def _as_named(folder: Path, named: Sequence[Path]) -> Path:
    absolute = any(path.is_absolute() for path in named)
    return folder if absolute else Path(os.path.relpath(folder))


def _may_be_series(path: Path) -> bool:
    """Return whether a path is a folder or DICOM."""
    from mrcascade.io import format_of

    try:
        return os.path.isdir(path) or format_of(path).folder
    except (MRCascadeError, OSError):
        return False  # the reader will report the fault


def _several(folders: Sequence[Path]) -> MRCascadeError:
    return MRCascadeError(
        f"the inputs lie in several folders, {folders[0]} and {folders[1]} among them; say where"
        " the results go: -o DIR"
    )
