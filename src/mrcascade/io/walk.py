"""Files below a folder."""

import os
from pathlib import Path

from mrcascade.errors import MRCascadeError


def files_below(folder: Path) -> list[Path]:
    """List every file below a folder, sorted, without hidden files and folders.

    Links are followed, and each folder counts once. A link to a missing file is listed, so that the
    caller can name the missing file. Raises MRCascadeError for a folder that cannot be listed.
    """
    seen = {os.path.realpath(folder)}
    found = []
    for root, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        inside, folders[:] = sorted(folders), []
        for name in inside:
            real = os.path.realpath(os.path.join(root, name))
            if real not in seen and not name.startswith("."):
                seen.add(real)
                folders.append(name)
        paths = (Path(root, name) for name in names if not name.startswith("."))
        found += [path for path in paths if path.is_file() or is_dangling(path)]
    return sorted(found)


def is_dangling(path: Path) -> bool:
    """Return whether a path is a link to a missing file."""
    return path.is_symlink() and not os.path.exists(path)


def _refuse(error: OSError) -> None:
    raise MRCascadeError(
        f"{error.filename} cannot be listed ({error.strerror}); make it readable, or leave it out"
    ) from error
