"""Marks on pictures of slices: the patient's sides, and the frame of a detail."""

from __future__ import annotations

from typing import Any

from mrcascade.io import Display
from mrcascade.messages.printable import printable

NOTICE = "research software, not for diagnosis"
FRAME = "yellow"
_INDENT = 0.02  # of the panel, from its edge to a letter


def plain(text: str) -> str:
    """Return ``text``, with names of files in it, so that matplotlib draws it: printable, and no
    mathematics between dollar signs."""
    return "\n".join(printable(row) for row in text.split("\n")).replace("$", r"\$")


def label_edges(axes: Any, display: Display, size: float = 9) -> None:
    """Write the letters of the patient's sides inside the edges of a panel."""
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
    """Mark the pixels ``window`` (rows, columns) of the image that ``axes`` show."""
    from matplotlib.patches import Rectangle

    rows, columns = window
    corner = (columns.start - 0.5, rows.start - 0.5)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=FRAME, linewidth=0.7))
