"""What lies below a folder."""

import os
from pathlib import Path


def files_below(folder: Path) -> list[Path]:
    """Every file below a folder, sorted; hidden files and folders are passed over.

    Links are followed, each folder counts once however many lead to it.
    """
    seen = {os.path.realpath(folder)}
    found = []
    for root, folders, names in os.walk(folder, followlinks=True):
        inside, folders[:] = sorted(folders), []
        for name in inside:
            real = os.path.realpath(os.path.join(root, name))
            if real not in seen and not name.startswith("."):
                seen.add(real)
                folders.append(name)
        paths = (Path(root, name) for name in names if not name.startswith("."))
        found += [path for path in paths if path.is_file()]
    return sorted(found)
