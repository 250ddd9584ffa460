"""What a prior of one kernel loses where the measurement was made otherwise.

    python benchmarks/mismatch.py --data DATA --lpips-weights DIR --factor 4 --steps 45

Measures the test slices with each kernel and noise level and restores them by each method, which
knows the operator and the noise, while its networks have seen noise-free data of the prior's own
kernel. Prints a row per anatomy, measurement and method as it comes: the mean over slices of PSNR
(data range: the slice's maximum) and LPIPS, and what they lost against the matched, noise-free
case (positive is worse, for both).
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np

from common import load_priors, names, numbers, run, table_row, write_json
from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.data import (
    TestFile,
    Truth,
    file_seed,
    find_files,
    load_truth,
    measure,
    operator_for,
)
from mrcascade.evaluation.job import Evaluation, checked_methods
from mrcascade.evaluation.lpips import LPIPS, find_weights
from mrcascade.evaluation.methods import METHODS, Context
from mrcascade.evaluation.metrics import slice_metrics
from mrcascade.operators import KERNELS
from mrcascade.prior import CascadePrior
from mrcascade.prior_format import prior_folder, read_document

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
    matched = (read_document(prior_folder(job.prior))["kernel"], 0.0)
    cases = list(dict.fromkeys([matched, *product(options.kernels, options.noise)]))
    bench = _Bench(job, methods, load_priors(methods, job), lpips)

    print(f"{job.prior} (kernel {matched[0]}), {options.factor:g}x, T = {job.steps or 'default'},")
    print(f"{job.split} split, {job.precision}, LPIPS weights: {'yes' if lpips else 'none'}\n")
    print(HEADER, flush=True)
    rows = []
    for anatomy, files in by_anatomy(job, options.files).items():
        rows += bench.anatomy(anatomy, files, cases)
    write_json(options, matched=matched, rows=rows)


def by_anatomy(job: Evaluation, count: int | None) -> dict[str, list[TestFile]]:
    """The files of the split, ``count`` per anatomy, evenly spread."""
    grouped = defaultdict(list)
    for file in find_files(job.data, job.split):
        grouped[file.anatomy].append(file)
    if count is None:
        return grouped
    return {a: files[:: max(1, len(files) // count)][:count] for a, files in grouped.items()}


class _Bench:
    def __init__(
        self,
        job: Evaluation,
        methods: Sequence[str],
        priors: dict[str, CascadePrior],
        lpips: LPIPS | None,
    ) -> None:
        self.job, self.methods, self.priors, self.lpips = job, methods, priors, lpips

    def anatomy(
        self, anatomy: str, files: Sequence[TestFile], cases: Sequence[tuple[str, float]]
    ) -> list[dict]:
        """The rows of an anatomy, printed as they come; the first case is the matched one."""
        truths = [(f.name, load_truth(f, self.job.factor, self.job.max_slices)) for f in files]
        reference: dict[str, dict] = {}
        rows = []
        for (kernel, noise), method in product(cases, self.methods):
            scores = [self.score(method, kernel, noise, *named) for named in truths]
            row = {"anatomy": anatomy, "kernel": kernel, "noise": noise, "method": method}
            row |= mean_scores([score for file in scores for score in file])
            best = reference.setdefault(method, row)
            row["psnr_lost"] = best["psnr_slice"] - row["psnr_slice"]
            row["lpips_lost"] = None if self.lpips is None else row["lpips"] - best["lpips"]
            rows.append(row)
            print(described(row), flush=True)
        return rows

    def score(
        self, method: str, kernel: str, noise: float, name: str, truth: Truth
    ) -> list[dict[str, float]]:
        """The figures of each slice of a file."""
        job = self.job
        operator = operator_for(truth, kernel, job.factor)
        seed = file_seed(job.seed, name)
        low = measure(truth, operator, noise, seed)
        context = Context(
            measurement=low.slices,
            operator=operator,
            kernel=kernel,
            scale=low.scale,
            noise=low.noise,
            seed=seed,
            prior=self.priors.get(method),
            steps=job.steps,
            batch_size=job.batch_size,
        )
        images = METHODS[method].run(context).images
        pairs = zip(truth.slices, images, strict=True)
        figures = [slice_metrics(x, image, truth.maximum) for x, image in pairs]
        if self.lpips is not None:
            distances = self.lpips.slices(truth.slices, images)
            figures = [f | {"lpips": float(d)} for f, d in zip(figures, distances, strict=True)]
        return figures


def mean_scores(scores: Sequence[dict[str, float]]) -> dict[str, float]:
    means = {key: float(np.mean([score[key] for score in scores])) for key in scores[0]}
    return {"slices": len(scores)} | means


def described(row: dict) -> str:
    cells = [row["anatomy"], row["kernel"], f"{row['noise']:g}", row["method"], row["slices"]]
    cells += [f"{row['psnr_slice']:.2f}", f"{row['psnr_lost']:+.2f}"]
    if row["lpips_lost"] is None:
        return table_row([*cells, "-", "-"])
    return table_row([*cells, f"{row['lpips']:.3f}", f"{row['lpips_lost']:+.3f}"])


if __name__ == "__main__":
    run(main)
