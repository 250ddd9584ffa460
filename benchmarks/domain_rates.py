"""How often the domain score warns: on images like those of a prior, and on others.

    python benchmarks/domain_rates.py --data ../shared/data --kspace ../shared/raw/kspace/lowfield

Files of ``--split`` are measured as ``evaluate`` does it, at several factors and noise levels.
Those of the anatomies in ``--unseen`` count as foreign. Every file is also inverted: its brightest
value minus the image, within the body and as a whole. Files of ``--kspace`` (.npy, rows and columns
first) become the magnitudes of their inverse Fourier transform. The table
counts the files with a score above 1.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy.ndimage import binary_fill_holes, gaussian_filter

from common import names, run, table_row, write_json
from mrcascade.arrays.intensity import BODY, Intensity, robust_maximum
from mrcascade.evaluation.data import (
    TestFile,
    Truth,
    file_seed,
    find_files,
    load_truth,
    simulated,
    truth_operator,
)
from mrcascade.measurement.domain import measure_domain
from mrcascade.measurement.noise import estimate_noise, slices_for_noise
from mrcascade.prior.cascade import CascadePrior

# Name -> factors and noise of the measurement.
TASKS = {
    "2x": ((2.0, 2.0), 0.0),
    "4x": ((4.0, 4.0), 0.0),
    "1.5x": ((1.5, 1.5), 0.0),
    "4x along columns": ((1.0, 4.0), 0.0),
    "2x, 2 % noise": ((2.0, 2.0), 0.02),
    "2x, 5 % noise": ((2.0, 2.0), 0.05),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prior", default="mr-small")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--unseen", type=names, default=["abdomen"])
    parser.add_argument("--tasks", type=names, help=f"of: {'; '.join(TASKS)}".replace("%", "%%"))
    parser.add_argument("--kspace", type=Path, help="folder of foreign k-space")
    parser.add_argument("--simulate-phase", action="store_true", help="for complex priors")
    parser.add_argument("-o", "--output", type=Path, help="JSON file of all scores")
    options = parser.parse_args()
    prior = CascadePrior.from_pretrained(options.prior)
    rows: dict[str, dict[str, float]] = {}
    tasks = [task for task in TASKS if options.tasks is None or task in options.tasks]
    seed = 0 if options.simulate_phase else None
    for file in find_files(options.data, options.split):
        truth = load_truth(file, (12.0, 12.0), phase_seed=seed)  # a size for every task
        group = f"unseen: {file.anatomy}" if file.anatomy in options.unseen else file.anatomy
        for task in tasks:
            score = simulated_score(file, truth.stack, truth, prior, task)
            rows.setdefault(f"{group}, {task}", {})[file.name] = score
        for kind, stack in inverted(truth.stack):
            score = simulated_score(file, stack, truth, prior, tasks[0])
            rows.setdefault(f"{kind}: {group}, {tasks[0]}", {})[file.name] = score
    if options.kspace is not None:
        rows["unseen: k-space"] = dict(kspace_scores(options.kspace, prior))
    print(table_row(["images", "files", "warned", "median score", "range"]))
    print(table_row(["---"] * 5))
    for name, scores in sorted(rows.items()):
        values = np.array(list(scores.values()))
        ends = f"{values.min():.2f} to {values.max():.2f}"
        middle = f"{np.median(values):.2f}"
        print(table_row([name, len(values), int((values > 1).sum()), middle, ends]))
    write_json(options, prior_sha256=prior.digest, scores=rows)


def simulated_score(
    file: TestFile, stack: np.ndarray, truth: Truth, prior: CascadePrior, task: str
) -> float:
    factor, noise = TASKS[task]
    operator = truth_operator(truth, "fourier", factor)
    low, sigma = simulated(stack, operator, noise, file_seed(0, file.name))
    intensity = Intensity(robust_maximum(low))
    told = sigma / intensity.scale
    found = measure_domain(low.__getitem__, len(low), operator.in_shape, prior, intensity, told)
    assert found is not None, "the prior has no domain; see benchmarks/domain_reference.py"
    return found.score


def inverted(stack: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the image (S, H, W) inverted within its body, and as a whole; the phase stays."""
    size = np.abs(stack)
    maximum = robust_maximum(size)
    smooth = (gaussian_filter(one.astype(float), 3) for one in size)
    body = np.stack([binary_fill_holes(one > BODY * maximum) for one in smooth])
    phase = stack / np.maximum(size, 1e-9 * maximum)
    inside = np.where(body, maximum - np.minimum(size, maximum), size)
    yield "inverted body", (inside * phase).astype(stack.dtype)
    yield "inverted", ((size.max() - size) * phase).astype(stack.dtype)


def kspace_scores(folder: Path, prior: CascadePrior) -> Iterator[tuple[str, float]]:
    """Yield the score of every file for an enlargement of 2, its noise estimated as in ``sr``."""
    for path in sorted(folder.glob("*.npy")):
        axes = (0, 1)
        space = np.fft.ifftshift(np.load(path), axes)
        image = np.moveaxis(np.fft.fftshift(np.fft.ifft2(space, axes=axes), axes), 2, 0)
        stack = image if prior.channels == 2 else np.abs(image)
        yield path.name, own_score(stack, prior)


def own_score(stack: np.ndarray, prior: CascadePrior) -> float:
    intensity = Intensity.of(stack)
    few: Sequence[np.ndarray] = [stack[i] for i in slices_for_noise(len(stack))]
    noise = estimate_noise(few, zero=0.0).sigma / intensity.scale
    field = 2 * stack.shape[1], 2 * stack.shape[2]
    found = measure_domain(stack.__getitem__, len(stack), field, prior, intensity, noise)
    assert found is not None, "the prior has no domain; see benchmarks/domain_reference.py"
    return found.score


if __name__ == "__main__":
    run(main)
