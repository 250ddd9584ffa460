"""Scan of the sampler's settings on validation slices: what a prior's ``sampling`` entry is set to.

    python benchmarks/tune_sampling.py --data DATA --lpips-weights DIR --factor 4 --steps 45

One draw per slice and setting, noise-free, kernel fourier. Prints a row per setting and anatomy:
PSNR of one draw (slice maximum), LPIPS, and the mode ``mean`` and zero filling for comparison.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
from skimage.metrics import peak_signal_noise_ratio

from common import numbers
from mrcascade import CascadePrior, super_resolve
from mrcascade.evaluation.baselines import zero_filled
from mrcascade.evaluation.data import find_files, load_truth, measure, operator_for
from mrcascade.evaluation.lpips import LPIPS, find_weights
from mrcascade.restore import resolve_settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--prior", default="mr-small")
    parser.add_argument("--factor", type=int, default=4)
    parser.add_argument("--steps", type=int, default=45)
    parser.add_argument("--max-slices", type=int, default=1, help="slices per file")
    parser.add_argument("--lpips-weights", type=Path, required=True)
    parser.add_argument("--zeta", type=numbers, default=[0.3, 0.6, 1.0])
    parser.add_argument(
        "--sigma-start", type=numbers, default=[8.0], help="of the conditional levels"
    )
    parser.add_argument("--sigma-min", type=numbers, default=[0.02], help="of the same")
    parser.add_argument("--noise-floor", type=numbers, default=[0.0])
    parser.add_argument("--condition-error", type=numbers, default=[0.0])
    parser.add_argument("--precision", default="float32", help="or bfloat16")
    options = parser.parse_args()

    prior = CascadePrior.from_pretrained(options.prior, precision=options.precision)
    lpips = LPIPS.load(find_weights(options.lpips_weights))
    factor = (float(options.factor),) * 2
    cases = []
    for file in find_files(options.data, options.split):
        truth = load_truth(file, factor, options.max_slices)
        operator = operator_for(truth, "fourier", factor)
        cases.append((file.anatomy, truth.slices, measure(truth, operator, 0.0, 0), operator))

    def report(label: str, restore) -> None:
        rows: dict[str, list] = {}
        for anatomy, truth, low, operator in cases:
            images = restore(low, operator)
            values = zip(truth, images, lpips.slices(truth, images), strict=True)
            for x, image, distance in values:
                psnr = peak_signal_noise_ratio(x, image, data_range=float(x.max()))
                rows.setdefault(anatomy, []).append((psnr, distance))
        cells = [f"{a}: {p:.2f} dB, LPIPS {d:.3f}" for a, (p, d) in _means(rows)]
        print(f"{label}: {'; '.join(cells)}", flush=True)

    def restorer(settings):
        return lambda low, operator: (
            super_resolve(
                low.slices, operator, prior, mode=settings, scale=low.scale, batch_size=4
            ).mean
        )

    report("zero-fill", lambda low, operator: zero_filled(low.slices, operator))
    for error in options.condition_error:
        mean = replace(resolve_settings(prior, "mean"), condition_error=error)
        report(f"mean, condition error {error:g}", restorer(mean))
    base = resolve_settings(prior, "paper", options.steps)
    grid = product(options.zeta, options.sigma_start, options.sigma_min, options.noise_floor)
    scanned = max(1, len(prior.levels) - 1)  # of a prior of one level, that one
    coarsest = [level.spec for level in prior.levels[scanned:]]
    for zeta, start, end, floor in grid:
        settings = replace(
            base,
            zeta=zeta,
            noise_floor=floor,
            sigma_start=(start,) * scanned + tuple(spec.sigma_max for spec in coarsest),
            sigma_min=(end,) * scanned + tuple(spec.sigma_min for spec in coarsest),
        )
        label = f"zeta {zeta:g}, sigma {start:g}..{end:g}, floor {floor:g}, T {options.steps}"
        report(label, restorer(settings))


def _means(rows: dict[str, list]) -> list[tuple[str, np.ndarray]]:
    return [(anatomy, np.mean(values, axis=0)) for anatomy, values in sorted(rows.items())]


if __name__ == "__main__":
    main()
