"""Picture of an evaluation: a few slices, every method, and its error."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np

from mrcascade.arrays.intensity import robust_maximum
from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.data import short_name, spread
from mrcascade.evaluation.ledger import FIGURE_FILE, FIGURE_FOLDER
from mrcascade.evaluation.metrics import comparable, largest_magnitude, psnr
from mrcascade.io import AS_STORED, Display, atomic_output, radiological
from mrcascade.pictures.drawing import NOTICE, label_edges, plain
from mrcascade.storage.files import check_regular

SLICES = 4
TRUTH, MEASURED = "truth", "measured"
STEPS = "steps"  # name under which a slice's directions are kept, for `radiological`
PANEL, GAP = 2.5, 0.06  # inches: width of a panel, and between two
MARGIN, LINE = 0.14, 0.14  # inches: above a panel's title, and for each of its lines
FOOT = 0.42  # inches: below the last row
TITLE_WIDTH = 36  # characters of a line that always fit above a panel
ERROR_QUANTILE = 0.995


@dataclass(frozen=True)
class Picture:
    """A plane to show: its ``row`` in the figure, its ``file`` and its ``number`` there.

    ``label`` names the plane in the figure; by default it is a slice, named by its number.
    """

    row: int
    file: str
    number: int
    label: str = ""


def choose_pictures(
    files: Sequence[tuple[str, str, np.ndarray]], count: int = SLICES
) -> list[Picture]:
    """Choose slices to show, spread over anatomies, then over files, then over each file.

    Args:
        files: (file, anatomy, slice numbers) of each file.
        count: number of slices.
    """
    anatomies: dict[str, list[tuple[str, np.ndarray]]] = {}
    for file, anatomy, numbers in files:
        anatomies.setdefault(anatomy, []).append((file, numbers))
    chosen: list[tuple[str, int]] = []
    for members, share in zip(anatomies.values(), _shares(count, len(anatomies)), strict=True):
        picked = [members[i] for i in spread(np.arange(len(members)), share)]
        for (file, numbers), n in zip(picked, _shares(share, len(picked)), strict=True):
            chosen += [(file, int(number)) for number in spread(numbers, n)]
    return [Picture(row, file, number) for row, (file, number) in enumerate(chosen)]


def _shares(count: int, parts: int) -> list[int]:
    return [count // parts + (i < count % parts) for i in range(parts)]


def keep_pixels(folder: Path, picture: Picture, name: str, pixels: np.ndarray) -> None:
    """Store the pixels of one panel, for this run or for one that resumes it."""
    with atomic_output(_pixels(folder, picture, name), overwrite=True) as path:
        np.save(path, pixels)


def pixel_files(pictures: Sequence[Picture], methods: Iterable[str]) -> list[str]:
    """Return the files that `keep_pixels` can write for these methods, relative to the folder."""
    names = (TRUTH, MEASURED, STEPS, *methods)
    return [_pixels(Path(), p, n).as_posix() for p in pictures for n in names]


def _pixels(folder: Path, picture: Picture, name: str) -> Path:
    return folder / FIGURE_FOLDER / f"{picture.row}_{name.replace('/', '-')}.npy"


class Canvas:
    """Figure with rows of equally wide panels, placed in inches from the top."""

    def __init__(self, columns: int, heights: Sequence[float], lines: int) -> None:
        """Make an empty figure.

        Args:
            columns: number of panels in a row.
            heights: height of each row's panels, divided by their width.
            lines: number of lines of the longest title.
        """
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self._heights = [PANEL * h for h in heights]
        self._title = MARGIN + LINE * lines
        self._size = (
            (PANEL + GAP) * columns + GAP,
            sum(h + self._title for h in self._heights) + FOOT,
        )
        self._figure = Figure(figsize=self._size)
        FigureCanvasAgg(self._figure)

    def panel(self, row: int, column: int) -> Any:
        """Add a panel and return its axes, which have no frame."""
        width, height = self._size
        bottom = height - sum(h + self._title for h in self._heights[: row + 1])
        left = GAP + column * (PANEL + GAP)
        place = (left / width, bottom / height, PANEL / width, self._heights[row] / height)
        axes = self._figure.add_axes(place)
        axes.set(xticks=[], yticks=[])  # titles are placed by ticks too, even invisible ones
        axes.set_axis_off()
        return axes

    def save(self, target: Path) -> Path:
        """Write the PNG atomically and return its path."""
        place = 0.3 * FOOT / self._size[1]
        self._figure.text(0.5, place, NOTICE, ha="center")
        with atomic_output(target, overwrite=True) as path:
            self._figure.savefig(path, dpi=110, format="png")
        return target


def write_figure(folder: Path, pictures: Sequence[Picture], methods: Sequence[str]) -> Path:
    """Write the picture of an evaluation as a PNG and return its path.

    Columns are the ground truth and the methods. The error is below each reconstruction, and the
    measurement below the ground truth. The images of a slice share a display window, and so do its
    errors. Slices have radiological orientation if their position in the patient is known. Titles
    give the PSNR of the slice, with its own maximum as data range.
    """
    rows = [load_panels(folder, picture, methods) for picture in pictures]
    heights = [h for row in rows for h in [row.relative_height] * 2]
    canvas = Canvas(1 + len(methods), heights, title_lines(methods))
    for number, (picture, row) in enumerate(zip(pictures, rows, strict=True)):
        top, bottom = (
            [canvas.panel(2 * number + line, column) for column in range(1 + len(methods))]
            for line in range(2)
        )
        _draw(top, bottom, picture, row.pixels, methods)
        label_edges(top[0], row.display)
    return canvas.save(folder / FIGURE_FILE)


@dataclass(frozen=True)
class Panels:
    """Images of a slice to show.

    Attributes:
        pixels: magnitudes by name (truth, measurement, methods), in the orientation of display.
        display: orientation; as stored if the slice's position in the patient is unknown.
    """

    pixels: dict[str, np.ndarray]
    display: Display

    @property
    def relative_height(self) -> float:
        """Height of the slice's panels divided by their width."""
        rows, columns = self.pixels[TRUTH].shape
        return self.display.aspect * rows / columns


def load_panels(folder: Path, picture: Picture, methods: Sequence[str]) -> Panels:
    """Load truth, measurement and every method of a picture.

    Raises MRCascadeError if a file is missing.
    """
    display = AS_STORED
    if _pixels(folder, picture, STEPS).exists():
        display = radiological(load_pixels(folder, picture, STEPS))
    names = (TRUTH, MEASURED, *methods)
    pixels = {n: display.turn(comparable(load_pixels(folder, picture, n))) for n in names}
    return Panels(pixels, display)


def load_pixels(folder: Path, picture: Picture, name: str) -> np.ndarray:
    """Load pixels that `keep_pixels` stored. Raises MRCascadeError if they are missing."""
    path = _pixels(folder, picture, name)
    check_regular(path)
    try:
        pixels: np.ndarray = np.load(path)
        return pixels
    except (OSError, ValueError) as error:
        raise MRCascadeError(
            f"{folder / FIGURE_FOLDER}: what the picture shows is gone ({error}); add --overwrite"
            " to evaluate again"
        ) from error


def _draw(
    top: Sequence[Any],
    bottom: Sequence[Any],
    picture: Picture,
    pixels: dict[str, np.ndarray],
    methods: Sequence[str],
) -> None:
    truth, low = pixels[TRUTH], pixels[MEASURED]
    window = display_window(truth)
    errors = {m: np.abs(pixels[m] - truth) for m in methods}
    limit = error_limit(list(errors.values())) or window  # 0 if every error is zero
    show(top[0], truth, window, f"{title(picture)}: truth")
    show(bottom[0], low, window, f"measured, {low.shape[0]} x {low.shape[1]}")
    for column, method in enumerate(methods, start=1):
        show(top[column], pixels[method], window, method_title(method, truth, pixels[method]))
        show_error(bottom[column], errors[method], limit, window)


def display_window(truth: np.ndarray) -> float:
    """Return the intensity that is displayed as white; 0 is black."""
    return robust_maximum(truth) or largest_magnitude(truth)


def error_limit(errors: Sequence[np.ndarray]) -> float:
    """Return the upper end of the error display; larger errors look the same."""
    return max(float(np.quantile(np.abs(e), ERROR_QUANTILE)) for e in errors)


def title(picture: Picture) -> str:
    """Return file and plane for a panel's title."""
    return f"{short_name(picture.file)}\n{picture.label or f'slice {picture.number}'}"


def method_title(method: str, truth: np.ndarray, image: np.ndarray) -> str:
    """Return a method's name, wrapped, and its PSNR."""
    return f"{wrapped(method)}\n{psnr(truth, image, largest_magnitude(truth)):.2f} dB"


def title_lines(names: Sequence[str]) -> int:
    """Return the number of lines of the longest title: a wrapped name and one more line."""
    return 2 + max(wrapped(name).count("\n") for name in names)


def wrapped(name: str) -> str:
    """Wrap the name of a method or a file into lines that fit above a panel."""
    return "\n".join(wrap(re.sub(":(?! )", ": ", name), TITLE_WIDTH))


def show(axes: Any, image: np.ndarray, window: float, text: str) -> None:
    """Draw a magnitude image without interpolation; it fills the panel."""
    axes.imshow(image, cmap="gray", vmin=0, vmax=window, interpolation="nearest", aspect="auto")
    axes.set_title(plain(text), fontsize=8)


def show_error(axes: Any, error: np.ndarray, limit: float, window: float) -> None:
    """Draw an absolute error, with its range in the title; it fills the panel."""
    axes.imshow(error, cmap="magma", vmin=0, vmax=limit, interpolation="nearest", aspect="auto")
    axes.set_title(f"|error|, 0 to {limit / window:.1%} of the window", fontsize=8)
