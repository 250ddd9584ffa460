"""Figures of a study: predicted difference images, and enlarged details with their errors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrcascade.evaluation.figure import (
    MEASURED,
    TRUTH,
    Canvas,
    Picture,
    display_window,
    error_limit,
    load_panels,
    load_pixels,
    method_title,
    show,
    show_error,
    title,
    title_lines,
    wrapped,
)
from mrcascade.evaluation.job import Evaluation
from mrcascade.evaluation.metrics import comparable
from mrcascade.operators import SeparableOperator
from mrcascade.operators.baselines import zero_filled
from mrcascade.pictures.detail import busiest
from mrcascade.pictures.drawing import FRAME, frame, label_edges, plain

_COLUMNS = 5  # more panels beside each other are too small to read
_DETAIL = 5  # side of the image over the side of its enlarged detail
_INSET = 0.45  # share of the panel's side that the enlarged detail covers


def draw_difference(
    folder: Path, picture: Picture, method: str, job: Evaluation, target: Path
) -> Path:
    """Draw predicted and true difference images of one slice as a PNG (Thaker et al., figure 3).

    The row shows up(y), the difference image that ``method`` predicts, their sum, the true
    difference image and the truth. up(y) is the minimum-norm image of y. Returns the path.
    """
    row = load_panels(folder, picture, [method])
    name = title(picture).replace("\n", ", ") + ": up(y)"
    canvas = Canvas(_COLUMNS, [row.relative_height], title_lines([name, method]))
    truth, image = row.pixels[TRUTH], row.pixels[method]
    stored = load_pixels(folder, picture, TRUTH).shape
    operator = SeparableOperator.from_kernel(job.kernel, job.factor, stored)
    low = load_pixels(folder, picture, MEASURED)  # complex if the images are
    coarse = row.display.turn(comparable(zero_filled(low[None], operator)[0]))
    panels = [canvas.panel(0, column) for column in range(_COLUMNS)]
    window = display_window(truth)
    limit = error_limit([truth - coarse, image - coarse]) or window
    show(panels[0], coarse, window, method_title(name, truth, coarse))
    _show_difference(panels[1], image - coarse, limit, f"predicted difference\n{wrapped(method)}")
    show(panels[2], image, window, method_title(method, truth, image))
    _show_difference(panels[3], truth - coarse, limit, "true difference")
    show(panels[4], truth, window, "truth")
    label_edges(panels[4], row.display)
    return canvas.save(target)


def draw_errors(folder: Path, picture: Picture, methods: Sequence[str], target: Path) -> Path:
    """Draw images and errors of methods on one slice as a PNG (Thaker et al., figure 4).

    Two rows show truth and methods, each with an enlarged detail, and below them measurement and
    errors. Further methods follow in two more rows, as a row has five columns. The detail lies
    where the truth has most energy that the measurement does not contain. Returns the path.
    """
    row = load_panels(folder, picture, methods)
    groups = [methods[i : i + _COLUMNS - 1] for i in range(0, len(methods), _COLUMNS - 1)]
    columns = 1 + max(map(len, groups))
    canvas = Canvas(columns, [row.relative_height] * (2 * len(groups)), title_lines(methods))
    pixels, truth, low = row.pixels, row.pixels[TRUTH], row.pixels[MEASURED]
    sides = max(1, truth.shape[0] // _DETAIL), max(1, truth.shape[1] // _DETAIL)
    window, place = display_window(truth), busiest(truth, low.shape, sides)
    errors = {m: np.abs(pixels[m] - truth) for m in methods}
    limit = error_limit(list(errors.values())) or window
    for number, group in enumerate(groups):
        top, bottom = 2 * number, 2 * number + 1
        panel = canvas.panel(top, 0)
        show(panel, truth, window, f"{title(picture)}: truth")
        _enlarge(panel, truth, place, window)
        label_edges(panel, row.display)
        show(canvas.panel(bottom, 0), low, window, f"measured, {low.shape[0]} x {low.shape[1]}")
        for column, method in enumerate(group, start=1):
            panel = canvas.panel(top, column)
            show(panel, pixels[method], window, method_title(method, truth, pixels[method]))
            _enlarge(panel, pixels[method], place, window)
            show_error(canvas.panel(bottom, column), errors[method], limit, window)
    return canvas.save(target)


def _show_difference(axes: Any, image: np.ndarray, limit: float, text: str) -> None:
    axes.imshow(image, cmap="gray", vmin=-limit, vmax=limit, interpolation="nearest", aspect="auto")
    axes.set_title(plain(text), fontsize=8)


def _enlarge(axes: Any, image: np.ndarray, place: tuple[slice, slice], window: float) -> None:
    frame(axes, place)
    row, column = ((part.start + part.stop - 1) / 2 for part in place)
    # The inset goes to the corner farthest from the detail; rows count downwards.
    left = 0.0 if column > image.shape[1] / 2 else 1 - _INSET
    bottom = 1 - _INSET if row > image.shape[0] / 2 else 0.0
    inset = axes.inset_axes((left, bottom, _INSET, _INSET))
    show(inset, image[place], window, "")
    inset.set(xticks=[], yticks=[])
    for spine in inset.spines.values():
        spine.set(edgecolor=FRAME, linewidth=0.7)
