"""Preview of a result: its slice, panels and titles."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mrcascade.arrays.factors import factor_label
from mrcascade.arrays.intensity import EMPTY, Intensity
from mrcascade.io import Display, SliceStore, StackOrder
from mrcascade.jobs.measured import Measured
from mrcascade.jobs.request import SuperResolution
from mrcascade.operators.baselines import interpolated, interpolation_name
from mrcascade.pictures.preview import Panel, write_preview
from mrcascade.recipes.modes import default_mode

ARBITRARY_UNIT = "a.u."
# BIDS's unit of intensities without a physical unit.
_NO_UNIT = ("", "arbitrary", "a.u.")


def shown_slice(measured: SliceStore, intensity: Intensity) -> int:
    """Return the number of the middle slice among those that are not air.

    A slice is air if its mean magnitude is below ``EMPTY`` of the volume's robust maximum.
    """
    slices = (intensity.above_zero(measured.read(i, i + 1)) for i in range(len(measured)))
    means = [float(np.abs(one).mean()) for one in slices]
    filled = np.flatnonzero(np.array(means) > EMPTY * intensity.scale)
    return int(filled[len(filled) // 2]) if len(filled) else len(measured) // 2


def draw_preview(
    path: Path,
    job: SuperResolution,
    measured: Measured,
    stores: Mapping[str, SliceStore],
    display: Display,
    plane: str,
    unit: str = ARBITRARY_UNIT,
) -> None:
    """Write the preview of a result as a PNG.

    Args:
        path: name of the file.
        job: the job that made the result.
        measured: the measurement.
        stores: slices by "result", "sample" and "std".
        display: orientation in which slices are drawn.
        plane: name of their plane.
        unit: unit of the intensities.
    """
    slices, intensity = measured.slices, measured.intensity
    number = shown_slice(slices, intensity)
    low = slices.read(number, number + 1)
    pixels = {key: store.read(number, number + 1)[0] for key, store in stores.items()}
    kind = interpolation_name(job.kernel)
    (h, w), (rows, columns) = (display.turn(p).shape for p in (low[0], pixels["result"]))
    result = "result" if job.samples == 1 else f"result, mean of {job.samples} samples"
    titles = {
        "result": f"{result}: {rows} x {columns}",
        "sample": "one of the samples",
        "std": f"standard deviation of {job.samples} samples",
    }
    filled = interpolated(low, measured.plan.operator, job.kernel)[0]
    panels = [Panel(f"input, {kind}: {h} x {w}", filled)]
    panels += [Panel(titles[k], pixels[k], k == "std") for k in titles if k in pixels]
    title = f"{_request(job)}\n{_place(slices.order, number, plane)}"
    unit = ARBITRARY_UNIT if unit in _NO_UNIT else unit
    write_preview(path, panels, low.shape[1:], display, title, unit, intensity.zero)


def _request(job: SuperResolution) -> str:
    asked = default_mode(job.samples) if job.mode is None else job.mode
    name, _, changes = (asked if isinstance(asked, str) else asked.name).partition(":")
    mode = f"{name} with changed settings" if changes else name
    steps = "" if job.steps is None else f", {job.steps} steps"
    return f"Super-resolved {factor_label(job.factor)} ({job.kernel}), mode {mode}{steps}"


def _place(order: StackOrder, number: int, plane: str) -> str:
    """Name a slice: "axial slice 5 of 9", and its volume if there is a fourth dimension."""
    counts = [order.shape[axis] for axis in order.outer]
    index = np.unravel_index(number, counts) if counts else ()
    names = ["volume", "slice"] if len(counts) == 2 else ["slice"] * len(counts)
    parts = [f"{n} {i + 1} of {c}" for n, i, c in zip(names, index, counts, strict=True)]
    known = [] if plane == "unknown" else [plane]
    return " ".join([*known, ", ".join(reversed(parts)) or "slice"])
