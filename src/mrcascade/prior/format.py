"""Where priors are found and what their JSON says; free of torch, so that it answers at once."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrcascade.errors import MRCascadeError
from mrcascade.storage.files import read_json

FORMAT = 1
PRIOR_FILE = "prior.json"
_MOST_LEVELS, _LARGEST_STEP, _LARGEST_FACTOR = 8, 64, 4096
BUNDLED = Path(__file__).parents[1] / "weights"
# Lists in the provenance of a prior: the images that trained it and those that validated it, as
# names or hashes of files, as digests of subjects and as digests of contents.
SEEN = tuple(
    f"{kind}{what}" for kind in ("", "validation_") for what in ("files", "subjects", "contents")
)


def list_priors() -> list[str]:
    """Names of the priors that come with the package, such as ``mr-small``.

    Example:
        >>> import mrcascade
        >>> "mr-small" in mrcascade.list_priors()
        True
    """
    return sorted(p.parent.relative_to(BUNDLED).as_posix() for p in BUNDLED.rglob(PRIOR_FILE))


def seen_images(provenance: Mapping[str, Any], what: str) -> set[str]:
    """The texts of the lists ``what`` ("files", "subjects" or "contents") of a provenance; none
    where it has no such lists."""
    lists = (provenance.get(key) for key in SEEN if key.endswith(what))
    return {str(text) for found in lists if isinstance(found, list) for text in found}


def prior_folder(name_or_folder: str | Path) -> Path:
    """Folder of a bundled prior's name or of a path that holds ``prior.json``."""
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
    """Parsed ``prior.json``; MRCascadeError if it is not one that this version reads."""
    path = folder / PRIOR_FILE
    try:
        document = read_json(path)
    except MRCascadeError:
        raise
    except (OSError, ValueError) as error:
        raise MRCascadeError(f"{path}: cannot be read as JSON; fetch the prior again") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise MRCascadeError(
            f"{path}: not a mrcascade prior of format {FORMAT}; fetch the prior again"
        )
    return document


@dataclass(frozen=True)
class Limits:
    """What a prior can restore: name, pixels per side of the result at least, factor at most."""

    prior: str
    minimum_size: int
    maximum_factor: float

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> Limits | None:
        """Those that a prior's JSON states, None where it is malformed."""
        try:
            step, most, levels = cascade_shape(document)
            return cls(str(document["name"]), minimum_size(step, levels), most)
        except (KeyError, TypeError, ValueError, OverflowError):
            return None


def whole_entry(document: Mapping[str, Any], key: str, least: int, most: int) -> int:
    """An entry that is a whole number within these bounds; ValueError for any other."""
    value = document[key]
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{key} is no whole number from {least} to {most}")
    return value


def cascade_shape(document: Mapping[str, Any]) -> tuple[int, int, int]:
    """Step, maximum factor and number of levels in a prior's JSON.

    Raises ValueError where they are out of range, KeyError and TypeError where they are not there.
    """
    step = whole_entry(document, "step", 2, _LARGEST_STEP)
    if step & (step - 1):
        raise ValueError(f"step {step} is no power of 2")
    most, levels = (
        whole_entry(document, "maximum_factor", 2, _LARGEST_FACTOR),
        len(document["levels"]),
    )
    if not 1 <= levels <= _MOST_LEVELS:
        raise ValueError(f"a prior has 1 to {_MOST_LEVELS} levels, and not {levels}")
    return step, most, levels


def minimum_size(step: int, levels: int) -> int:
    """Smallest side of a result that every level of a cascade can process."""
    return 8 * int(step ** (levels - 1))


def check_sizes(result: Sequence[int], measured: Sequence[int], limits: Limits) -> None:
    """Raise MRCascadeError unless a prior with these limits can make (H, W) of (h, w) pixels.

    Sizes alone tell, so that nothing has to be built for a factor that is far too large.
    """
    check_maximum(max(n / m for n, m in zip(result, measured, strict=True)), limits)
    if min(result) < limits.minimum_size:
        raise MRCascadeError(
            f"the result would be {result[0]}x{result[1]}; prior {limits.prior!r} needs at least"
            f" {limits.minimum_size} pixels per side"
        )


def check_maximum(factor: float, limits: Limits) -> None:
    """Raise MRCascadeError for a factor that is larger than the prior was trained for."""
    if factor > limits.maximum_factor:
        raise MRCascadeError(
            f"factor {factor:g} is larger than prior {limits.prior!r} can do"
            f" ({limits.maximum_factor:g}x); give a smaller factor, or another prior"
        )
