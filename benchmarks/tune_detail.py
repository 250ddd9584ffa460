"""Scan of the setting ``detail``: how much of its own detail a sample keeps.

    python benchmarks/tune_detail.py --data DATA --lpips-weights DIR

Draws one sample per validation slice and method, noise-free, kernel fourier. Every ``--detail`` is
applied to the same sample, so that the rows of a method differ in nothing else. Prints a row per
method, detail and anatomy: PSNR (data range: the slice's maximum) and LPIPS.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np

from common import names, run, table_row
from mrcascade import CascadePrior
from mrcascade.arrays.channels import from_channels, to_channels
from mrcascade.evaluation.job import Evaluation, checked_methods, load_priors
from mrcascade.restore import make_plan
from mrcascade.sampling import NoiseSource, Recipe, cascade_sample, image_seed, keep_detail
from val_slices import Case, case_options, load_cases, load_lpips, scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    case_options(parser)
    parser.add_argument("--prior", default="mr-small")
    parser.add_argument("--methods", type=names, default=["sample"])
    parser.add_argument(
        "--detail", type=names, default=["1/1", "1/0.8", "1/0.6", "1/0.4", "0.8/0.8"], help="d1/d2"
    )
    parser.add_argument("--steps", type=int, help="T; default: each method's")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    options = parser.parse_args()

    job = Evaluation(
        options.data, tuple(options.methods), prior=options.prior, precision=options.precision
    )
    methods = checked_methods(job)
    priors = load_priors(methods, job)
    cases, lpips = load_cases(options), load_lpips(options)
    shares = {text: tuple(float(part) for part in text.split("/")) for text in options.detail}
    anatomies = sorted({case.anatomy for case in cases})
    print(table_row(["method", "detail", *(f"{a} PSNR (dB), LPIPS" for a in anatomies)]))
    print(table_row(["---"] * (2 + len(anatomies))), flush=True)
    for name, method in methods.items():
        prior = priors[name]
        settings = method.settings(prior, options.steps)
        kept = [restored(case, prior, settings, list(shares.values())) for case in cases]
        for text, images in zip(shares, zip(*kept, strict=True), strict=True):
            found = scores(cases, images, lpips)
            cells = [f"{found[a][0]:.2f}, {found[a][1]:.4f}" for a in anatomies]
            print(table_row([f"`{name}`", text, *cells]), flush=True)


def restored(
    case: Case, prior: CascadePrior, settings: Recipe, shares: list[tuple[float, ...]]
) -> list[np.ndarray]:
    """Return one sample of each slice, with every setting of its detail."""
    scale = case.low.scale
    plan = make_plan(prior, case.operator, 0.0, settings)
    y = to_channels(case.low.slices / scale)
    noise = NoiseSource([image_seed(case.seed, number, 0) for number in case.numbers])
    draw = cascade_sample(prior, plan, y, noise)
    plans = [replace(plan, settings=settings.changed(detail=share)) for share in shares]
    return [from_channels(keep_detail(prior, p, y, draw).image) * scale for p in plans]


if __name__ == "__main__":
    run(main)
