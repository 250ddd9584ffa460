"""JSON files of BIDS: descriptions, metadata, filters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mrcascade.errors import MRCascadeError
from mrcascade.storage.files import read_json


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object. Raises MRCascadeError where it does not."""
    try:
        document = read_json(path)
    except MRCascadeError:
        raise
    except (OSError, ValueError) as error:
        raise MRCascadeError(f"{path}: not readable as JSON; repair it") from error
    if not isinstance(document, dict):
        raise MRCascadeError(f"{path}: not a JSON object; repair it")
    return document
