"""Loss of quality where kernel or noise of the measurement differ from the prior's training data.

    python benchmarks/mismatch.py --data DATA --lpips-weights DIR --factor 4 --steps 45

Measures the test slices with each kernel and noise level, and restores them by each method. The
method knows the operator and the noise, but its networks were trained on noise-free data of the
prior's own kernel. Prints a row per anatomy, measurement and method: the means over slices of PSNR
(data range: the slice's maximum) and LPIPS, and their loss against the matched, noise-free case
(positive is worse for both).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from common import names, numbers, run, table_row, write_json
from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.bench import Bench
from mrcascade.evaluation.data import TestFile, find_files
from mrcascade.evaluation.job import (
    Evaluation,
    Surveyed,
    checked_methods,
    load_priors,
    recipes_of,
    survey_files,
)
from mrcascade.evaluation.lpips import LPIPS, find_weights
from mrcascade.evaluation.units import Failed, Unit
from mrcascade.operators import KERNELS
from mrcascade.prior.format import prior_folder, read_document

HEADER = (
    "| anatomy | kernel | noise | method | slices | PSNR (dB) | lost (dB) | LPIPS | lost |\n"
    "| --- | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--prior", default="mr-small")
    parser.add_argument("--baselines", default="mr-small-baselines")
    parser.add_argument("--methods", type=names, default=["zero-fill", "mean", "paper", "diffpir"])
    parser.add_argument("--kernels", type=names, default=list(KERNELS))
    parser.add_argument("--noise", type=numbers, default=[0.0, 0.01, 0.05])
    parser.add_argument("--factor", type=float, default=4.0)
    parser.add_argument("--steps", type=int, help="T; default: the recipes'")
    parser.add_argument("--files", type=int, help="files per anatomy; default: all")
    parser.add_argument("--max-slices", type=int, default=1, help="slices per file")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--lpips-weights", type=Path)
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--output", type=Path, help="JSON")
    options = parser.parse_args()
    if unknown := [kernel for kernel in options.kernels if kernel not in KERNELS]:
        raise MRCascadeError(f"unknown kernel {unknown[0]!r}: choose from {', '.join(KERNELS)}")

    job = Evaluation(
        data=options.data,
        methods=tuple(options.methods),
        split=options.split,
        factor=(options.factor,) * 2,
        prior=options.prior,
        baselines=options.baselines,
        steps=options.steps,
        batch_size=options.batch_size,
        precision=options.precision,
        max_slices=options.max_slices,
        lpips_weights=options.lpips_weights,
    )
    methods = checked_methods(job)
    weights = find_weights(job.lpips_weights)
    lpips = None if weights is None else LPIPS.load(weights)
    priors = load_priors(methods, job)
    recipes = recipes_of(methods, priors, job)
    survey = survey_files(chosen_files(job, options.files), job, recipes, weights)
    matched = (read_document(prior_folder(job.prior))["kernel"], 0.0)
    cases = list(dict.fromkeys([matched, *product(options.kernels, options.noise)]))

    print(f"{job.prior} (kernel {matched[0]}), {options.factor:g}x, T = {job.steps or 'default'},")
    print(f"{job.split} split, {job.precision}, LPIPS weights: {'yes' if lpips else 'none'}\n")
    print(HEADER, flush=True)
    rows: list[dict] = []
    reference: dict[tuple[str, str], dict] = {}
    for kernel, noise in cases:
        bench = Bench(
            replace(job, kernel=kernel, noise=noise), methods, priors, lpips, survey, pictures=()
        )
        for method, anatomy in product(methods, dict.fromkeys(s.file.anatomy for s in survey)):
            row = {"anatomy": anatomy, "kernel": kernel, "noise": noise, "method": method}
            row |= scores(bench, method, [s for s in survey if s.file.anatomy == anatomy])
            best = reference.setdefault((method, anatomy), row)  # the matched case comes first
            row["psnr_lost"] = best["psnr_slice"] - row["psnr_slice"]
            row["lpips_lost"] = None if lpips is None else row["lpips"] - best["lpips"]
            rows.append(row)
            print(described(row), flush=True)
    write_json(options, matched=matched, rows=rows)


def chosen_files(job: Evaluation, count: int | None) -> list[TestFile]:
    """Return ``count`` files per anatomy of the split, evenly spread."""
    found = find_files(job.data, job.split)
    if count is None:
        return found
    chosen = []
    for anatomy in dict.fromkeys(file.anatomy for file in found):
        files = [file for file in found if file.anatomy == anatomy]
        chosen += files[:: max(1, len(files) // count)][:count]
    return chosen


def scores(bench: Bench, method: str, files: Sequence[Surveyed]) -> dict[str, float]:
    """Return the number of slices and the means of their metrics."""
    rows: list[dict[str, Any]] = []
    for surveyed in files:
        unit = Unit(surveyed.file.name, method, tuple(int(n) for n in surveyed.numbers))
        outcome = bench.run(unit, lambda count, text: None)
        if isinstance(outcome, Failed):
            raise MRCascadeError(f"{unit.file}, {unit.method}: {outcome.error}")
        rows += outcome.rows
    figures = [key for key in ("psnr_slice", "lpips") if rows[0][key] is not None]
    means = {key: float(np.mean([row[key] for row in rows])) for key in figures}
    return {"slices": len(rows), **means}


def described(row: dict) -> str:
    cells = [row["anatomy"], row["kernel"], f"{row['noise']:g}", row["method"], row["slices"]]
    cells += [f"{row['psnr_slice']:.2f}", f"{row['psnr_lost']:+.2f}"]
    if row["lpips_lost"] is None:
        return table_row([*cells, "-", "-"])
    return table_row([*cells, f"{row['lpips']:.3f}", f"{row['lpips_lost']:+.3f}"])


if __name__ == "__main__":
    run(main)
