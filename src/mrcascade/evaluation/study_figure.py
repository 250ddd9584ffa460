"""The figures of a study: predicted difference images, and enlarged details with their errors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import uniform_filter

from mrcascade.evaluation.baselines import zero_filled
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
    relative_height,
    show,
    show_error,
    title,
    title_lines,
    wrapped,
)
from mrcascade.evaluation.job import Evaluation
from mrcascade.evaluation.metrics import comparable
from mrcascade.operators import SeparableOperator

_DETAIL = 5  # an enlarged detail shows this part of the sides
_INSET = 0.45  # of the panel, covered by the enlarged detail


def draw_difference(
    folder: Path, pictures: Sequence[Picture], method: str, job: Evaluation, target: Path
) -> Path:
    """PNG, a row per slice: up(y), the difference image that ``method`` predicts, their sum, the
    true difference image, the truth (figure 3 of the paper). up(y) is the minimum-norm image."""
    rows = [load_panels(folder, picture, [method]) for picture in pictures]
    names = [title(picture).replace("\n", ", ") + ": up(y)" for picture in pictures]
    canvas = Canvas(5, [relative_height(pixels) for pixels in rows], title_lines([*names, method]))
    for number, (picture, pixels) in enumerate(zip(pictures, rows, strict=True)):
        truth, image = pixels[TRUTH], pixels[method]
        operator = SeparableOperator.from_kernel(job.kernel, job.factor, truth.shape)
        low = load_pixels(folder, picture, MEASURED)  # complex ones with their phase
        coarse = comparable(zero_filled(low[None], operator)[0])
        panels = [canvas.panel(number, column) for column in range(5)]
        window = display_window(truth)
        limit = error_limit([truth - coarse, image - coarse]) or window
        show(panels[0], coarse, window, method_title(names[number], truth, coarse))
        predicted = f"predicted difference\n{wrapped(method)}"
        _show_difference(panels[1], image - coarse, limit, predicted)
        show(panels[2], image, window, method_title(method, truth, image))
        _show_difference(panels[3], truth - coarse, limit, "true difference")
        show(panels[4], truth, window, "truth")
    return canvas.save(target)


def draw_errors(
    folder: Path, pictures: Sequence[Picture], methods: Sequence[str], target: Path
) -> Path:
    """PNG, two rows per slice: truth and methods, each with an enlarged detail in its corner, and
    below them measurement and errors (figure 4 of the paper). The detail is where the truth has
    most of what the measurement lacks."""
    rows = [load_panels(folder, picture, methods) for picture in pictures]
    heights = [h for p in rows for h in [relative_height(p)] * 2]
    canvas = Canvas(1 + len(methods), heights, title_lines(methods))
    for number, (picture, pixels) in enumerate(zip(pictures, rows, strict=True)):
        truth, low = pixels[TRUTH], pixels[MEASURED]
        window, place = display_window(truth), busiest(truth, low.shape)
        errors = {m: np.abs(pixels[m] - truth) for m in methods}
        limit = error_limit(list(errors.values())) or window
        top = canvas.panel(2 * number, 0)
        show(top, truth, window, f"{title(picture)}: truth")
        _enlarge(top, truth, place, window)
        bottom = canvas.panel(2 * number + 1, 0)
        show(bottom, low, window, f"measured, {low.shape[0]} x {low.shape[1]}")
        for column, method in enumerate(methods, start=1):
            top = canvas.panel(2 * number, column)
            show(top, pixels[method], window, method_title(method, truth, pixels[method]))
            _enlarge(top, pixels[method], place, window)
            show_error(canvas.panel(2 * number + 1, column), errors[method], limit, window)
    return canvas.save(target)


def _show_difference(axes: Any, image: np.ndarray, limit: float, text: str) -> None:
    axes.imshow(image, cmap="gray", vmin=-limit, vmax=limit, interpolation="nearest")
    axes.set_title(text, fontsize=8)


def busiest(truth: np.ndarray, measured: tuple[int, ...]) -> tuple[slice, slice]:
    """The window in which the truth has most energy above the measurement's frequencies."""
    spectrum = np.fft.fft2(truth)
    rows, columns = (
        np.abs(np.fft.fftfreq(n)) * n < m / 2 for n, m in zip(truth.shape, measured, strict=True)
    )
    fine = np.fft.ifft2(spectrum * ~(rows[:, None] & columns[None])).real
    sides = tuple(max(1, n // _DETAIL) for n in truth.shape)
    energy = uniform_filter(fine**2, sides, mode="constant")
    inside = tuple(
        slice(s // 2, n - (s - s // 2) + 1) for n, s in zip(truth.shape, sides, strict=True)
    )
    peak = np.unravel_index(np.argmax(energy[inside]), energy[inside].shape)
    top, left = (int(p) for p in peak)  # the centre at s // 2 is the window that starts at 0
    return slice(top, top + sides[0]), slice(left, left + sides[1])


def _enlarge(axes: Any, image: np.ndarray, place: tuple[slice, slice], window: float) -> None:
    from matplotlib.patches import Rectangle

    rows, columns = place
    corner = (columns.start - 0.5, rows.start - 0.5)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor="yellow", linewidth=0.6))
    # In the corner farthest from the detail; rows count downwards.
    left = 0.0 if corner[0] + size[0] / 2 > image.shape[1] / 2 else 1 - _INSET
    bottom = 1 - _INSET if corner[1] + size[1] / 2 > image.shape[0] / 2 else 0.0
    inset = axes.inset_axes((left, bottom, _INSET, _INSET))
    inset.imshow(image[place], cmap="gray", vmin=0, vmax=window, interpolation="nearest")
    inset.set(xticks=[], yticks=[])
    for spine in inset.spines.values():
        spine.set(edgecolor="yellow", linewidth=0.6)
