"""Which images of a BIDS dataset are wanted: ``--bids-filter``."""

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
# What is taken unless the filter says otherwise: no phase, no real and imaginary parts.
DEFAULTS: dict[str, tuple[str | None, ...]] = {"datatype": ("anat",), "part": (None, "mag")}
_NAMED_IN_MESSAGES = 8


@dataclass(frozen=True)
class Selection:
    """The values that are wanted, by long name; None stands for an entity that is absent.

    text: the filter as the user gave it, empty without one.
    """

    wanted: Mapping[str, Sequence[str | None]]
    text: str = ""

    def takes(self, facts: Mapping[str, str]) -> bool:
        """Whether an image with these facts (`BidsName.facts`) is wanted."""
        return all(
            any(_comparable(key, facts.get(key)) == _comparable(key, v) for v in values)
            for key, values in self.wanted.items()
        )

    def missed(self, candidates: Iterable[Mapping[str, str]]) -> str:
        """What the filter could have asked for: the values that there are, key by key."""
        candidates = list(candidates)
        parts = []
        for key in self.wanted:
            values = sorted({facts.get(key, "none") for facts in candidates})
            more = f" and {len(values) - _NAMED_IN_MESSAGES} more"
            shown = ", ".join(values[:_NAMED_IN_MESSAGES])
            parts.append(f"{key} {shown}{more if len(values) > _NAMED_IN_MESSAGES else ''}")
        return "; ".join(parts)


def parse_selection(text: str | None) -> Selection:
    """``suffix=T2w,session=01`` or the name of a JSON file, on top of `DEFAULTS`.

    Keys are entities by their long or short name, suffix, datatype and extension. A key that is
    named twice, or a list in JSON, gives alternatives; null in JSON asks for an entity's absence.
    Raises MRCascadeError for anything else.
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
    """Entities come without their key, as in pybids, or with it: 01 or ses-01."""
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise MRCascadeError(
            f"--bids-filter {where}: {name} needs a value, a list of values or null;"
            f" {shortened(repr(value))} is neither"
        )
    short = {long: short for short, long in ENTITIES.items()}
    return str(value).removeprefix(f"{short.get(name, name)}-")


def _comparable(key: str, value: str | None) -> str | int | None:
    return int(value) if key in COUNTED and value is not None and value.isdecimal() else value
