"""Validation slices on which settings are chosen, and the scores of images restored from them."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from skimage.metrics import peak_signal_noise_ratio

from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.data import (
    Measurement,
    file_seed,
    find_files,
    load_truth,
    measure,
    truth_operator,
)
from mrcascade.evaluation.job import Evaluation, survey_files
from mrcascade.evaluation.lpips import LPIPS, find_weights
from mrcascade.operators import LinearOperator


@dataclass(frozen=True)
class Case:
    """Slices (S, H, W) of one file and their noise-free measurement, kernel ``fourier``."""

    anatomy: str
    numbers: Sequence[int]
    truth: np.ndarray
    low: Measurement
    operator: LinearOperator
    seed: int


def case_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that `load_cases` and `load_lpips` read."""
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--factor", type=int, default=4)
    parser.add_argument("--max-slices", type=int, default=1, help="slices per file")
    parser.add_argument(
        "--anatomy-slices", type=int, help="slices per anatomy instead, as in evaluate"
    )
    parser.add_argument("--lpips-weights", type=Path, required=True)


def load_cases(options: argparse.Namespace) -> list[Case]:
    per_file = None if options.anatomy_slices else options.max_slices
    job = Evaluation(
        options.data,
        split=options.split,
        factor=(float(options.factor),) * 2,
        max_slices=per_file,
        anatomy_slices=options.anatomy_slices,
    )
    cases = []
    for found in survey_files(find_files(job.data, job.split), job, (), None):
        truth = replace(load_truth(found.file, job.factor), kept=found.numbers)
        operator = truth_operator(truth, job.kernel, job.factor)
        seed = file_seed(job.seed, found.file.name)
        low = measure(truth, operator, job.noise, seed, True)
        case = Case(found.file.anatomy, truth.kept.tolist(), truth.slices, low, operator, seed)
        cases.append(case)
    return cases


def load_lpips(options: argparse.Namespace) -> LPIPS:
    weights = find_weights(options.lpips_weights)
    if weights is None:
        raise MRCascadeError("no weights of LPIPS here; name their folder with --lpips-weights")
    return LPIPS.load(weights)


def scores(
    cases: Sequence[Case], restored: Iterable[np.ndarray], lpips: LPIPS
) -> dict[str, np.ndarray]:
    """Return means over an anatomy's slices of PSNR (dB; range: slice maximum) and LPIPS."""
    rows: dict[str, list] = {}
    for case, images in zip(cases, restored, strict=True):
        values = zip(case.truth, images, lpips.slices(case.truth, images), strict=True)
        for x, image, distance in values:
            psnr = peak_signal_noise_ratio(x, image, data_range=float(x.max()))
            rows.setdefault(case.anatomy, []).append((psnr, distance))
    return {anatomy: np.mean(values, axis=0) for anatomy, values in sorted(rows.items())}
