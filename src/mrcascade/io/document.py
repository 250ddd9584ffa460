"""JSON files beside results; their keys are CamelCase, as in BIDS."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def camel_case(key: str) -> str:
    """Return a key in CamelCase: ``step_size`` becomes ``StepSize``; CamelCase and numbers stay."""
    return "".join(word[:1].upper() + word[1:] for word in key.split("_"))


def camel_keys(value: Any) -> Any:
    """Return ``value`` with the keys of its objects, also nested ones, in CamelCase."""
    if isinstance(value, Mapping):
        return {camel_case(key): camel_keys(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [camel_keys(entry) for entry in value]
    return value


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON file with CamelCase keys."""
    path.write_text(json.dumps(camel_keys(document), indent=1) + "\n")
