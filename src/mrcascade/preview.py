"""The picture beside every result: input, result and standard deviation of one slice."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mrcascade.operators import LinearOperator


def write_preview(
    path: Path,
    measurement: np.ndarray,
    result: np.ndarray,
    std: np.ndarray | None,
    operator: LinearOperator,
    shape: float = 1.0,
) -> None:
    """PNG of one slice: measurement (h, w), result and std (H, W). The result has the display
    window of the input. shape: height of the image divided by its width, per pixel of the result.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [("input", measurement), ("result", result)]
    window = float(np.quantile(np.abs(measurement), 0.999)) or 1.0
    figure = Figure(figsize=(5 * (2 + (std is not None)), 5.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2 + (std is not None))
    for axis, (title, pixels) in zip(axes, panels, strict=False):
        rows, cols = pixels.shape
        axis.imshow(
            np.abs(pixels),
            cmap="gray",
            vmin=0,
            vmax=window,
            interpolation="nearest",
            aspect=shape * (result.shape[0] / rows) / (result.shape[1] / cols),
        )
        axis.set_title(f"{title}, {rows} x {cols}", fontsize=11)
    if std is not None:
        picture = axes[-1].imshow(std, cmap="magma", vmin=0, interpolation="nearest", aspect=shape)
        axes[-1].set_title("standard deviation of the samples", fontsize=11)
        figure.colorbar(picture, ax=axes[-1], shrink=0.75)
    for axis in axes:
        axis.set_axis_off()
    figure.supxlabel(f"{operator.name}; research software, not for diagnosis", fontsize=9)
    figure.savefig(path, dpi=100, format="png")
