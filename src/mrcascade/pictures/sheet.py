"""The sheet of a preview: rows of panels with titles, a colour bar, and lines above and below."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrcascade.pictures.drawing import plain

DPI = 100
PANEL = 384  # screen pixels along the longer side of a panel
GAP, MARGIN = 8, 14  # pixels between panels, and around all of them
HEAD, TITLE, FOOT = 52, 30, 46  # pixels of height: title, panel titles, foot lines
COLUMN = 296  # smallest pixels of width for a panel's title
BAR, SCALE = 14, 84  # pixels of width: the colour bar, and its numbers and label


def panel_size(shape: tuple[int, ...], aspect: float) -> tuple[int, int]:
    """Return height and width of a panel in screen pixels.

    Args:
        shape: (H, W) of the slice.
        aspect: height of a pixel over its width.
    """
    height, width = shape[0] * aspect, float(shape[1])
    scale = PANEL / max(height, width)
    return max(1, round(scale * height)), max(1, round(scale * width))


class Sheet:
    """A figure with rows of panels, placed in pixels from the top left."""

    def __init__(self, columns: int, sizes: Sequence[tuple[int, int]], bar: bool) -> None:
        """Make an empty figure.

        Args:
            columns: number of panels in each row.
            sizes: height and width of the panels of each row, in pixels.
            bar: whether the last column has a colour bar.
        """
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self._sizes = sizes
        self._step = max(COLUMN, *(width for _, width in sizes)) + GAP
        self._width = 2 * MARGIN + columns * self._step - GAP + bar * (BAR + SCALE)
        heights = sum(height for height, _ in sizes)
        self._height = HEAD + TITLE + heights + GAP * (len(sizes) - 1) + FOOT
        self._figure = Figure(figsize=(self._width / DPI, self._height / DPI), dpi=DPI)
        FigureCanvasAgg(self._figure)

    def whole(
        self,
        column: int,
        row: int,
        image: np.ndarray,
        title: str,
        colours: str,
        limits: tuple[float, float],
    ) -> Any:
        """Draw an image into a panel, resampled to its size; return its axes."""
        height, width = self._sizes[row]
        axes = self._axes(self._left(column, row), self._top(row), width, height)
        low, high = limits
        axes.imshow(image, cmap=colours, vmin=low, vmax=high, aspect="auto")
        if title:
            axes.set_title(plain(title), fontsize=10)
        axes.set_axis_off()
        return axes

    def detail(
        self,
        column: int,
        row: int,
        image: np.ndarray,
        colours: str,
        limits: tuple[float, float],
    ) -> None:
        """Draw an image into a panel, centred and without resampling."""
        height, width = self._sizes[row]
        left = self._left(column, row) + (width - image.shape[1]) // 2
        top = self._top(row) + (height - image.shape[0]) // 2
        bottom = self._height - top - image.shape[0]
        low, high = limits
        self._figure.figimage(image, left, bottom, cmap=colours, vmin=low, vmax=high)

    def colour_bar(self, image: Any, label: str) -> None:
        """Draw the colour bar of the last column's map, to the right of the upper row."""
        left = self._width - MARGIN - SCALE - BAR + GAP
        axes = self._axes(left, self._top(0), BAR, self._sizes[0][0])
        self._figure.colorbar(image, cax=axes, extend="max", extendfrac=0.02)
        axes.set_ylabel(plain(label), fontsize=9)
        axes.tick_params(labelsize=8)

    def save(self, path: Path, title: str, foot: str) -> None:
        """Write the PNG with the title above and the foot lines below the panels."""
        edge = 10 / self._height
        self._figure.text(0.5, 1 - edge, plain(title), ha="center", va="top", fontsize=11)
        self._figure.text(0.5, edge, plain(foot), ha="center", va="bottom", fontsize=8.5)
        self._figure.savefig(path, dpi=DPI, format="png")

    def _left(self, column: int, row: int) -> int:
        return MARGIN + column * self._step + (self._step - GAP - self._sizes[row][1]) // 2

    def _top(self, row: int) -> int:
        return HEAD + TITLE + sum(height + GAP for height, _ in self._sizes[:row])

    def _axes(self, left: int, top: int, width: int, height: int) -> Any:
        x, y = left / self._width, 1 - (top + height) / self._height
        return self._figure.add_axes((x, y, width / self._width, height / self._height))
