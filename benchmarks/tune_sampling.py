"""Scan of the sampler's settings on validation slices, to choose a prior's ``sampling`` entry.

    python benchmarks/tune_sampling.py --data DATA --lpips-weights DIR --factor 4 --steps 45

Draws one sample per slice and setting, noise-free, kernel fourier. Prints a row per setting and
anatomy with PSNR (data range: the slice's maximum) and LPIPS, and rows of mode ``mean`` and zero
filling for comparison.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import product

import numpy as np

from common import numbers, run
from mrcascade import CascadePrior
from mrcascade.arrays.intensity import Intensity
from mrcascade.operators.baselines import zero_filled
from mrcascade.restore import Plan, Restorer, resolve_settings
from mrcascade.sampling import Recipe
from val_slices import Case, case_options, load_cases, load_lpips, scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prior", default="mr-small")
    parser.add_argument("--steps", type=int, default=45)
    case_options(parser)
    parser.add_argument("--zeta", type=numbers, default=[0.3, 0.6, 1.0])
    parser.add_argument(
        "--sigma-start", type=numbers, default=[8.0], help="for the conditional levels"
    )
    parser.add_argument("--sigma-min", type=numbers, default=[0.02], help="for these levels")
    parser.add_argument("--noise-floor", type=numbers, default=[0.0])
    parser.add_argument("--condition-error", type=numbers, default=[0.0])
    parser.add_argument("--precision", default="float32", help="or bfloat16")
    options = parser.parse_args()

    prior = CascadePrior.from_pretrained(options.prior, precision=options.precision)
    cases, lpips = load_cases(options), load_lpips(options)

    def report(label: str, restore: Callable[[Case], np.ndarray]) -> None:
        found = scores(cases, map(restore, cases), lpips)
        cells = [f"{a}: {p:.2f} dB, LPIPS {d:.3f}" for a, (p, d) in found.items()]
        print(f"{label}: {'; '.join(cells)}", flush=True)

    def restorer(settings: Recipe) -> Callable[[Case], np.ndarray]:
        return lambda case: (
            Restorer(prior, Plan.of(prior, case.operator, case.low.noise, settings))(
                case.low.slices,
                Intensity(case.low.scale),
                seed=case.seed,
                numbers=case.numbers,
                batch_size=4,
            ).mean
        )

    report("zero-fill", lambda case: zero_filled(case.low.slices, case.operator))
    for error in options.condition_error:
        mean = resolve_settings(prior, "mean").changed(condition_error=error)
        report(f"mean, condition error {error:g}", restorer(mean))
    base = resolve_settings(prior, "paper", options.steps)
    grid = product(options.zeta, options.sigma_start, options.sigma_min, options.noise_floor)
    scanned = max(1, len(prior.levels) - 1)  # a prior of one level has only that one
    coarsest = [level.spec for level in prior.levels[scanned:]]
    for zeta, start, end, floor in grid:
        settings = base.changed(
            zeta=zeta,
            noise_floor=floor,
            sigma_start=(start,) * scanned + tuple(spec.sigma_max for spec in coarsest),
            sigma_min=(end,) * scanned + tuple(spec.sigma_min for spec in coarsest),
        )
        label = f"zeta {zeta:g}, sigma {start:g}..{end:g}, floor {floor:g}, T {options.steps}"
        report(label, restorer(settings))


if __name__ == "__main__":
    run(main)
