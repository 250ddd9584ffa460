"""Loss plot of a run, drawn from its JSONL logs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mrcascade.io import atomic_output
from mrcascade.pictures.drawing import plain
from mrcascade.training.log import VALIDATION, Record, log_file, read_log

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLOT_FILE = "loss.png"
LOSSES = {  # entry of a record -> its name in the figure
    "loss": "minimised loss",
    "weighted_error": "weighted denoising error",
    "regression": "regression branch",
}
REGRESSIONS = {
    "mean": "regression branch",
    "mean_degraded": "the same, condition\nhalf degraded",
}


def plot_losses(folder: Path, levels: int) -> Path | None:
    """Draw ``folder / "loss.png"``: losses and validation errors of every level with a log.

    Returns its path, or None if there is nothing to draw yet.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    logs = {i: read_log(log_file(folder, i)) for i in range(1, levels + 1)}
    drawn = {i: records for i, records in logs.items() if records}
    if not drawn:
        return None
    figure = Figure(figsize=(12.5, 3.7 * len(drawn)), layout="constrained")
    FigureCanvasAgg(figure)
    for (level, records), (left, right) in zip(
        drawn.items(), figure.subplots(len(drawn), 2, squeeze=False), strict=True
    ):
        _training(left, level, records)
        _validation(right, level, records)
    path = folder / PLOT_FILE
    with atomic_output(path, overwrite=True) as temporary:
        figure.savefig(temporary, dpi=100, format="png")
    return path


def _training(axes: Axes, level: int, records: list[Record]) -> None:
    for key, label in LOSSES.items():
        rows = [r for r in records if key in r]
        if rows:
            images = [r["images"] / 1000 for r in rows]
            axes.plot(images, [r[key] for r in rows], marker="o", markersize=3, label=label)
    _finish(axes, f"level {level}: training loss", "mean since the last record")


def _validation(axes: Axes, level: int, records: list[Record]) -> None:
    """Draw errors of the first EMA profile, divided by those of a pixelwise Wiener filter.

    The filter's error over the band's energy is s^2 / (1 + s^2). All noise levels then share one
    linear axis, on which 1 means that nothing was learned. For the regression branch, which has no
    noisy image of the band, the reference is the energy itself.
    """
    from matplotlib import colormaps

    key = next((k for k in records[-1] if k.startswith(VALIDATION)), None)
    rows = [r for r in records if key in r]
    if key is None or not rows:
        axes.text(0.5, 0.5, "no validation data", ha="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    names = list(rows[-1][key])
    noise = {name: float(name[1:]) for name in names if name.startswith("s")}
    images = [r["images"] / 1000 for r in rows]
    for rank, (name, s) in enumerate(noise.items()):
        relative = [r[key][name] * (1 + s**2) / s**2 for r in rows]
        colour = colormaps["viridis"](rank / len(noise))
        axes.plot(images, relative, color=colour, marker="o", markersize=3, label=f"noise {s:g}")
    for name in names:
        if name not in noise:
            style = "k--o" if name.endswith("degraded") else "k-o"
            label = REGRESSIONS.get(name, name)
            axes.plot(images, [r[key][name] for r in rows], style, markersize=3, label=label)
    title = f"level {level}: validation, EMA {key.removeprefix(VALIDATION)}"
    _finish(axes, title, "error / pixelwise Wiener filter")


def _finish(axes: Axes, title: str, quantity: str) -> None:
    axes.set_title(plain(title), fontsize=11)
    axes.set_xlabel("training patches / 1000")
    axes.set_ylabel(quantity)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
