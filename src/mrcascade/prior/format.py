"""Folders of priors and their JSON; imports no torch, so that commands answer at once."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrcascade.arrays.factors import MOST_RATIO
from mrcascade.errors import MRCascadeError
from mrcascade.prior.card import CARD, FACTS
from mrcascade.prior.hub import Repository
from mrcascade.storage.digest import file_sha256
from mrcascade.storage.files import read_json

FORMAT = 2
READABLE = (1, 2)  # format 1 has no conditions with data
PRIOR_FILE = "prior.json"
#: Folder, within that of a prior, of its regression network for thick slices.
SLICES = "slices"
_MOST_LEVELS, _LARGEST_STEP, _LARGEST_FACTOR = 8, 64, 4096
BUNDLED = Path(__file__).parents[1] / "weights"
# Files of a repository that are fetched. A star also matches slashes, for repositories of several.
_DESCRIPTIONS = (f"*{PRIOR_FILE}",)
_FETCHED = (*_DESCRIPTIONS, f"*{FACTS}", f"*{CARD}", "*.safetensors")
# Lists of training and validation images in a prior's provenance: names or hashes of files, digests
# of subjects, digests of contents.
SEEN = tuple(
    f"{kind}{what}" for kind in ("", "validation_") for what in ("files", "subjects", "contents")
)


def list_priors() -> list[str]:
    """Return the names of the priors that come with the package, such as ``mr-small``.

    Example:
        >>> import mrcascade
        >>> "mr-small" in mrcascade.list_priors()
        True
    """
    found = (path.parent for path in BUNDLED.rglob(PRIOR_FILE))
    return sorted(
        folder.relative_to(BUNDLED).as_posix()
        for folder in found
        if folder.name != SLICES  # of another prior
    )


def seen_images(provenance: Mapping[str, Any], what: str) -> set[str]:
    """Return the entries of a provenance's lists of training and validation images.

    what: "files", "subjects" or "contents". Without such lists the result is empty.
    """
    lists = (provenance.get(key) for key in SEEN if key.endswith(what))
    return {str(text) for found in lists if isinstance(found, list) for text in found}


def prior_folder(name_or_folder: str | Path, within: str = "", download: bool = False) -> Path:
    """Return the folder of a prior: a bundled one, a local folder, or a repository of the hub.

    Args:
        name_or_folder: a bundled prior's name; a path that holds ``prior.json``; or
            ``ORG/REPO[/FOLDER][@REVISION]``, of which the cache's copy is taken. The first of these
            that exists is meant.
        within: folder of the prior below that one, for collections such as ``mr-small-baselines``.
        download: whether a repository is fetched from the hub first.

    Raises:
        MRCascadeError: there is no such prior, it is not in the cache, or cannot be downloaded.
    """
    name = str(name_or_folder)
    for candidate in (BUNDLED / name / within, Path(name) / within):
        try:
            if (candidate / PRIOR_FILE).is_file():
                return candidate
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
    called = f"{name}/{within}" if within else name
    repository = None if isinstance(name_or_folder, Path) else Repository.of_name(name)
    if repository is not None and download:
        return _fetched(repository, within)
    known = ", ".join(list_priors()) or "none"
    unknown = (
        f"unknown prior {called!r}: not a folder with {PRIOR_FILE}, and the bundled priors are:"
        f" {known}"
    )
    if repository is None:
        raise MRCascadeError(unknown)
    try:
        folder = repository.cached(_FETCHED) / within
    except MRCascadeError as error:
        raise MRCascadeError(f"{unknown}; {error}") from error
    _check_described(folder, called)
    return folder


def _fetched(repository: Repository, within: str) -> Path:
    """Fetch a prior from the hub; where what the cache has is damaged, fetch it again.

    Only a repository that has the prior's JSON has its weights fetched.
    """
    called = f"{repository}/{within}" if within else str(repository)
    _check_described(repository.download(_DESCRIPTIONS) / within, called)
    for again in (False, True):
        folder = repository.download(_FETCHED, again) / within
        if _is_whole(folder):
            return folder
    read_document(folder)
    raise MRCascadeError(
        f"{called}: the repository's weights are not those that its {PRIOR_FILE} names; tell its"
        " owner, or take another revision"
    )


def _check_described(folder: Path, called: str) -> None:
    """Raise MRCascadeError unless a folder of a repository in the cache holds a prior."""
    if not (folder / PRIOR_FILE).is_file():
        raise MRCascadeError(
            f"{called}: there is no {PRIOR_FILE} in that repository; check the name"
        )


def _is_whole(folder: Path) -> bool:
    """Return whether a prior's weights are the files that its JSON names."""
    try:
        verify_weights(folder)
    except (MRCascadeError, OSError, LookupError, TypeError, ValueError):
        return False
    return True


def slices_of(folder: Path, channels: int) -> Path | None:
    """Return the folder of a prior's regression network for thick slices; None without one.

    Raises MRCascadeError unless it is one for these channels: without a denoiser and networks of
    its own beside it, and for the largest ratio of slices.
    """
    beside = folder / SLICES
    if not os.path.lexists(beside):
        return None
    fits = (beside / PRIOR_FILE).is_file() and not os.path.lexists(beside / SLICES)
    document = read_document(beside) if fits else {}
    try:
        denoisers = [one["networks"]["unet"] for one in document["levels"] if one["networks"]]
        fits = document["channels"] == channels and document["maximum_factor"] >= MOST_RATIO
    except (LookupError, TypeError):
        fits = False
    if not fits or any(denoisers):
        raise MRCascadeError(f"{beside}: no regression network of this prior; remove it")
    return beside


def weight_files(folder: Path) -> list[Path]:
    """Return the weight files of a prior and of its regression network for thick slices."""
    own = [folder / level["file"] for level in read_document(folder)["levels"]]
    companion = folder / SLICES
    return own + (weight_files(companion) if (companion / PRIOR_FILE).is_file() else [])


def verify_weights(folder: Path) -> int:
    """Compare the weight files of a prior with the hashes in its JSON; return their bytes.

    Raises MRCascadeError where a file is missing or another one.
    """
    size = 0
    for level in read_document(folder)["levels"]:
        path = folder / level["file"]
        if not path.is_file() or file_sha256(path) != level["sha256"]:
            raise MRCascadeError(f"{path}: missing, or not the file that {PRIOR_FILE} names")
        size += path.stat().st_size
    companion = folder / SLICES
    return size + (verify_weights(companion) if (companion / PRIOR_FILE).is_file() else 0)


def read_document(folder: Path) -> dict[str, Any]:
    """Read ``prior.json``. Raises MRCascadeError unless this version supports its format."""
    path = folder / PRIOR_FILE
    try:
        document = read_json(path)
    except MRCascadeError:
        raise
    except (OSError, ValueError) as error:
        raise MRCascadeError(f"{path}: cannot be read as JSON; fetch the prior again") from error
    if not isinstance(document, dict) or document.get("format") not in READABLE:
        formats = " or ".join(map(str, READABLE))
        raise MRCascadeError(
            f"{path}: not a mrcascade prior of format {formats}; fetch the prior again"
        )
    return document


@dataclass(frozen=True)
class Limits:
    """Limits of a prior: least pixels per side of a result, and largest factor."""

    prior: str
    minimum_size: int
    maximum_factor: float

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> Limits | None:
        """Return the limits that a prior's JSON states; None if it is malformed."""
        try:
            step, most, levels = cascade_shape(document)
            return cls(str(document["name"]), minimum_size(step, levels), most)
        except (KeyError, TypeError, ValueError, OverflowError):
            return None


def whole_entry(document: Mapping[str, Any], key: str, least: int, most: int) -> int:
    """Return a whole number of a document. Raises ValueError unless it is within the bounds."""
    value = document[key]
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{key} must be a whole number from {least} to {most}")
    return value


def number_of(value: Any) -> float:
    """Return a number of a document. Raises TypeError for other values, true and false too."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number")
    return float(value)


def cascade_shape(document: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return step, maximum factor and number of levels of a prior's JSON.

    Raises ValueError if they are out of range, and KeyError or TypeError if they are missing.
    """
    step = whole_entry(document, "step", 2, _LARGEST_STEP)
    if step & (step - 1):
        raise ValueError(f"step {step} is not a power of 2")
    most, levels = (
        whole_entry(document, "maximum_factor", 2, _LARGEST_FACTOR),
        len(document["levels"]),
    )
    if not 1 <= levels <= _MOST_LEVELS:
        raise ValueError(f"a prior has 1 to {_MOST_LEVELS} levels, and not {levels}")
    return step, most, levels


def minimum_size(step: int, levels: int) -> int:
    """Return the smallest side of a result that every level of a cascade can process."""
    return 8 * int(step ** (levels - 1))


def check_sizes(result: Sequence[int], measured: Sequence[int], limits: Limits) -> None:
    """Raise MRCascadeError unless a prior with these limits can make (H, W) from (h, w) pixels.

    The check needs sizes only, so no operator is built for a factor that is far too large.
    """
    check_maximum(max(n / m for n, m in zip(result, measured, strict=True)), limits)
    if min(result) < limits.minimum_size:
        raise MRCascadeError(
            f"the result would be {result[0]}x{result[1]}; prior {limits.prior!r} needs at least"
            f" {limits.minimum_size} pixels per side"
        )


def check_maximum(factor: float, limits: Limits) -> None:
    """Raise MRCascadeError for a factor above the largest that the prior was trained for."""
    if factor > limits.maximum_factor:
        raise MRCascadeError(
            f"factor {factor:g} is larger than prior {limits.prior!r} can do"
            f" ({limits.maximum_factor:g}x); give a smaller factor, or another prior"
        )
