"""Head of a report: who made it, and its thumbnail. A report's own head says that it is ours."""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path

from mrcascade import __version__
from mrcascade.errors import MRCascadeError
from mrcascade.pictures.report.template import escaped
from mrcascade.storage.files import open_regular

_GENERATOR = '<meta name="generator" content="mrcascade {version} report">'
_OURS = re.compile(rb'<meta name="generator" content="mrcascade [^"<>]* report">')
_ICON = re.compile(rb'<link rel="icon" href="(data:image/jpeg;base64,[A-Za-z0-9+/=]+)">')
_HEAD_BYTES = 2**16  # a head with its thumbnail is shorter


def report_head(title: str, icon: bytes | None) -> str:
    """Return the first elements of a report: generator, title and thumbnail (a JPEG)."""
    lines = [_GENERATOR.format(version=escaped(__version__))]
    lines.append(f"<title>{escaped(title)}</title>")
    if icon is not None:
        lines.append(f'<link rel="icon" href="{data_uri("image/jpeg", icon)}">')
    return "\n".join(lines)


def data_uri(mime: str, content: bytes) -> str:
    """Return the address under which a page holds a picture itself."""
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"


def is_own_report(path: Path) -> bool:
    """Return whether a file is a report that mrcascade wrote."""
    return not path.is_symlink() and _OURS.search(_head(path)) is not None


def icon_of(path: Path) -> str:
    """Return the thumbnail of a report as a data address; empty where there is none."""
    found = _ICON.search(_head(path)) if is_own_report(path) else None
    return "" if found is None else found[1].decode("ascii")


def check_report(path: Path, overwrite: bool) -> None:
    """Raise MRCascadeError where a report may not be written to ``path``.

    ``overwrite`` allows to replace a report that mrcascade wrote, and no other file.
    """
    if not os.path.lexists(path):
        return
    if not is_own_report(path):
        raise MRCascadeError(
            f"{path} is no report of mrcascade, and stays; move it away or choose another folder"
        )
    if not overwrite:
        raise MRCascadeError(f"{path} already exists; choose another name or add --overwrite")


def _head(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read(_HEAD_BYTES)
    except (OSError, MRCascadeError):
        return b""
