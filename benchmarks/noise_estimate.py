"""Error of the estimated noise against the noise that was added, and its cost in PSNR.

    python benchmarks/noise_estimate.py --data DATA --splits val,test --factor 2,4

Measures every file and adds noise, normal in signed and complex images, Rician in magnitudes. It
compares `estimate_noise` with scikit-image's ``estimate_sigma`` and, if installed, dipy's. The
noise of the scans themselves counts as error. "Within" is the share of estimates with an error of
at most 0.7 percentage points or 30 %. With ``--mean`` it also prints the PSNR of mode ``mean`` with
the estimate minus that with the added noise.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skimage.restoration import estimate_sigma

from common import names, numbers, run
from mrcascade import CascadePrior, SeparableOperator, super_resolve
from mrcascade.arrays.intensity import Intensity, robust_maximum
from mrcascade.arrays.phase import with_simulated_phase
from mrcascade.evaluation.data import TestFile, file_seed, find_files, load_truth, truth_operator
from mrcascade.evaluation.metrics import psnr
from mrcascade.measurement.noise import estimate_noise

KINDS = ("normal", "rician", "complex")
POINTS, SHARE = 0.7, 0.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--splits", type=names, default=["val", "test"])
    parser.add_argument("--factor", type=numbers, default=[2.0, 4.0])
    parser.add_argument("--noise", type=numbers, default=[0.0, 0.005, 0.01, 0.02, 0.04])
    parser.add_argument("--kinds", type=names, default=list(KINDS))
    parser.add_argument("--slices", type=int, default=4, help="slices per file, evenly spread")
    parser.add_argument("--every", type=int, default=1, help="only every n-th file")
    parser.add_argument("--mean", action="store_true", help="also restore a slice per measurement")
    parser.add_argument("--precision", default="float32", help="for --mean; or bfloat16")
    parser.add_argument("-o", "--output", type=Path, help="JSON of every measurement")
    options = parser.parse_args()

    prior = CascadePrior.from_pretrained("mr-small", precision=options.precision)
    files = [file for split in options.splits for file in find_files(options.data, split)]
    rows = []
    for file in files[:: options.every]:
        for factor in options.factor:
            rows += list(of_file(file, factor, prior if options.mean else None, options))
        print(f"{file.name}: {len(rows)} measurements", flush=True)
    if options.output:
        options.output.write_text(json.dumps(rows, indent=1) + "\n")
    for line in tables(rows):
        print(line)


def of_file(
    file: TestFile, factor: float, prior: CascadePrior | None, options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Return one row per kind and noise level."""
    truth = load_truth(file, (factor, factor), options.slices)
    operator = truth_operator(truth, "fourier", (factor, factor))
    clean = operator(torch.from_numpy(truth.slices)).numpy()
    scale = robust_maximum(clean)
    clean = clean / scale
    rng = np.random.default_rng(file_seed(0, file.name))
    for kind in options.kinds:
        for noise in options.noise:
            y = measured(clean, kind, noise, rng, file.name)
            row = {"file": file.name, "anatomy": file.anatomy, "factor": factor}
            row |= {"kind": kind, "noise": noise, **estimates(y)}
            if prior is not None and kind != "complex":
                row["mean_loss_db"] = loss(y, truth.slices / scale, operator, prior, row)
            yield row


def measured(
    clean: np.ndarray, kind: str, noise: float, rng: np.random.Generator, name: str
) -> np.ndarray:
    parts = noise * (rng.normal(size=clean.shape) + 1j * rng.normal(size=clean.shape))
    if kind == "normal":
        return (clean + parts.real).astype(np.float32)
    if kind == "rician":
        return np.abs(clean + parts).astype(np.float32)
    smooth = with_simulated_phase(np.abs(clean).astype(np.float32), name, 0)
    return (smooth + parts).astype(np.complex64)


def estimates(y: np.ndarray) -> dict[str, Any]:
    found = estimate_noise(list(y))
    result: dict[str, Any] = {
        "mrcascade": found.sigma,
        "source": found.source,
        "certain": found.certain,
    }
    if np.iscomplexobj(y):
        return result
    result["skimage"] = float(np.mean([estimate_sigma(image) for image in y]))
    try:
        from dipy.denoise.noise_estimate import estimate_sigma as of_volume
    except ImportError:
        return result
    volume = np.moveaxis(y, 0, -1)
    result["dipy"] = float(of_volume(volume, disable_background_masking=True)[0])
    return result


def loss(
    y: np.ndarray,
    truth: np.ndarray,
    operator: SeparableOperator,
    prior: CascadePrior,
    row: Mapping[str, Any],
) -> float:
    """Return the PSNR of the middle slice with the estimate minus that with the added noise."""
    middle = len(y) // 2
    reference, maximum = truth[middle], float(np.abs(truth[middle]).max())
    told, own = (
        psnr(
            reference,
            super_resolve(y[middle], operator, prior, noise=n, intensity=Intensity(1.0)).mean,
            maximum,
        )
        for n in (row["noise"], row["mrcascade"])
    )
    return float(own - told)


def tables(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a table of errors (percentage points) and one of the cost in PSNR per anatomy."""
    yield "| estimator | kind | noise | measurements | median error | 95 % below | within |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    groups: defaultdict[tuple[Any, ...], list[float]] = defaultdict(list)
    for row in rows:
        for name in ("mrcascade", "skimage", "dipy"):
            if name in row:
                groups[name, row["kind"], row["noise"]].append(row[name] - row["noise"])
                groups[name, row["kind"], "all"].append(row[name] - row["noise"])
                bound = max(POINTS / 100, SHARE * row["noise"])
                inside = abs(row[name] - row["noise"]) <= bound
                groups[name, row["kind"], row["noise"], "in"].append(inside)
                groups[name, row["kind"], "all", "in"].append(inside)
    for key, errors in groups.items():
        if key[-1] != "in":
            points = 100 * np.abs(errors)
            level = key[2] if key[2] == "all" else f"{100 * key[2]:g} %"
            yield (
                f"| {key[0]} | {key[1]} | {level} | {len(errors)} | {np.median(points):.2f} |"
                f" {np.quantile(points, 0.95):.2f} | {np.mean(groups[*key, 'in']):.1%} |"
            )
    costs: defaultdict[tuple[str, float], list[float]] = defaultdict(list)
    for row in rows:
        if "mean_loss_db" in row:
            costs[row["anatomy"], row["factor"]].append(row["mean_loss_db"])
    if costs:
        yield "\n| anatomy | factor | measurements | mean loss (dB) | largest loss (dB) |"
        yield "| --- | --- | --- | --- | --- |"
    for (anatomy, factor), losses in costs.items():
        yield (
            f"| {anatomy} | {factor:g} | {len(losses)} | {np.mean(losses):+.3f} |"
            f" {np.min(losses):+.3f} |"
        )


if __name__ == "__main__":
    run(main)
