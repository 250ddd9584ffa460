"""What lies below a folder."""

import os
from pathlib import Path

from mrcascade.errors import MRCascadeError


def files_below(folder: Path) -> list[Path]:
    """Every file below a folder, sorted; hidden files and folders are passed over.

    Links are followed, each folder counts once however many lead to it. A link that leads nowhere
    is listed, so that whoever wants the file can say what is missing. Raises MRCascadeError for a
    folder that cannot be listed.
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
    """Whether a path is a link to something that is not there."""
    return path.is_symlink() and not os.path.exists(path)


def _refuse(error: OSError) -> None:
    raise MRCascadeError(
        f"{error.filename} cannot be listed ({error.strerror}); make it readable, or leave it out"
    ) from error
