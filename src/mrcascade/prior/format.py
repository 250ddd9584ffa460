"""Folders of priors and their JSON; imports no torch, so that commands answer at once."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrcascade.errors import MRCascadeError
from mrcascade.storage.files import read_json

FORMAT = 2
READABLE = (1, 2)  # format 1 has no conditions with data
PRIOR_FILE = "prior.json"
_MOST_LEVELS, _LARGEST_STEP, _LARGEST_FACTOR = 8, 64, 4096
BUNDLED = Path(__file__).parents[1] / "weights"
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
    return sorted(p.parent.relative_to(BUNDLED).as_posix() for p in BUNDLED.rglob(PRIOR_FILE))


def seen_images(provenance: Mapping[str, Any], what: str) -> set[str]:
    """Return the entries of a provenance's lists of training and validation images.

    what: "files", "subjects" or "contents". Without such lists the result is empty.
    """
    lists = (provenance.get(key) for key in SEEN if key.endswith(what))
    return {str(text) for found in lists if isinstance(found, list) for text in found}


def prior_folder(name_or_folder: str | Path) -> Path:
    """Return the folder of a bundled prior's name, or of a path that holds ``prior.json``.

    Raises MRCascadeError if there is no such prior.
    """
    for candidate in (BUNDLED / str(name_or_folder), Path(name_or_folder)):
        try:
            if (candidate / PRIOR_FILE).is_file():
                return candidate
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
    known = ", ".join(list_priors()) or "none"
    raise MRCascadeError(
        f"unknown prior {str(name_or_folder)!r}: not a folder with {PRIOR_FILE},"
        f" and the bundled priors are: {known}"
    )


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
