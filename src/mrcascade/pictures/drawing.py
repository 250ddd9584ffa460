"""Marks on pictures of slices: letters of the patient's sides, frame of a detail."""

from __future__ import annotations

from typing import Any

from mrcascade.io import Display
from mrcascade.messages.printable import printable

NOTICE = "research software, not for diagnosis"
FRAME = "yellow"
_INDENT = 0.02  # distance of a letter from the edge, as a share of the panel


def plain(text: str) -> str:
    """Return ``text`` as matplotlib draws it literally: printable, with dollar signs escaped.

    File names may contain both invisible characters and dollar signs.
    """
    return "\n".join(printable(row) for row in text.split("\n")).replace("$", r"\$")


def label_edges(axes: Any, display: Display, size: float = 9) -> None:
    """Write the letters of the patient's sides (R, L, A, ...) along a panel's edges.

    ``size`` is the font size in points.
    """
    from matplotlib.patheffects import withStroke

    outlined = [withStroke(linewidth=1.5, foreground="black")]
    far = 1 - _INDENT
    for letter, x, y, across, along in (
        (display.left, _INDENT, 0.5, "left", "center"),
        (display.right, far, 0.5, "right", "center"),
        (display.top, 0.5, far, "center", "top"),
        (display.bottom, 0.5, _INDENT, "center", "bottom"),
    ):
        if letter:
            text = axes.text(x, y, letter, transform=axes.transAxes, ha=across, va=along)
            text.set(color="white", fontsize=size, path_effects=outlined)


def frame(axes: Any, window: tuple[slice, slice]) -> None:
    """Draw a frame around the pixels ``window`` (rows, columns) of the image in ``axes``."""
    from matplotlib.patches import Rectangle

    rows, columns = window
    corner = (columns.start - 0.5, rows.start - 0.5)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=FRAME, linewidth=0.7))
