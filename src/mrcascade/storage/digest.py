"""Digests of files."""

import hashlib
from pathlib import Path

from mrcascade.storage.files import open_regular


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal digits."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
