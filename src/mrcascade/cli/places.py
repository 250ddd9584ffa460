"""Places of results where the user names none: beside the inputs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mrcascade.errors import MRCascadeError

if TYPE_CHECKING:
    from mrcascade.jobs import Item

#: What help texts say of it.
BESIDE = "beside the input"
BESIDE_INPUTS = f"{BESIDE}; of a BIDS dataset in its derivatives/mrcascade"


def folder_beside(named: Sequence[Path]) -> Path | None:
    """Return the folder that holds the given files.

    None where one of the paths is a folder or a list of paths: their images are not known yet.
    Raises MRCascadeError for files of several folders.
    """
    if any(os.path.isdir(path) or path.suffix.lower() == ".txt" for path in named):
        return None
    folders = {os.path.abspath(path.parent): path.parent for path in named}
    if len(folders) > 1:
        raise _several(list(folders.values()))
    return next(iter(folders.values()))


def beside_inputs(items: Sequence[Item], named: Sequence[Path]) -> tuple[Path, list[Item]]:
    """Return the common output folder of inputs whose results lie beside them.

    Results of a BIDS dataset form a derivative in it. The folder of a DICOM series has its result
    as a neighbour.

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
    folders = [Path(os.path.abspath(item.image.path)).parent for item in items]
    different = list(dict.fromkeys(folders))
    if len(different) > 1 and not (len(named) == 1 and named[0].is_dir()):
        raise _several(different)
    common = Path(os.path.commonpath(different))
    placed = [
        replace(item, folder=folder.relative_to(common))
        for item, folder in zip(items, folders, strict=True)
    ]
    absolute = any(path.is_absolute() for path in named)
    return common if absolute else Path(os.path.relpath(common)), placed


def _several(folders: Sequence[Path]) -> MRCascadeError:
    return MRCascadeError(
        f"the inputs lie in several folders, {folders[0]} and {folders[1]} among them; say where"
        " the results go: -o DIR"
    )
