"""Names of derived files, by the rules of BIDS derivatives."""

import re
from pathlib import Path
from typing import Protocol

from mrcascade.io.formats import file_endings

_DESC = re.compile(r"_desc-([A-Za-z0-9+]+)(?=_|$)")
_RES = re.compile(r"_res-[A-Za-z0-9+]+(?=_|$)")
# Ending of the preview of a result. No result is a PNG file.
PREVIEW_ENDING = ".png"
_RESULT = re.compile(r"_desc-sr(?:[0-9]|iso)")
# sub-01_ses-1_T2w: entities, then the suffix that names the contrast.
_BIDS = re.compile(r"^(sub-[A-Za-z0-9+]+(?:_[A-Za-z0-9]+-[A-Za-z0-9+]+)*)_([A-Za-z0-9]+)$")


class HasName(Protocol):
    """A path, or an `ImageFile`."""

    @property
    def name(self) -> str: ...

    @property
    def suffix(self) -> str: ...


def stem(source: HasName) -> str:
    """Return the name of a file without its format's ending, such as ".nii.gz"."""
    name = source.name
    compound = [ending for ending in file_endings() if ending.count(".") > 1]
    for ending in (*compound, source.suffix):
        if ending and name.lower().endswith(ending.lower()):
            return name[: len(name) - len(ending)]
    return name


def derived_name(source: HasName, description: str, ending: str) -> str:
    """Return the name of a derived file with a ``desc`` entity.

    ``sub-01_T2w.nii.gz`` -> ``sub-01_desc-sr4x_T2w.nii.gz``; ``t2.npy`` -> ``t2_desc-sr4x.npy``. An
    existing ``desc`` entity is replaced, as a name has only one. In BIDS names ``res`` is removed,
    as it names the resolution of the source.
    """
    name = _DESC.sub("", stem(source))
    match = _BIDS.match(name)
    if match is None:
        return f"{name}_desc-{description}{ending}"
    return f"{_RES.sub('', match[1])}_desc-{description}_{match[2]}{ending}"


def description_of(source: HasName) -> str:
    """Return the value of the ``desc`` entity in a file's name; empty where it has none."""
    found = _DESC.search(stem(source))
    return found[1] if found else ""


def is_result_name(path: Path) -> bool:
    """Return whether a file has a name that ``sr`` gives its results, so that a search skips it."""
    return _RESULT.search(stem(path)) is not None


def is_preview_name(path: Path) -> bool:
    """Return whether a file has a name that ``sr`` gives the preview of a result."""
    return is_result_name(path) and path.suffix.lower() == PREVIEW_ENDING
