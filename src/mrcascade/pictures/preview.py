"""The preview PNG of a result: one slice of the input, the result, a sample and the deviation map.

The upper row shows the whole slice in radiological display, the lower row an enlarged detail
without interpolation. All images share one intensity window.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrcascade.arrays.intensity import body_of, robust_maximum
from mrcascade.io import Display
from mrcascade.pictures.detail import busiest
from mrcascade.pictures.drawing import NOTICE, frame, label_edges, plain

DPI = 100
PANEL = 384  # screen pixels along the longer side of a panel
GAP, MARGIN = 8, 14  # pixels between panels, and around all of them
HEAD, TITLE, FOOT = 52, 30, 46  # pixels of height: title, panel titles, foot lines
COLUMN = 296  # smallest pixels of width for a panel's title
BAR, SCALE = 14, 84  # pixels of width: the colour bar, and its numbers and label
DETAIL = 3  # the detail is about 1/DETAIL of each side
BORDER = 3  # measured pixels along each edge in which detail does not count
DARK, BRIGHT = 0.001, 0.99  # quantiles shown black (of the image) and white (of the body)
NEARLY_ZERO = 0.15  # share of white; where the dark quantile is nearer to 0, 0 is black
LARGEST_STD = 0.999  # quantile of the deviation map at the upper end of its scale


@dataclass(frozen=True)
class Panel:
    """One column of a preview.

    Attributes:
        title: text above the image.
        pixels: (H, W) on the grid of the result, real or complex.
        spread: whether it is a standard deviation map, which gets its own colour scale.
    """

    title: str
    pixels: np.ndarray
    spread: bool = False


def write_preview(
    path: Path,
    panels: list[Panel],
    measured: tuple[int, ...],
    display: Display,
    title: str,
    unit: str = "a.u.",
    zero: float = 0.0,
) -> None:
    """Write a PNG of one slice.

    Args:
        path: the PNG file.
        panels: columns from the left. The first is the interpolated input and sets the intensity
            window. The second is the result and decides which detail is enlarged. A standard
            deviation map comes last. Complex images are shown by magnitude.
        measured: (h, w) of the measurement.
        display: orientation and aspect of the slice on screen.
        title: two lines above the panels.
        unit: unit of the intensities.
        zero: intensity of no signal.
    """
    images = [display.turn(_shown(panel.pixels)) for panel in panels]
    # The window is a share of the range above no signal.
    low, high = (end + zero for end in intensity_window(images[0] - zero))
    size = panel_size(images[0].shape, display.aspect)
    zoom = magnification(images[0].shape, size)
    small = display.turn(np.empty(measured)).shape
    window = detail_window(images[1] - zero, small, size, zoom)
    sheet = _Sheet(len(panels), size, any(panel.spread for panel in panels))
    for column, (panel, image) in enumerate(zip(panels, images, strict=True)):
        limits = (0.0, _largest(image)) if panel.spread else (low, high)
        colours = "magma" if panel.spread else "gray"
        axes = sheet.whole(column, image, panel.title, colours, limits)
        label_edges(axes, display)
        frame(axes, window)
        enlarged = np.repeat(np.repeat(image[window], zoom[0], 0), zoom[1], 1)
        sheet.detail(column, enlarged, colours, limits)
        if panel.spread:
            sheet.colour_bar(axes.images[0], f"standard deviation ({unit})")
    pixels = " x ".join(str(z) for z in zoom)
    foot = (
        f"grey scale {low:.4g} to {high:.4g} {unit}; lower row: the framed detail, each pixel drawn"
        f" as {pixels}\n{NOTICE}"
    )
    sheet.save(path, title, foot)


def intensity_window(image: np.ndarray) -> tuple[float, float]:
    """Return the values of an image (H, W) that are shown black and white.

    Black is 0, unless the darkest pixels lie far from it (an offset, or negative values).
    """
    low, scale = float(np.quantile(image, DARK)), robust_maximum(image)
    high = float(np.quantile(image[body_of(image, scale)], BRIGHT)) if scale > 0 else 0.0
    if abs(low) <= NEARLY_ZERO * high:
        low = 0.0
    return (low, high) if high > low else (low, low + 1.0)


def panel_size(shape: tuple[int, ...], aspect: float) -> tuple[int, int]:
    """Return height and width of a panel in screen pixels.

    Args:
        shape: (H, W) of the slice.
        aspect: height of a pixel over its width.
    """
    height, width = shape[0] * aspect, float(shape[1])
    scale = PANEL / max(height, width)
    return max(1, round(scale * height)), max(1, round(scale * width))


def magnification(shape: tuple[int, ...], size: tuple[int, int]) -> tuple[int, int]:
    """Return how many screen pixels, down and across, draw one pixel of the detail.

    Both are whole numbers. Where pixels are not square, the shorter side decides.

    Args:
        shape: (H, W) of the slice.
        size: height and width of a panel in screen pixels.
    """
    height, width = (DETAIL * s / n for s, n in zip(size, shape, strict=True))
    whole = max(1, round(min(height, width)))
    return (
        max(1, round(whole * max(1.0, height / width))),
        max(1, round(whole * max(1.0, width / height))),
    )


def detail_window(
    result: np.ndarray, measured: tuple[int, ...], size: tuple[int, int], zoom: tuple[int, int]
) -> tuple[slice, slice]:
    """Return the window of the result (rows, columns) that the lower row enlarges.

    The body has most unmeasured detail there, and the window fills a panel.

    Args:
        result: (H, W), with 0 for no signal.
        measured: (h, w) of the measurement.
        size: height and width of a panel in screen pixels.
        zoom: screen pixels per pixel, of `magnification`.
    """
    rows, columns = (min(n, s // z) for n, s, z in zip(result.shape, size, zoom, strict=True))
    body = body_of(result, robust_maximum(result))
    # A step between opposite edges of the field of view has high frequencies, but is no detail.
    for axis, (n, m) in enumerate(zip(result.shape, measured, strict=True)):
        edge = min(round(BORDER * n / m), n // 4)
        np.moveaxis(body, axis, 0)[np.r_[:edge, n - edge : n]] = False
    return busiest(result, (measured[0], measured[1]), (max(1, rows), max(1, columns)), body)


def _shown(pixels: np.ndarray) -> np.ndarray:
    return np.abs(pixels) if np.iscomplexobj(pixels) else pixels


def _largest(std: np.ndarray) -> float:
    return float(np.quantile(std, LARGEST_STD)) or float(std.max()) or 1.0


class _Sheet:
    """A figure with two rows of panels of equal size, placed in pixels from the top left."""

    def __init__(self, columns: int, size: tuple[int, int], bar: bool) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self._panel = size
        self._step = max(size[1], COLUMN) + GAP
        self._width = 2 * MARGIN + columns * self._step - GAP + bar * (BAR + SCALE)
        self._height = HEAD + TITLE + 2 * size[0] + GAP + FOOT
        self._figure = Figure(figsize=(self._width / DPI, self._height / DPI), dpi=DPI)
        FigureCanvasAgg(self._figure)

    def whole(
        self, column: int, image: np.ndarray, title: str, colours: str, limits: tuple[float, float]
    ) -> Any:
        """Draw an image into the upper row, resampled to the panel; return its axes."""
        axes = self._axes(self._left(column), HEAD + TITLE, self._panel[1], self._panel[0])
        low, high = limits
        axes.imshow(image, cmap=colours, vmin=low, vmax=high, aspect="auto")
        axes.set_title(plain(title), fontsize=10)
        axes.set_axis_off()
        return axes

    def detail(
        self, column: int, image: np.ndarray, colours: str, limits: tuple[float, float]
    ) -> None:
        """Draw an image into the lower row, centred and without resampling."""
        height, width = self._panel
        left = self._left(column) + (width - image.shape[1]) // 2
        top = HEAD + TITLE + height + GAP + (height - image.shape[0]) // 2
        bottom = self._height - top - image.shape[0]
        low, high = limits
        self._figure.figimage(image, left, bottom, cmap=colours, vmin=low, vmax=high)

    def colour_bar(self, image: Any, label: str) -> None:
        """Draw the colour bar of the last column's map, to its right."""
        left = self._width - MARGIN - SCALE - BAR + GAP
        axes = self._axes(left, HEAD + TITLE, BAR, self._panel[0])
        self._figure.colorbar(image, cax=axes, extend="max", extendfrac=0.02)
        axes.set_ylabel(plain(label), fontsize=9)
        axes.tick_params(labelsize=8)

    def save(self, path: Path, title: str, foot: str) -> None:
        """Write the PNG with the title above and the foot lines below the panels."""
        edge = 10 / self._height
        self._figure.text(0.5, 1 - edge, plain(title), ha="center", va="top", fontsize=11)
        self._figure.text(0.5, edge, plain(foot), ha="center", va="bottom", fontsize=8.5)
        self._figure.savefig(path, dpi=DPI, format="png")

    def _left(self, column: int) -> int:
        return MARGIN + column * self._step + (self._step - GAP - self._panel[1]) // 2

    def _axes(self, left: int, top: int, width: int, height: int) -> Any:
        x, y = left / self._width, 1 - (top + height) / self._height
        return self._figure.add_axes((x, y, width / self._width, height / self._height))
