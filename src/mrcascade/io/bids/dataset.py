"""A BIDS dataset as input: its root, and which of its files are images to restore."""

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
# Of MR, and such that a result by itself is a valid derivative: dwi and perf need tables beside
# their images, and fmap corrects other images on its own grid.
DATATYPES = ("anat", "func")
# Suffixes of masks, of phase images, and of noise that was measured without excitation.
_NO_IMAGES = ("defacemask", "mask", "dseg", "probseg", "phase", "noRF")
_SUBJECT = "sub-"


@dataclass(frozen=True)
class Dataset:
    """root: the folder that holds `dataset_description.json`."""

    root: Path

    @cached_property
    def description(self) -> dict[str, Any]:
        """Its description; MRCascadeError where that is no JSON object."""
        return read_object(self.root / DESCRIPTION)

    @property
    def kind(self) -> str:
        """What it holds, such as "derivative"; a dataset that does not say is "raw"."""
        return str(self.description.get("DatasetType", "raw"))

    def images(self, folder: Path, selection: Selection) -> list[Path]:
        """The wanted images below ``folder``, sorted.

        Images are NIfTI files in sub-*/[ses-*/]DATATYPE whose names are BIDS names. Masks, results
        of ``sr`` and what `.bidsignore` names are passed over. Raises MRCascadeError where nothing
        is left.
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
        """The images below a folder, and what a filter asks for."""
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
        """A path relative to the root."""
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
    """The dataset that ``folder`` is, or whose subjects it belongs to.

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
    """The ``up``-th parent, in the user's own words where these reach so far."""
    if up < len(folder.parts) and ".." not in folder.parts:
        return (folder, *folder.parents)[up]
    return (absolute, *absolute.parents)[up]


def _facts(inside: Path) -> dict[str, str] | None:
    """Entities, suffix, datatype and extension of an image; None of anything else."""
    name, datatype = parse_name(inside), inside.parts[-2]
    if name is None or name.extension == ".json" or "sub" not in name.entities:
        return None
    if datatype not in DATATYPES or name.suffix in _NO_IMAGES or is_result_name(inside):
        return None
    return name.facts(datatype)


def _is_ignored(inside: PurePath, patterns: list[str]) -> bool:
    """Whether a pattern means a file or a folder above it.

    With a slash, other than at its end, a pattern is meant from the root on; without one, for a
    name at any depth. A star also stands for slashes.
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
