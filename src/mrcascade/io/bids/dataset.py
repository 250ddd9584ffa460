"""A BIDS dataset as input: its root, and its images to restore."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

from mrcascade.errors import MRCascadeError
from mrcascade.io.bids.document import read_object
from mrcascade.io.bids.entities import parse_name
from mrcascade.io.bids.selection import Selection
from mrcascade.io.names import is_result_name
from mrcascade.storage.files import read_text

DESCRIPTION = "dataset_description.json"
IGNORED = ".bidsignore"
# Datatypes of MR whose results alone are valid derivatives: dwi and perf need tables beside their
# images, and fmap corrects other images on its own grid.
DATATYPES = ("anat", "func")
# Suffixes of masks, of phase images, and of noise measured without excitation.
_NO_IMAGES = ("defacemask", "mask", "dseg", "probseg", "phase", "noRF")
_SUBJECT = "sub-"


@dataclass(frozen=True)
class Dataset:
    """A BIDS dataset.

    Attributes:
        root: the folder that holds `dataset_description.json`.
    """

    root: Path

    @cached_property
    def description(self) -> dict[str, Any]:
        """The dataset's description. Raises MRCascadeError where it is no JSON object."""
        return read_object(self.root / DESCRIPTION)

    @property
    def kind(self) -> str:
        """DatasetType, such as "derivative"; "raw" where the description does not say."""
        return str(self.description.get("DatasetType", "raw"))

    def images(self, folder: Path, selection: Selection) -> list[Path]:
        """Return the selected images below ``folder``, sorted.

        Images are NIfTI files in sub-*/[ses-*/]DATATYPE with BIDS names. Masks, results of ``sr``
        and files that `.bidsignore` names are left out. Raises MRCascadeError where nothing is
        left.
        """
        found = self._candidates(folder)
        if not found:
            raise MRCascadeError(
                f"{folder}: no image of the BIDS dataset {self.root} lies there; images are NIfTI"
                f" files in sub-*/[ses-*/]{'|'.join(DATATYPES)}"
            )
        wanted = sorted(path for path, facts in found.items() if selection.takes(facts))
        if not wanted:
            asked = f" with --bids-filter {selection.text}" if selection.text else ""
            raise MRCascadeError(
                f"{folder}: no image of the BIDS dataset is taken{asked}; choose with --bids-filter"
                f" among {selection.missed(found.values())}"
            )
        return wanted

    def _candidates(self, folder: Path) -> dict[Path, dict[str, str]]:
        """Return the images below a folder, with the facts that a filter compares."""
        below, patterns = self.inside(folder), self._ignore_patterns()
        return {
            path: facts
            for glob in ("sub-*/*/*", "sub-*/ses-*/*/*")
            for path in self.root.glob(glob)
            if (inside := self.inside(path)).is_relative_to(below)
            and (facts := _facts(inside)) is not None
            and not _is_ignored(inside, patterns)
        }

    def inside(self, path: Path) -> Path:
        """Return a path relative to the root."""
        return Path(os.path.abspath(path)).relative_to(os.path.abspath(self.root))

    def _ignore_patterns(self) -> list[str]:
        path = self.root / IGNORED
        try:
            lines = [line.strip() for line in read_text(path).splitlines()]
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise MRCascadeError(f"{path}: not readable as UTF-8 text; repair it") from error
        return [line for line in lines if line and not line.startswith("#")]


def find_dataset(folder: Path) -> Dataset | None:
    """Return the dataset at ``folder``, or the one whose subjects contain it.

    `derivatives`, `sourcedata` and the like inside a dataset are not part of it.
    """
    absolute = Path(os.path.abspath(folder))
    for up, root in enumerate((absolute, *absolute.parents)):
        if (root / DESCRIPTION).is_file():
            first = absolute.relative_to(root).parts[:1]
            if first and not first[0].startswith(_SUBJECT):
                return None
            return Dataset(_named(folder, absolute, up))
    return None


def _named(folder: Path, absolute: Path, up: int) -> Path:
    """Return the ``up``-th parent, as the user wrote it where that path is long enough."""
    if up < len(folder.parts) and ".." not in folder.parts:
        return (folder, *folder.parents)[up]
    return (absolute, *absolute.parents)[up]


def _facts(inside: Path) -> dict[str, str] | None:
    """Return entities, suffix, datatype and extension of an image; None for other files."""
    name, datatype = parse_name(inside), inside.parts[-2]
    if name is None or name.extension == ".json" or "sub" not in name.entities:
        return None
    if datatype not in DATATYPES or name.suffix in _NO_IMAGES or is_result_name(inside):
        return None
    return name.facts(datatype)


def _is_ignored(inside: PurePath, patterns: list[str]) -> bool:
    """Return whether a pattern matches a file or a folder above it.

    A pattern with a slash, other than at its end, starts at the root. Without one it matches a name
    at any depth. A star also matches slashes.
    """
    for pattern in patterns:
        plain = pattern.rstrip("/").removeprefix("**/")
        if "/" in plain:
            names = [p.as_posix() for p in (inside, *inside.parents)]
        else:
            names = list(inside.parts)
        if any(fnmatchcase(name, plain.removeprefix("/")) for name in names):
            return True
    return False
