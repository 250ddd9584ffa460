"""Preview of a result: its slice or its planes, panels and titles."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mrcascade.arrays.factors import factor_label
from mrcascade.arrays.intensity import EMPTY, Intensity
from mrcascade.io import Display, SliceStore, Source, StackOrder, display_of, plane_name
from mrcascade.jobs.derivation import changed_grid
from mrcascade.jobs.measured import Measured
from mrcascade.jobs.opened import Geometry
from mrcascade.jobs.request import SuperResolution
from mrcascade.measurement.thick import SliceGrid
from mrcascade.operators.baselines import interpolated, interpolation_name
from mrcascade.pictures.preview import Panel, write_preview
from mrcascade.pictures.reformatted import Reformatted, write_reformatted
from mrcascade.recipes.modes import default_mode
from mrcascade.restore.volume import ThickSlices, least_squares

ARBITRARY_UNIT = "a.u."
# BIDS's unit of intensities without a physical unit.
NO_UNIT = ("", "arbitrary", "a.u.")


def shown_slice(measured: SliceStore, intensity: Intensity) -> int:
    """Return the number of the middle slice among those that are not air.

    A slice is air if its mean magnitude is below ``EMPTY`` of the volume's robust maximum.
    """
    slices = (intensity.above_zero(measured.read(i, i + 1)) for i in range(len(measured)))
    means = [float(np.abs(one).mean()) for one in slices]
    return _middle(np.array(means), intensity)


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
    filled = interpolated(low, measured.geometry.operator, job.kernel)[0]
    panels = [Panel(f"input, {kind}: {h} x {w}", filled)]
    panels += [Panel(titles[k], pixels[k], k == "std") for k in titles if k in pixels]
    title = f"{_request(job)}\n{slice_place(slices.order, number, plane)}"
    unit = ARBITRARY_UNIT if unit in NO_UNIT else unit
    write_preview(path, panels, low.shape[1:], display, title, unit, intensity.zero)


def draw_volume_preview(
    path: Path,
    job: SuperResolution,
    source: Source,
    measured: Measured,
    slices: SliceStore,
    thick: ThickSlices,
    stores: Mapping[str, SliceStore],
    unit: str = ARBITRARY_UNIT,
) -> None:
    """Write the preview of a volume whose slices became thinner as a PNG.

    It shows the two planes that contain the slice axis, through the middle of the anatomy of the
    first volume: the slices as they are, least squares, the result, the standard deviation.

    Args:
        path: name of the file.
        job: the job that made the result.
        source: the input.
        measured: the measurement.
        slices: the slices that the result meets.
        thick: how they see it.
        stores: slices of the result by "result", "sample" and "std".
        unit: unit of the intensities.
    """
    geometry, intensity = measured.geometry, measured.intensity
    grid, affine = geometry.slices, geometry.result_affine()
    assert grid is not None  # the job makes slices thinner
    y = slices.read(0, thick.slices)
    nearest = (2 * np.arange(thick.samples) + 1) * thick.slices // (2 * thick.samples)
    size = f"{grid.distance:.3g} mm apart"
    result = "result" if job.samples == 1 else f"mean of {job.samples} samples"
    titles = {"result": result, "std": f"standard deviation of {job.samples} samples"}
    planes = []
    for axis in (2, 1):  # of the volume (slices, rows, columns)
        number = _middle(np.abs(intensity.above_zero(y)).mean((0, 3 - axis)), intensity)
        low = np.take(y, number, axis)[..., None]
        panels = [Panel(f"{thick.slices} slices, {size}", low[nearest, :, 0])]
        if not job.least_squares or job.combine is not None:
            alone = "first stack, least squares" if job.combine else "least squares, no prior"
            panels.append(Panel(alone, least_squares(low, thick)[..., 0]))
        for key, title in titles.items():
            if key in stores:
                pixels = _plane(stores[key], thick.samples, axis, number)
                panels.append(Panel(title, pixels, key == "std"))
        display = display_of(source, (grid.axis, geometry.axes[2 - axis]), affine)
        planes.append(Reformatted(panels, display))
    title = f"{_request(job)}\n{_described(source, geometry, grid)}"
    unit = ARBITRARY_UNIT if unit in NO_UNIT else unit
    about = f"{grid.profile.name} profile {grid.thickness:.4g} mm thick"
    write_reformatted(path, planes, title, about, unit, intensity.zero)


def _middle(means: np.ndarray, intensity: Intensity) -> int:
    """Return the middle of the places whose mean magnitude is not that of air."""
    filled = np.flatnonzero(means > EMPTY * intensity.scale)
    return int(filled[len(filled) // 2]) if len(filled) else len(means) // 2


def _plane(store: SliceStore, count: int, axis: int, number: int) -> np.ndarray:
    """Return a plane of the first ``count`` slices, across ``axis`` of (slices, rows, columns)."""
    return np.stack([np.take(store.read(i, i + 1)[0], number, axis - 1) for i in range(count)])


def _described(source: Source, geometry: Geometry, grid: SliceGrid) -> str:
    names = [plane_name(source, (grid.axis, axis)) for axis in geometry.axes]
    known = " and ".join(dict.fromkeys(name for name in names if name != "unknown"))
    return (
        f"{known or 'both'} planes, slices {grid.distance:.4g} mm apart become {grid.spacing:.4g}"
        " mm"
    )


def _request(job: SuperResolution) -> str:
    asked = default_mode(job.samples) if job.mode is None else job.mode
    name, _, changes = (asked if isinstance(asked, str) else asked.name).partition(":")
    mode = f"{name} with changed settings" if changes else name
    steps = "" if job.steps is None else f", {job.steps} steps"
    made = changed_grid(job, f"super-resolved {factor_label(job.factor)} ({job.kernel})")
    return f"{made[0].upper()}{made[1:]}, mode {mode}{steps}"


def slice_place(order: StackOrder, number: int, plane: str) -> str:
    """Name a slice: "axial slice 5 of 9", and its volume if there is a fourth dimension."""
    counts = [order.shape[axis] for axis in order.outer]
    index = np.unravel_index(number, counts) if counts else ()
    names = ["volume", "slice"] if len(counts) == 2 else ["slice"] * len(counts)
    parts = [f"{n} {i + 1} of {c}" for n, i, c in zip(names, index, counts, strict=True)]
    known = [] if plane == "unknown" else [plane]
    return " ".join([*known, ", ".join(reversed(parts)) or "slice"])
