"""The folder of the user's cache, which holds what would only take time to make again."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path | None:
    """``mrcascade`` in the user's cache folder, which is $XDG_CACHE_HOME, %LOCALAPPDATA% on
    Windows, or ~/.cache; None without a home. Nothing is made."""
    named = os.environ.get("XDG_CACHE_HOME")
    if not named and sys.platform == "win32":
        named = os.environ.get("LOCALAPPDATA")
    try:
        return (Path(named) if named else Path.home() / ".cache") / "mrcascade"
    except RuntimeError:
        return None
