"""The picture of an evaluation: a few slices, every method, and the error of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.data import short_name, spread
from mrcascade.evaluation.ledger import FIGURE_FILE, FIGURE_FOLDER
from mrcascade.evaluation.metrics import comparable, largest_magnitude, psnr
from mrcascade.intensity import robust_maximum
from mrcascade.io import atomic_output

SLICES = 4
TRUTH, MEASURED = "truth", "measured"
_PANEL, _GAP, _TITLE = 2.5, 0.06, 0.42  # inches: width of a panel, between, room for its title
_ERROR_QUANTILE = 0.995


@dataclass(frozen=True)
class Picture:
    """A slice to show: ``row`` of the figure, ``file``, ``number`` in it."""

    row: int
    file: str
    number: int


def choose_pictures(
    files: Sequence[tuple[str, str, np.ndarray]], count: int = SLICES
) -> list[Picture]:
    """``count`` slices of (file, anatomy, slice numbers), shared out among anatomies, then files,
    each from the middle of what it stands for."""
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
    """Store what one panel shows, for this run or the one that goes on after it."""
    with atomic_output(_pixels(folder, picture, name), overwrite=True) as path:
        np.save(path, pixels)


def _pixels(folder: Path, picture: Picture, name: str) -> Path:
    return folder / FIGURE_FOLDER / f"{picture.row}_{name.replace('/', '-')}.npy"


def write_figure(folder: Path, pictures: Sequence[Picture], methods: Sequence[str]) -> Path:
    """PNG: columns ground truth and methods; below each reconstruction its error, below the
    ground truth the measurement. The panels of a slice share one display window, and its errors
    another. PSNR in the titles is that of the slice, with the slice's maximum as data range."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [_load(folder, picture, methods) for picture in pictures]
    heights = [_PANEL * row[TRUTH].shape[0] / row[TRUTH].shape[1] for row in rows]
    width = (_PANEL + _GAP) * (1 + len(methods)) + _GAP
    height = 2 * sum(h + _TITLE for h in heights) + _TITLE
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    bottom = height
    for picture, pixels, panel in zip(pictures, rows, heights, strict=True):
        lines = []
        for _ in range(2):
            bottom -= panel + _TITLE
            lines.append(
                [
                    _panel(figure, _GAP + column * (_PANEL + _GAP), bottom, panel)
                    for column in range(1 + len(methods))
                ]
            )
        _draw(lines[0], lines[1], picture, pixels, methods)
    figure.text(0.5, 0.3 * _TITLE / height, "research software, not for diagnosis", ha="center")
    target = folder / FIGURE_FILE
    with atomic_output(target, overwrite=True) as path:
        figure.savefig(path, dpi=110, format="png")
    return target


def _panel(figure: Any, left: float, bottom: float, height: float) -> Any:
    """Axes without frame at a place in inches, as wide as a panel."""
    width, total = figure.get_size_inches()
    axes = figure.add_axes((left / width, bottom / total, _PANEL / width, height / total))
    axes.set(xticks=[], yticks=[])  # placing a title measures even ticks that are not drawn
    axes.set_axis_off()
    return axes


def _load(folder: Path, picture: Picture, methods: Sequence[str]) -> dict[str, np.ndarray]:
    paths = {n: _pixels(folder, picture, n) for n in (TRUTH, MEASURED, *methods)}
    try:
        return {name: comparable(np.load(path)) for name, path in paths.items()}
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
    data_range = largest_magnitude(truth)
    window = robust_maximum(truth) or data_range
    errors = {m: np.abs(pixels[m] - truth) for m in methods}
    limit = max(float(np.quantile(e, _ERROR_QUANTILE)) for e in errors.values())
    limit = limit or window  # where every error is zero
    for axis, image in ((top[0], truth), (bottom[0], low)):
        axis.imshow(image, cmap="gray", vmin=0, vmax=window, interpolation="nearest")
    top[0].set_title(f"{short_name(picture.file)}\nslice {picture.number}: truth", fontsize=8)
    bottom[0].set_title(f"measured, {low.shape[0]} x {low.shape[1]}", fontsize=8)
    for column, method in enumerate(methods, start=1):
        image = pixels[method]
        top[column].imshow(image, cmap="gray", vmin=0, vmax=window, interpolation="nearest")
        top[column].set_title(f"{method}\n{psnr(truth, image, data_range):.2f} dB", fontsize=8)
        bottom[column].imshow(
            errors[method], cmap="magma", vmin=0, vmax=limit, interpolation="nearest"
        )
        bottom[column].set_title(f"|error|, 0 to {limit / window:.1%} of the window", fontsize=8)
