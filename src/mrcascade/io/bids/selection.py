"""Selection of images of a BIDS dataset: ``--bids-filter``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrcascade.errors import MRCascadeError
from mrcascade.io.bids.document import read_object
from mrcascade.io.bids.entities import COUNTED, ENTITIES
from mrcascade.messages.printable import shortened

KEYS = (*ENTITIES.values(), "suffix", "datatype", "extension")
# Selection unless the filter says otherwise: no phase, no real and imaginary parts.
DEFAULTS: dict[str, tuple[str | None, ...]] = {"datatype": ("anat",), "part": (None, "mag")}
_NAMED_IN_MESSAGES = 8


@dataclass(frozen=True)
class Selection:
    """The wanted values of entities.

    Attributes:
        wanted: values by long name; None stands for an absent entity.
        text: the filter as the user gave it, empty without one.
    """

    wanted: Mapping[str, Sequence[str | None]]
    text: str = ""

    def takes(self, facts: Mapping[str, str]) -> bool:
        """Return whether an image with these facts (`BidsName.facts`) is wanted."""
        return all(
            any(_comparable(key, facts.get(key)) == _comparable(key, v) for v in values)
            for key, values in self.wanted.items()
        )

    def missed(self, candidates: Iterable[Mapping[str, str]]) -> str:
        """Return the values that the filter could have asked for, key by key."""
        candidates = list(candidates)
        parts = []
        for key in self.wanted:
            values = sorted({facts.get(key, "none") for facts in candidates})
            more = f" and {len(values) - _NAMED_IN_MESSAGES} more"
            shown = ", ".join(values[:_NAMED_IN_MESSAGES])
            parts.append(f"{key} {shown}{more if len(values) > _NAMED_IN_MESSAGES else ''}")
        return "; ".join(parts)


def parse_selection(text: str | None) -> Selection:
    """Parse a filter, such as ``suffix=T2w,session=01`` or the name of a JSON file.

    Keys are entities by their long or short name, suffix, datatype and extension. `DEFAULTS` hold
    for keys that are not given. A repeated key, or a list in JSON, gives alternatives; null in JSON
    asks for an entity's absence. Raises MRCascadeError for anything else.
    """
    if text is None:
        return Selection(DEFAULTS)
    path = Path(text)
    if path.is_file():
        wanted = _from_json(path)
    elif "=" in text:
        wanted = _from_pairs(text)
    else:
        raise MRCascadeError(
            f"--bids-filter {text}: neither a JSON file nor key=value[,key=value], such as"
            " suffix=T2w,session=01"
        )
    return Selection(DEFAULTS | wanted, text)


def _from_pairs(text: str) -> dict[str, tuple[str | None, ...]]:
    wanted: dict[str, tuple[str | None, ...]] = {}
    for pair in text.split(","):
        name, _, value = (part.strip() for part in pair.partition("="))
        key = _key(name, text)
        wanted[key] = (*wanted.get(key, ()), _value(name, value, text))
    return wanted


def _from_json(path: Path) -> dict[str, tuple[str | None, ...]]:
    where = str(path)
    return {
        _key(name, where): tuple(
            None if v is None else _value(name, v, where)
            for v in (values if isinstance(values, list) and values else [values])
        )
        for name, values in read_object(path).items()
    }


def _key(name: str, where: str) -> str:
    key = ENTITIES.get(name, name)
    if key not in KEYS:
        raise MRCascadeError(
            f"--bids-filter {where}: no entity is called {shortened(name)!r}; known are"
            f" {', '.join(KEYS)}"
        )
    return key


def _value(name: str, value: Any, where: str) -> str:
    """Return a value without its entity's key, as in pybids: 01 for both 01 and ses-01."""
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise MRCascadeError(
            f"--bids-filter {where}: {name} needs a value, a list of values or null;"
            f" {shortened(repr(value))} is neither"
        )
    short = {long: short for short, long in ENTITIES.items()}
    return str(value).removeprefix(f"{short.get(name, name)}-")


def _comparable(key: str, value: str | None) -> str | int | None:
    return int(value) if key in COUNTED and value is not None and value.isdecimal() else value
