"""Where priors are found and what their JSON says; free of torch, so that it answers at once."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from mrcascade.errors import MRCascadeError

FORMAT = 1
PRIOR_FILE = "prior.json"
BUNDLED = Path(__file__).parent / "priors"


def bundled_priors() -> list[str]:
    """Names of the priors that come with the package, such as ``mr-small``."""
    return sorted(p.parent.relative_to(BUNDLED).as_posix() for p in BUNDLED.rglob(PRIOR_FILE))


def prior_folder(name_or_folder: str | Path) -> Path:
    """Folder of a bundled prior's name or of a path that holds ``prior.json``."""
    for candidate in (BUNDLED / str(name_or_folder), Path(name_or_folder)):
        if (candidate / PRIOR_FILE).is_file():
            return candidate
    known = ", ".join(bundled_priors()) or "none"
    raise MRCascadeError(
        f"unknown prior {str(name_or_folder)!r}: not a folder with {PRIOR_FILE},"
        f" and the bundled priors are: {known}"
    )


def read_document(folder: Path) -> dict[str, Any]:
    """Parsed ``prior.json``; MRCascadeError if it is not one that this version reads."""
    path = folder / PRIOR_FILE
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise MRCascadeError(f"{path}: cannot be read as JSON; fetch the prior again") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise MRCascadeError(f"{path}: not a mrcascade prior of format {FORMAT}")
    return document


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
