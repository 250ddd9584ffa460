"""Is the standard deviation map honest? Coverage and spread/skill of K samples.

    python benchmarks/calibration.py --data DATA --split test --factor 4 --samples 32 --steps 30

For every evaluated pixel inside the body the truth is compared with the interval that K samples
predict, mean +- t sqrt(1 + 1/K) std with Student's t for K - 1 degrees of freedom: exact if truth
and samples were K + 1 draws of one normal law. Spread/skill is the root mean square of
sqrt(1 + 1/K) std over the root mean square error of the mean; 1 for a calibrated sampler, below
1 where it is too sure of itself. Body: zero-filled magnitude above 10 % of the robust maximum.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
from scipy.stats import t as student

from common import numbers
from mrcascade import CascadePrior, super_resolve
from mrcascade.baselines import zero_filled
from mrcascade.evaluation.data import (
    file_seed,
    find_files,
    load_truth,
    measure,
    operator_for,
)
from mrcascade.intensity import body_of
from mrcascade.restore import resolve_settings

INTERVALS = (0.5, 0.9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--prior", default="mr-small")
    parser.add_argument("--factor", type=int, default=4)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--steps", type=int, help="T; default: the recipe's")
    parser.add_argument("--zeta", type=numbers, help="some, to scan; default: the prior's")
    parser.add_argument("--noise-floor", type=numbers, help="the same")
    parser.add_argument("--spread", type=float, help="1 for the samples' own; default: the prior's")
    parser.add_argument("--files", type=int, default=2, help="files per anatomy")
    parser.add_argument("--max-slices", type=int, default=1, help="slices per file")
    parser.add_argument("--precision", default="float32", help="or bfloat16")
    options = parser.parse_args()

    prior = CascadePrior.from_pretrained(options.prior, precision=options.precision)
    recipe = resolve_settings(prior, "paper", options.steps)
    by_anatomy = defaultdict(list)
    for file in find_files(options.data, options.split):
        by_anatomy[file.anatomy].append(file)
    print(
        f"{prior.name}, {options.factor}x fourier, noise-free, T = {recipe.steps},"
        f" K = {options.samples}, {options.split} split"
    )
    for zeta, floor in product(
        options.zeta or [recipe.zeta], options.noise_floor or [recipe.noise_floor]
    ):
        settings = replace(
            recipe, zeta=zeta, noise_floor=floor, spread=options.spread or recipe.spread
        )
        for anatomy, files in by_anatomy.items():
            step = max(1, len(files) // options.files)
            chosen = files[::step][: options.files]
            totals = sum(of_file(file, prior, settings, options) for file in chosen)
            label = f"zeta {zeta:g}, floor {floor:g}, spread {settings.spread:g}, {anatomy}"
            print(f"{label}: {describe(totals)}", flush=True)


def describe(totals: np.ndarray) -> str:
    """One line from the sums of ``of_file``."""
    pixels, spread, error = totals[-3:]
    coverage = ", ".join(
        f"{100 * p:.0f} %: {100 * n / pixels:.1f} %"
        for p, n in zip(INTERVALS, totals, strict=False)
    )
    return f"coverage {coverage}; spread/skill {np.sqrt(spread / error):.2f}; {pixels:.0f} pixels"


def of_file(file, prior, settings, options) -> np.ndarray:
    """Counts of covered pixels per interval, pixels, sum of predicted and of real variance."""
    factor = (float(options.factor),) * 2
    truth = load_truth(file, factor, options.max_slices)
    operator = operator_for(truth, "fourier", factor)
    low = measure(truth, operator, 0.0, 0)
    k = options.samples
    result = super_resolve(
        low.slices,
        operator,
        prior,
        noise=low.noise,
        mode=settings,
        samples=k,
        seed=file_seed(0, file.name),
        scale=low.scale,
        batch_size=4,
        numbers=truth.kept.tolist(),
    )
    body = body_of(zero_filled(low.slices, operator), low.scale)
    spread = np.sqrt(1 + 1 / k) * result.std[body]
    error = np.abs(truth.slices - result.mean)[body]
    inside = [(error <= student.ppf((1 + p) / 2, k - 1) * spread).sum() for p in INTERVALS]
    return np.array([*inside, error.size, (spread**2).sum(), (error.astype(float) ** 2).sum()])


if __name__ == "__main__":
    main()
