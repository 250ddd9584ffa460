"""What an evaluation was asked for, and a survey of its files before any work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.data import Factors, TestFile, load_truth, operator_for
from mrcascade.evaluation.lpips import MINIMUM_SIZE, LPIPSFiles
from mrcascade.evaluation.methods import CASCADE, METHODS, choose_methods
from mrcascade.evaluation.metrics import SSIM_WINDOW
from mrcascade.prior import CascadePrior
from mrcascade.prior_format import PRIOR_FILE, file_sha256, prior_folder
from mrcascade.restore import check_measurement


@dataclass(frozen=True)
class Evaluation:
    """What ``evaluate`` was asked for; the fields are the command's options."""

    data: Path
    methods: tuple[str, ...] = ("zero-fill", "bicubic", "mean", "paper")
    split: str = "test"
    factor: Factors = (2.0, 2.0)
    kernel: str = "fourier"
    noise: float = 0.0  # fraction of the measurement's robust maximum
    prior: str | Path = "mr-small"
    baselines: str | Path = "mr-small-baselines"  # name or folder of the other methods' priors
    steps: int | None = None
    samples: int = 1
    seed: int = 0
    batch_size: int = 4
    device: str = "cpu"
    precision: str = "float32"  # of the networks
    max_slices: int | None = None  # per file
    matrices: Path | None = None  # table of effective matrices
    lpips_weights: Path | None = None
    overwrite: bool = False


def factor_text(factor: Factors) -> str:
    """``2`` or ``2x1``."""
    rows, columns = factor
    return f"{rows:g}" if rows == columns else f"{rows:g}x{columns:g}"


@dataclass(frozen=True)
class Surveyed:
    """What is known of a file before any work on it."""

    file: TestFile
    kept: np.ndarray
    empty: int
    sha256: str


def checked_methods(job: Evaluation) -> list[str]:
    """The methods, each once; MRCascadeError for options that do not fit together."""
    methods = choose_methods(job.methods)
    if min(job.factor) < 1 or max(job.factor) == 1:
        raise MRCascadeError(f"factor {factor_text(job.factor)}: give factors above 1, such as 2")
    chosen = [METHODS[m] for m in methods]
    for option, given, taken in (
        ("--steps", job.steps is not None, any(method.sampled for method in chosen)),
        ("--samples", job.samples > 1, any(method.many for method in chosen)),
    ):
        if given and not taken:
            raise MRCascadeError(f"none of {', '.join(methods)} samples; drop {option}")
    return methods


def survey_file(
    file: TestFile, job: Evaluation, priors: Iterable[CascadePrior], weights: LPIPSFiles | None
) -> Surveyed:
    """Read a file once before the work, so that what cannot be evaluated is known at the start."""
    truth = load_truth(file, job.factor, job.max_slices)
    shape, smallest = truth.stack.shape[1:], MINIMUM_SIZE if weights else SSIM_WINDOW
    try:
        if min(shape) < smallest:
            raise MRCascadeError(
                f"{shape[0]}x{shape[1]} pixels are too few for {'LPIPS' if weights else 'SSIM'}"
                f" ({smallest}); leave the file out"
            )
        operator = operator_for(truth, job.kernel, job.factor)
        for prior in priors:
            check_measurement(
                np.zeros((1, *operator.out_shape), truth.stack.dtype), operator, prior
            )
    except MRCascadeError as error:
        raise MRCascadeError(f"{file.path}: {error}") from error
    return Surveyed(file, truth.kept, truth.empty, truth.sha256)


def method_prior(method: str, job: Evaluation) -> Path | None:
    """Folder of what the method has learned from; MRCascadeError where it is not there."""
    name = METHODS[method].prior
    if name is None:
        return None
    if name == CASCADE:
        return prior_folder(job.prior)
    return prior_folder(f"{job.baselines}/{name.format(factor=factor_text(job.factor))}")


def common_settings(
    job: Evaluation, survey: Sequence[Surveyed], weights: LPIPSFiles | None
) -> dict[str, Any]:
    """What every row depends on; not the folder's path, the device or the batch size."""
    return {
        "split": job.split,
        "factor": factor_text(job.factor),
        "kernel": job.kernel,
        "noise": job.noise,
        "seed": job.seed,
        "max_slices": job.max_slices,
        "lpips": None if weights is None else weights.digest,
        "files": {s.file.name: s.sha256 for s in survey},
        "effective_matrix": {s.file.name: s.file.matrix for s in survey if s.file.matrix},
    }


def method_settings(method: str, job: Evaluation) -> dict[str, Any]:
    """What the rows of one method depend on besides."""
    settings: dict[str, Any] = {}
    folder = method_prior(method, job)
    if folder is not None:
        settings["prior"] = folder.resolve().name
        settings["precision"] = job.precision
        settings["prior_sha256"] = file_sha256(folder / PRIOR_FILE)
    if METHODS[method].sampled:
        settings["steps"] = job.steps
    if METHODS[method].many:
        settings["samples"] = job.samples
    return settings
