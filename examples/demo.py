"""Super-resolve a real brain slice 4x and compare with what was measured away.

The slice is a T1-weighted coronal image that the package dipy brings along. Its k-space is cropped
to a quarter per axis, without noise; `mrcascade.super_resolve_file` restores it in three modes.
Writes the measurement, the results, a picture and a table into the folder given on the command
line, in about half a minute.

    python examples/demo.py demo
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from mrcascade import SeparableOperator, super_resolve_file
from mrcascade.cli.progress import ProgressBar
from mrcascade.io.file import image_file
from mrcascade.jobs.report import write_result_report
from mrcascade.pictures.report.head import check_report
from mrcascade.restore import relative_residual
from mrcascade.storage.outputs import begin_record

FACTOR = 4
SAMPLES = 8
PRIOR = "mr-small"
# Rows and columns of the whole brain, and of a detail.
BRAIN = (slice(28, 188), slice(48, 208))
INSET = (slice(80, 144), slice(112, 176))
FILES = ("measured.npy", "table.md", "demo.png", "demo.jpg")
LARGEST_ERROR = 0.15  # of the maximum; the brightest colour of the error maps
NEXT = """\
Look at {folder}/demo.png: the details in the middle row, and below them the errors beside the
standard deviation, which says where the samples disagree. {folder}/index.html is the report of
`mrcascade sr --report`; open it in a browser.
Next, your own image:
    mrcascade sr YOUR_IMAGE.nii.gz --factor 2"""


@dataclass(frozen=True)
class Result:
    """An image of the truth's size, and how it came about."""

    name: str
    image: np.ndarray
    seconds: float


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    begin_record(folder, "files.json", FILES)  # refuses a folder with other files of these names
    check_report(folder / "index.html", overwrite=True)
    truth = np.load(str(files("dipy") / "data/files/t1_coronal_slice.npy")).astype(np.float32)
    operator = SeparableOperator.from_kernel("fourier", FACTOR, truth.shape)
    measured = operator(torch.from_numpy(truth)).numpy()
    np.save(folder / "measured.npy", measured)
    print(f"measured {_size(measured)} of {_size(truth)} pixels", flush=True)

    begun = time.perf_counter()
    interpolated = operator.pinv(torch.from_numpy(measured)).numpy()
    results = [Result("interpolation (sinc)", interpolated, time.perf_counter() - begun)]
    results += restored(folder)
    std = np.load(folder / "samples_std.npy")

    table = table_of(results, truth, measured, operator)
    (folder / "table.md").write_text(table)
    write_picture(folder / "demo.png", results, truth, measured, std)
    write_report(folder, results, truth)
    print(f"\n{table}\npicture, table and report: {folder}/demo.png, table.md, index.html")
    print(NEXT.format(folder=folder))


def restored(folder: Path) -> Iterator[Result]:
    """Yield the result of each mode, whose files have the mode's name."""
    with closing(ProgressBar(fractions=True)) as bar:
        for name, options in (
            ("mean", {"mode": "mean"}),
            ("balanced", {"mode": "balanced"}),
            (f"{SAMPLES} samples", {"samples": SAMPLES, "batch_size": SAMPLES}),
        ):
            bar.say(f"restoring {FACTOR}x: {name}")
            begun, made = time.perf_counter(), folder / f"{name.split()[-1]}.npy"

            def progress(slices: int, name: str = name):
                bar.start(slices, name=name)
                return bar.at

            super_resolve_file(
                folder / "measured.npy",
                made,
                PRIOR,
                factor=FACTOR,
                noise=0.0,
                overwrite=True,
                progress=progress,
                **options,
            )
            bar.close()
            seconds = time.perf_counter() - begun
            if "samples" in options:
                sample = np.load(folder / "samples_sample.npy")
                yield Result("posterior sample", sample, seconds / SAMPLES)
                name = f"mean of {name}"
            yield Result(name, np.load(made), seconds)


def write_report(folder: Path, results: list[Result], truth: np.ndarray) -> None:
    """Write index.html: the mean of the samples beside the measurement and the other images."""
    others = {one.name: one.image for one in results[1:3]} | {"truth": truth}
    write_result_report(
        folder / "samples.json",
        [image_file(folder / "measured.npy")],
        path=folder / "index.html",
        others=others,
        seconds=results[-1].seconds,
        overwrite=True,
    )


def table_of(results, truth, measured, operator) -> str:
    """Return the quality against the full-resolution slice; its maximum is the data range."""
    span = float(truth.max())
    lines = [
        f"T1-weighted coronal slice, {_size(truth)}, {FACTOR}x, kernel fourier, noise-free, prior"
        f" {PRIOR}; data range: the slice's maximum.",
        "",
        "| method | PSNR (dB) | SSIM | residual | seconds |",
        "| --- | --- | --- | --- | --- |",
    ]
    for one in results:
        ssim = structural_similarity(truth, one.image, data_range=span)
        residual = relative_residual(one.image[None], measured[None], operator)[0]
        lines.append(
            f"| {one.name} | {_psnr(truth, one.image):.2f} | {ssim:.4f} | {residual:.0e} |"
            f" {one.seconds:.1f} |"
        )
    return "\n".join([*lines, "", "Research software; not for diagnosis.", ""])


def write_picture(path, results, truth, measured, std) -> None:
    """Draw columns measured, interpolation, mean, balanced, truth; rows image, detail, error.

    The column of the truth ends with the standard deviation of the samples.
    """
    span = float(truth.max())
    shown = [Result("measured", measured, 0), *results[:3], Result("truth", truth, 0)]
    figure = Figure(figsize=(10, 6.7), layout="constrained")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    rows = figure.subplots(3, len(shown))
    for one, (top, middle, bottom) in zip(shown, rows.T, strict=True):
        coarse = one.image is measured
        whole, detail = (_part(one.image, where, coarse) for where in (BRAIN, INSET))
        given = coarse or one.image is truth
        about = _size(one.image) if given else f"{_psnr(truth, one.image):.1f} dB"
        _draw(top, whole, f"{one.name}\n{about}", cmap="gray", vmax=span)
        top.add_patch(_frame(FACTOR if coarse else 1))
        _draw(middle, detail, "", cmap="gray", vmax=span)
        if not coarse:
            error = std if one.image is truth else np.abs(one.image - truth)
            what = f"std of {SAMPLES} samples" if one.image is truth else "absolute error"
            drawn = _draw(bottom, error[BRAIN], what, cmap="magma", vmax=LARGEST_ERROR * span)
        else:
            bottom.set_axis_off()
            empty = bottom
    bar = figure.colorbar(drawn, cax=empty.inset_axes((0.5, 0.05, 0.08, 0.9)))
    bar.set_ticks([0, LARGEST_ERROR * span], labels=["0", f"{100 * LARGEST_ERROR:.0f} %"])
    bar.set_label("of the maximum", fontsize=10)
    bar.ax.yaxis.set_ticks_position("left")
    bar.ax.yaxis.set_label_position("left")
    figure.savefig(path, dpi=150)
    figure.savefig(path.with_suffix(".jpg"), dpi=150, pil_kwargs={"quality": 88})


def _draw(axis: Axes, image: np.ndarray, title: str, cmap: str, vmax: float):
    axis.set_axis_off()
    axis.set_title(title, fontsize=11)
    return axis.imshow(image, cmap=cmap, vmin=0, vmax=vmax, interpolation="nearest")


def _part(image: np.ndarray, where: tuple[slice, slice], coarse: bool) -> np.ndarray:
    """Return a part of an image; ``where`` counts pixels of the truth."""
    step = FACTOR if coarse else 1
    return image[tuple(slice(one.start // step, one.stop // step) for one in where)]


def _frame(step: int) -> Rectangle:
    """Return the outline of the detail within the brain, in pixels of ``step`` of the truth's."""
    top, left = ((i.start - b.start) / step - 0.5 for i, b in zip(INSET, BRAIN, strict=True))
    height, width = ((i.stop - i.start) / step for i in INSET)
    return Rectangle((left, top), width, height, fill=False, edgecolor="gold", linewidth=1)


def _size(image: np.ndarray) -> str:
    return " x ".join(map(str, image.shape))


def _psnr(truth, image) -> float:
    return peak_signal_noise_ratio(truth, image, data_range=float(truth.max()))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
