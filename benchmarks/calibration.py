"""Calibration of the standard deviation map: coverage and spread/skill of K samples.

    python benchmarks/calibration.py --data DATA --split test --factor 2,4 --noise 0,0.01,0.05

Coverage is the share of pixels in the body whose truth lies in the interval that K samples predict:
mean +- t sqrt(1 + 1/K) std, with Student's t for K - 1 degrees of freedom. The interval is exact if
truth and samples are K + 1 draws from one normal law. Spread/skill is the root mean square of
sqrt(1 + 1/K) std over the root mean square error of the mean. It is 1 for a calibrated sampler and
below 1 for an overconfident one. The body is where the zero-filled magnitude exceeds 10 % of the
robust maximum.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from itertools import product
from pathlib import Path

import numpy as np
from scipy.stats import t as student

from common import numbers, run, write_json
from mrcascade import CascadePrior
from mrcascade.arrays.intensity import Intensity, body_of
from mrcascade.evaluation.data import (
    file_seed,
    find_files,
    load_truth,
    measure,
    truth_operator,
)
from mrcascade.operators.baselines import zero_filled
from mrcascade.restore import Plan, Restorer, resolve_settings

INTERVALS = (0.5, 0.9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--prior", default="mr-small")
    parser.add_argument("--factor", type=numbers, default=[4.0], help="one or more")
    parser.add_argument("--noise", type=numbers, default=[0.0], help="added, one or more")
    parser.add_argument("--told", action="store_true", help="the noise is told, not estimated")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--mode", default="sample", help="with settings after it, if wanted")
    parser.add_argument("--steps", type=int, help="T; default: the mode's")
    parser.add_argument("--files", type=int, default=2, help="files per anatomy")
    parser.add_argument("--max-slices", type=int, default=1, help="slices per file")
    parser.add_argument("--precision", default="float32", help="or bfloat16")
    parser.add_argument("-o", "--output", type=Path, help="JSON file, for `card.py`")
    options = parser.parse_args()

    prior = CascadePrior.from_pretrained(options.prior, precision=options.precision)
    settings = resolve_settings(prior, options.mode, options.steps, options.samples)
    by_anatomy = defaultdict(list)
    for file in find_files(options.data, options.split):
        by_anatomy[file.anatomy].append(file)
    told = "told" if options.told else "estimated"
    print(
        f"{prior.name}, fourier, noise {told}, {options.mode}, T = {settings.steps},"
        f" K = {options.samples}, spread {settings.spread:g}, {options.split} split"
    )
    rows = []
    for factor, noise in product(options.factor, options.noise):
        sums: dict[str, np.ndarray] = {}
        for anatomy, files in by_anatomy.items():
            step = max(1, len(files) // options.files)
            chosen = files[::step][: options.files]
            sums[anatomy] = sum(of_file(f, factor, noise, prior, settings, options) for f in chosen)
            print(f"{factor:g}x, noise {noise:g}, {anatomy}: {describe(sums[anatomy])}", flush=True)
        sums["all"] = sum(sums.values())
        print(f"{factor:g}x, noise {noise:g}, all: {describe(sums['all'])}", flush=True)
        case = {"split": options.split, "factor": factor, "noise": noise}
        rows += [
            {**case, "anatomy": anatomy, "spread": settings.spread, "spread_skill": skill(totals)}
            for anatomy, totals in sums.items()
        ]
    write_json(options, prior_sha256=prior.digest, rows=rows)


def describe(totals: np.ndarray) -> str:
    """Return one line with the figures of the sums of ``of_file``."""
    pixels = totals[-3]
    coverage = ", ".join(
        f"{100 * p:.0f} %: {100 * n / pixels:.1f} %"
        for p, n in zip(INTERVALS, totals, strict=False)
    )
    return f"coverage {coverage}; spread/skill {skill(totals):.2f}; {pixels:.0f} pixels"


def skill(totals: np.ndarray) -> float:
    """Return spread/skill from the sums of ``of_file``."""
    return float(np.sqrt(totals[-2] / totals[-1]))


def of_file(file, factor, noise, prior, settings, options) -> np.ndarray:
    """Return the sums of one file: covered pixels per interval, pixels, and two sums of squares.

    These are of the predicted deviation and of the error, in squared units of the intensity scale.
    """
    factors = (factor, factor)
    truth = load_truth(file, factors, options.max_slices)
    operator = truth_operator(truth, "fourier", factors)
    low = measure(truth, operator, noise, file_seed(0, file.name), options.told)
    k = options.samples
    restorer = Restorer(prior, Plan.of(prior, operator, low.noise, settings, low.margins))
    result = restorer(
        low.slices,
        Intensity(low.scale),
        samples=k,
        seed=file_seed(0, file.name),
        numbers=truth.kept.tolist(),
        batch_size=4,
    )
    body = body_of(zero_filled(low.slices, operator), low.scale)
    spread = np.sqrt(1 + 1 / k) * result.std[body] / low.scale
    error = np.abs(truth.slices - result.mean)[body] / low.scale
    inside = [(error <= student.ppf((1 + p) / 2, k - 1) * spread).sum() for p in INTERVALS]
    return np.array([*inside, error.size, (spread**2).sum(), (error.astype(float) ** 2).sum()])


if __name__ == "__main__":
    run(main)
