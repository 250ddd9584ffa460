"""JSONL log of a level: one record per validation, with losses and validation errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mrcascade.errors import MRCascadeError
from mrcascade.io import atomic_output
from mrcascade.storage.files import TABLE_BYTES, parse_json, read_text

VALIDATION = "val_ema"  # start of the keys of validation errors; the profile's std follows
Record = dict[str, Any]


def log_file(folder: Path, level: int) -> Path:
    """Return the name of a level's log in the run's folder."""
    return folder / f"level{level}.jsonl"


def read_log(log: Path) -> list[Record]:
    """Return the records of a log, oldest first; a last line that was cut short is dropped."""
    if not log.exists():
        return []
    try:
        text = read_text(log, TABLE_BYTES)
        records = [parse_json(line) for line in text[: text.rfind("\n") + 1].splitlines()]
        if not all(map(_is_record, records)):
            raise ValueError("not what append_record writes")
        return records
    except MRCascadeError:
        raise
    except ValueError as error:
        raise MRCascadeError(f"{log}: not a log of a level; move it away") from error


def _is_record(found: Any) -> bool:
    """Return whether an entry is a record: numbers or tables of numbers, with "images"."""
    if not isinstance(found, dict) or not _is_number(found.get("images")):
        return False
    groups = [v.values() if isinstance(v, dict) else (v,) for v in found.values()]
    return all(_is_number(value) for group in groups for value in group)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def append_record(log: Path, record: Record) -> None:
    """Append a record to a log."""
    with log.open("a") as file:
        file.write(json.dumps(record) + "\n")


def cut_log(log: Path, seen: int) -> None:
    """Drop records that a killed run wrote after its last checkpoint, at ``seen`` images."""
    if log.exists():
        kept = [r for r in read_log(log) if r["images"] <= seen]
        with atomic_output(log, overwrite=True) as temporary:
            temporary.write_text("".join(json.dumps(r) + "\n" for r in kept))


def profile_key(std: float) -> str:
    """Return the key of a profile's validation errors in a record."""
    return f"{VALIDATION}{std:g}"


def best_profile(record: Record, stds: tuple[float, ...]) -> int:
    """Return the index of the EMA profile with the smallest sum of errors; 0 without errors."""
    scores = [sum(record.get(profile_key(std), {}).values()) for std in stds]
    return scores.index(min(scores))


def validation_errors(record: Record) -> dict[str, float]:
    """Return the validation errors of a record, such as "val_ema0.05/mean"."""
    found = {k: v for k, v in record.items() if k.startswith(VALIDATION)}
    return {f"{key}/{name}": v for key, errors in found.items() for name, v in errors.items()}
