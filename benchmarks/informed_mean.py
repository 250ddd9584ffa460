"""What mode "mean" makes of data that know part of a band, by priors with and without such data in
their conditions.

    python benchmarks/informed_mean.py --data DATA --priors mr-small RUN/prior

Measures the chosen slices by each task and restores them with every prior. Prints a row per
anatomy, contrast and task: the mean over slices of the PSNR (data range: the slice's
maximum) of the minimum-norm image, which is zero filling for kernel ``fourier``, and what each
prior adds to it; in the end, of all slices of a task. Along one axis the rows and the columns of
files take turns.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from skimage.metrics import peak_signal_noise_ratio

from common import names, run, table_row, write_json
from mrcascade.arrays.intensity import Intensity
from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.data import (
    Measurement,
    TestFile,
    file_seed,
    find_files,
    load_truth,
    measure,
)
from mrcascade.operators import SeparableOperator, down_matrix
from mrcascade.operators.profile import profile_matrix
from mrcascade.prior.cascade import CascadePrior
from mrcascade.restore import Plan, Restorer, resolve_settings


class Task(NamedTuple):
    """Factors along two axes, the first of which is the one that is measured, and the noise."""

    first: float
    second: float
    kernel: str
    noise: float


PROFILE = "profile"  # Gaussian slices as wide as their distance
TASKS = {
    "one-axis-4x": Task(4, 1, "fourier", 0.0),
    "one-axis-2x": Task(2, 1, "fourier", 0.0),
    "slices-4x": Task(4, 1, PROFILE, 0.0),
    "slices-4x-noise": Task(4, 1, PROFILE, 0.01),
    "2x-noise": Task(2, 2, "fourier", 0.01),
    "4x-noise": Task(4, 4, "fourier", 0.01),
    "area-2x": Task(2, 2, "area", 0.0),
    "area-4x": Task(4, 4, "area", 0.0),
    "area-one-axis-4x": Task(4, 1, "area", 0.0),
    "bicubic-2x": Task(2, 2, "bicubic", 0.0),
    "gaussian-2x": Task(2, 2, "gaussian", 0.0),
    "slices-2x": Task(2, 1, PROFILE, 0.0),
    "slices-3x": Task(3, 1, PROFILE, 0.0),
    "fractional-1.6x": Task(1.6, 1.6, "fourier", 0.0),
    "2x": Task(2, 2, "fourier", 0.0),
    "4x": Task(4, 4, "fourier", 0.0),
}


def operator_of(task: Task, shape: tuple[int, int], turned: bool) -> SeparableOperator:
    """The task's operator; with ``turned`` its first axis is that of the columns."""
    factors = (task.second, task.first) if turned else (task.first, task.second)

    def matrix(n: int, factor: float) -> np.ndarray:
        m = round(n / factor)
        if m == n:
            return np.eye(n)
        return profile_matrix(n, m) if task.kernel == PROFILE else down_matrix(task.kernel, n, m)

    rows, cols = (matrix(n, factor) for n, factor in zip(shape, factors, strict=True))
    return SeparableOperator(rows, cols, f"{task.kernel} {factors[0]:g}x{factors[1]:g}")


def psnr(truth: np.ndarray, images: np.ndarray) -> list[float]:
    """Of each slice (S, H, W)."""
    pairs = zip(truth, images, strict=True)
    return [float(peak_signal_noise_ratio(x, y, data_range=float(x.max()))) for x, y in pairs]


def restored(
    prior: CascadePrior, low: Measurement, operator: SeparableOperator, mode: str, batch: int
) -> np.ndarray:
    settings = resolve_settings(prior, mode)
    restorer = Restorer(prior, Plan.of(prior, operator, low.noise, settings, low.margins))
    return restorer(low.slices, Intensity(low.scale), batch_size=batch).mean


def chosen(files: Sequence[TestFile], most: int | None) -> list[TestFile]:
    """At most so many files of each anatomy and contrast."""
    kept: defaultdict[tuple[str, str], list[TestFile]] = defaultdict(list)
    for file in files:
        kept[file.anatomy, file.data.contrast or ""].append(file)
    return [file for group in kept.values() for file in group[:most]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--priors", nargs="+", default=["mr-small"])
    parser.add_argument("--tasks", type=names, default=list(TASKS))
    parser.add_argument("--mode", default="mean", help='with changes, as "mean:orientations=1"')
    parser.add_argument("--files", type=int, help="files per anatomy and contrast; default: all")
    parser.add_argument("--max-slices", type=int, default=2, help="slices per file")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--output", type=Path, help="JSON")
    options = parser.parse_args()
    if unknown := [task for task in options.tasks if task not in TASKS]:
        raise MRCascadeError(f"unknown task {unknown[0]!r}: choose from {', '.join(TASKS)}")
    priors = [CascadePrior.from_pretrained(p, precision=options.precision) for p in options.priors]

    added = [f"{prior} (+dB)" for prior in options.priors]
    print(table_row(["anatomy", "contrast", "task", "slices", "minimum norm (dB)", *added]))
    print(table_row(["---"] * 3 + ["---:"] * (2 + len(priors))), flush=True)
    scores: dict[tuple[str, str, str], list[list[float]]] = {}
    seconds: defaultdict[str, float] = defaultdict(float)
    files = chosen(find_files(options.data, options.split), options.files)
    for number, file in enumerate(files):
        truth = load_truth(file, (4.0, 4.0), options.max_slices)
        for name in options.tasks:
            task = TASKS[name]
            shape = (truth.stack.shape[1], truth.stack.shape[2])
            operator = operator_of(task, shape, turned=number % 2 == 1)
            low = measure(truth, operator, task.noise, file_seed(0, file.name), known=True)
            smallest = operator.pinv(torch.from_numpy(low.slices)).numpy()
            columns = [psnr(truth.slices, smallest)]
            for label, prior in zip(options.priors, priors, strict=True):
                started = time.perf_counter()
                image = restored(prior, low, operator, options.mode, options.batch_size)
                seconds[label] += time.perf_counter() - started
                columns.append(psnr(truth.slices, image))
            key = file.anatomy, file.data.contrast or "", name
            scores.setdefault(key, []).extend(map(list, zip(*columns, strict=True)))
    rows = [row_of(key, np.array(values)) for key, values in sorted(scores.items())]
    for name in options.tasks:
        together = [v for (_, _, task), values in scores.items() if task == name for v in values]
        rows.append(row_of(("all", "", name), np.array(together)))
    for row in rows:
        gains = [f"{gain:+.2f}" for gain in row["gains"]]
        print(table_row([*row["key"], row["slices"], f"{row['minimum_norm']:.2f}", *gains]))
    print("\n" + ", ".join(f"{label}: {s:.0f} s" for label, s in seconds.items()))
    write_json(options, rows=rows, seconds=dict(seconds))


def row_of(key: tuple[str, str, str], values: np.ndarray) -> dict:
    """Mean PSNR of the minimum-norm image and what each prior adds, of ``values`` (slices, 1 +
    priors)."""
    first, *others = values.mean(0).tolist()
    gains = [other - first for other in others]
    return {"key": list(key), "slices": len(values), "minimum_norm": first, "gains": gains}


if __name__ == "__main__":
    run(main)
