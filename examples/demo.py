"""Super-resolve a real brain slice 4x and compare with what was measured away.

The slice is a T1-weighted coronal image that the package dipy brings along. Its k-space is
cropped to a quarter per axis, without noise; the prior restores it. Writes a picture and a table
into the folder given on the command line.

    python examples/demo.py demo
"""

from __future__ import annotations

import sys
import time
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from mrcascade import CascadePrior, SeparableOperator, super_resolve
from mrcascade.restore import relative_residual

FACTOR = 4
SAMPLES = 4
HEAD = (slice(36, 180), slice(44, 214))
INSET = (slice(80, 144), slice(112, 176))


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    truth = np.load(str(files("dipy") / "data/files/t1_coronal_slice.npy")).astype(np.float32)
    operator = SeparableOperator.from_kernel("fourier", FACTOR, truth.shape)
    measured = operator(torch.from_numpy(truth)).numpy()
    prior = CascadePrior.from_pretrained("mr-small")

    started = time.perf_counter()
    zero_filled = operator.pinv(torch.from_numpy(measured)).numpy()
    zero_seconds = time.perf_counter() - started
    mean = super_resolve(measured, operator, prior, noise=0.0)
    drawn = super_resolve(
        measured,
        operator,
        prior,
        noise=0.0,
        samples=SAMPLES,
        batch_size=SAMPLES,
    )
    rows = [
        ("zero filling (sinc)", zero_filled, zero_seconds, 0),
        ("posterior mean", mean.mean, mean.seconds, sum(mean.evaluations.values())),
        ("one posterior sample", drawn.sample, drawn.seconds / SAMPLES, _count(drawn)),
        (f"mean of {SAMPLES} samples", drawn.mean, drawn.seconds, SAMPLES * _count(drawn)),
    ]
    table = write_table(folder / "table.md", rows, truth, measured, operator, prior.name)
    write_picture(folder / "demo.png", rows, truth, measured, drawn.std)
    print(table)
    print(f"pictures and table: {folder}/demo.png, {folder}/table.md")


def _count(result) -> int:
    return sum(result.evaluations.values())


def write_table(path, rows, truth, measured, operator, prior: str) -> str:
    """Quality against the full-resolution slice; its maximum is the data range."""
    span = float(truth.max())
    lines = [
        f"T1-weighted coronal slice, {truth.shape[0]}x{truth.shape[1]}, {FACTOR}x, kernel fourier,"
        f" noise-free, prior {prior}; data range: the slice's maximum.",
        "",
        "| method | PSNR (dB) | SSIM | residual | evaluations | seconds |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, image, seconds, evaluations in rows:
        psnr = _psnr(truth, image)
        ssim = structural_similarity(truth, image, data_range=span)
        residual = relative_residual(image[None], measured[None], operator)[0]
        lines.append(
            f"| {name} | {psnr:.2f} | {ssim:.4f} | {residual:.0e} | {evaluations} | {seconds:.2f} |"
        )
    lines += ["", "Research software; not for diagnosis."]
    text = "\n".join(lines) + "\n"
    path.write_text(text)
    return text


def write_picture(path, rows, truth, measured, std) -> None:
    """Columns: zero filling, posterior mean, one sample, truth. Rows: image, detail, error."""
    span = float(truth.max())
    panels = [(name, image) for name, image, *_ in rows[:3]] + [("full resolution (truth)", truth)]
    figure = Figure(figsize=(3.0 * len(panels), 9.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(3, len(panels))
    for (top, middle, bottom), (name, image) in zip(axes.T, panels, strict=True):
        top.imshow(image[HEAD], cmap="gray", vmin=0, vmax=span)
        top.set_title(name if image is truth else f"{name}\n{_psnr(truth, image):.2f} dB")
        middle.imshow(image[INSET], cmap="gray", vmin=0, vmax=span, interpolation="nearest")
        error = std if image is truth else np.abs(image - truth)
        bottom.imshow(error[HEAD], cmap="magma", vmin=0, vmax=0.15 * span)
        what = f"standard deviation of {SAMPLES} samples" if image is truth else "absolute error"
        bottom.set_title(what, fontsize=9)
    for axis in axes.flat:
        axis.set_axis_off()
    figure.suptitle(
        f"measured: {measured.shape[0]} x {measured.shape[1]}, restored {FACTOR}x;"
        " research software, not for diagnosis",
        fontsize=10,
    )
    figure.savefig(path, dpi=90)


def _psnr(truth, image) -> float:
    return peak_signal_noise_ratio(truth, image, data_range=float(truth.max()))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
