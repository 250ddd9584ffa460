"""The preview PNG of a result: one slice of the input, the result, a sample and the deviation map.

The upper row shows the whole slice in radiological display, the lower row an enlarged detail
without interpolation. All images share one intensity window.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mrcascade.arrays.intensity import body_of, robust_maximum
from mrcascade.io import Display
from mrcascade.pictures.detail import busiest
from mrcascade.pictures.drawing import NOTICE, frame, label_edges
from mrcascade.pictures.sheet import PANEL, Sheet, panel_size

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
    images = [display.turn(shown_pixels(panel.pixels)) for panel in panels]
    # The window is a share of the range above no signal.
    low, high = (end + zero for end in intensity_window(images[0] - zero))
    size = panel_size(images[0].shape, display.aspect)
    zoom = magnification(images[0].shape, display.aspect)
    small = display.turn(np.empty(measured)).shape
    window = detail_window(images[1] - zero, small, size, zoom)
    sheet = Sheet(len(panels), (size, size), any(panel.spread for panel in panels))
    for column, (panel, image) in enumerate(zip(panels, images, strict=True)):
        limits = (0.0, largest_deviation(image)) if panel.spread else (low, high)
        colours = "magma" if panel.spread else "gray"
        axes = sheet.whole(column, 0, image, panel.title, colours, limits)
        label_edges(axes, display)
        frame(axes, window)
        sheet.detail(column, 1, magnified(image[window], zoom), colours, limits)
        if panel.spread:
            sheet.colour_bar(axes.images[0], f"standard deviation ({unit})")
    pixels = " x ".join(f"{z:.3g}" for z in zoom)
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


def magnification(shape: tuple[int, ...], aspect: float) -> tuple[float, float]:
    """Return how many screen pixels, down and across, draw one pixel of the detail.

    The shorter side of a pixel is a whole number of them, and the longer one has the true aspect.

    Args:
        shape: (H, W) of the slice.
        aspect: height of a pixel over its width.
    """
    across = DETAIL * PANEL / max(shape[0] * aspect, float(shape[1]))
    whole = max(1, round(min(across * aspect, across)))
    return whole * max(1.0, aspect), whole * max(1.0, 1 / aspect)


def magnified(image: np.ndarray, zoom: tuple[float, float]) -> np.ndarray:
    """Return an image (h, w) with ``zoom`` screen pixels, down and across, for each pixel.

    Nothing is interpolated. Where the numbers are not whole, the edges of pixels are rounded.
    """
    rows, columns = (
        np.minimum((np.arange(round(n * z)) + 0.5) // z, n - 1).astype(int)
        for n, z in zip(image.shape, zoom, strict=True)
    )
    return image[np.ix_(rows, columns)]


def detail_window(
    result: np.ndarray,
    measured: tuple[int, ...],
    size: tuple[int, int],
    zoom: tuple[float, float],
) -> tuple[slice, slice]:
    """Return the window of the result (rows, columns) that the lower row enlarges.

    The body has most unmeasured detail there, and the window fills a panel.

    Args:
        result: (H, W), with 0 for no signal.
        measured: (h, w) of the measurement.
        size: height and width of a panel in screen pixels.
        zoom: screen pixels per pixel, of `magnification`.
    """
    rows, columns = (min(n, int(s / z)) for n, s, z in zip(result.shape, size, zoom, strict=True))
    body = body_of(result, robust_maximum(result))
    # A step between opposite edges of the field of view has high frequencies, but is no detail.
    for axis, (n, m) in enumerate(zip(result.shape, measured, strict=True)):
        edge = min(round(BORDER * n / m), n // 4)
        np.moveaxis(body, axis, 0)[np.r_[:edge, n - edge : n]] = False
    return busiest(result, (measured[0], measured[1]), (max(1, rows), max(1, columns)), body)


def shown_pixels(pixels: np.ndarray) -> np.ndarray:
    """Return the pixels that are shown: magnitudes of a complex image, else the image."""
    return np.abs(pixels) if np.iscomplexobj(pixels) else pixels


def largest_deviation(std: np.ndarray) -> float:
    """Return the upper end of the colour scale of a standard deviation map."""
    return float(np.quantile(std, LARGEST_STD)) or float(std.max()) or 1.0
