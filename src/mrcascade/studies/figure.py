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

_DETAIL = 5  # side of the image over the side of its enlarged detail
_INSET = 0.45  # share of the panel's side that the enlarged detail covers


def draw_difference(
    folder: Path, pictures: Sequence[Picture], method: str, job: Evaluation, target: Path
) -> Path:
    """Draw predicted and true difference images as a PNG (Thaker et al., figure 3).

    A row per slice shows up(y), the difference image that ``method`` predicts, their sum, the true
    difference image and the truth. up(y) is the minimum-norm image of y. Returns the path.
    """
    rows = [load_panels(folder, picture, [method]) for picture in pictures]
    names = [title(picture).replace("\n", ", ") + ": up(y)" for picture in pictures]
    canvas = Canvas(5, [row.relative_height for row in rows], title_lines([*names, method]))
    for number, (picture, row) in enumerate(zip(pictures, rows, strict=True)):
        truth, image = row.pixels[TRUTH], row.pixels[method]
        stored = load_pixels(folder, picture, TRUTH).shape
        operator = SeparableOperator.from_kernel(job.kernel, job.factor, stored)
        low = load_pixels(folder, picture, MEASURED)  # complex if the images are
        coarse = row.display.turn(comparable(zero_filled(low[None], operator)[0]))
        panels = [canvas.panel(number, column) for column in range(5)]
        window = display_window(truth)
        limit = error_limit([truth - coarse, image - coarse]) or window
        show(panels[0], coarse, window, method_title(names[number], truth, coarse))
        predicted = f"predicted difference\n{wrapped(method)}"
        _show_difference(panels[1], image - coarse, limit, predicted)
        show(panels[2], image, window, method_title(method, truth, image))
        _show_difference(panels[3], truth - coarse, limit, "true difference")
        show(panels[4], truth, window, "truth")
        label_edges(panels[4], row.display)
    return canvas.save(target)


def draw_errors(
    folder: Path, pictures: Sequence[Picture], methods: Sequence[str], target: Path
) -> Path:
    """Draw images and errors of methods as a PNG (Thaker et al., figure 4).

    Two rows per slice show truth and methods, each with an enlarged detail, and below them
    measurement and errors. The detail lies where the truth has most energy that the measurement
    does not contain. Returns the path.
    """
    rows = [load_panels(folder, picture, methods) for picture in pictures]
    heights = [h for row in rows for h in [row.relative_height] * 2]
    canvas = Canvas(1 + len(methods), heights, title_lines(methods))
    for number, (picture, row) in enumerate(zip(pictures, rows, strict=True)):
        pixels, truth, low = row.pixels, row.pixels[TRUTH], row.pixels[MEASURED]
        sides = max(1, truth.shape[0] // _DETAIL), max(1, truth.shape[1] // _DETAIL)
        window, place = display_window(truth), busiest(truth, low.shape, sides)
        errors = {m: np.abs(pixels[m] - truth) for m in methods}
        limit = error_limit(list(errors.values())) or window
        top = canvas.panel(2 * number, 0)
        show(top, truth, window, f"{title(picture)}: truth")
        _enlarge(top, truth, place, window)
        label_edges(top, row.display)
        bottom = canvas.panel(2 * number + 1, 0)
        show(bottom, low, window, f"measured, {low.shape[0]} x {low.shape[1]}")
        for column, method in enumerate(methods, start=1):
            top = canvas.panel(2 * number, column)
            show(top, pixels[method], window, method_title(method, truth, pixels[method]))
            _enlarge(top, pixels[method], place, window)
            show_error(canvas.panel(2 * number + 1, column), errors[method], limit, window)
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
