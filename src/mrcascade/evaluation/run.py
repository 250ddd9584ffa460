"""The evaluation itself: survey the files, restore and score each by every method, report."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mrcascade import __version__
from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.data import (
    Factors,
    Measurement,
    TestFile,
    Truth,
    file_seed,
    find_files,
    load_truth,
    measure,
    operator_for,
)
from mrcascade.evaluation.figure import (
    MEASURED,
    TRUTH,
    Picture,
    choose_pictures,
    keep_pixels,
    write_figure,
)
from mrcascade.evaluation.ledger import Ledger
from mrcascade.evaluation.lpips import (
    BACKBONE_FILES,
    LINEAR_FILES,
    LPIPS,
    MINIMUM_SIZE,
    NETWORK,
    LPIPSFiles,
    find_weights,
)
from mrcascade.evaluation.methods import (
    METHODS,
    Context,
    Reconstruction,
    choose_methods,
)
from mrcascade.evaluation.metrics import SSIM_WINDOW, slice_metrics, volume_metrics
from mrcascade.evaluation.tables import write_tables
from mrcascade.operators import SeparableOperator
from mrcascade.prior import CascadePrior
from mrcascade.prior_format import PRIOR_FILE, file_sha256, prior_folder
from mrcascade.restore import check_measurement, relative_residual
from mrcascade.samplers import Progress

Tick = Callable[[int, str], None]
NOTICE = "Research software; not for diagnosis."


@dataclass(frozen=True)
class Evaluation:
    """What ``evaluate`` was asked for; the fields are the command's options."""

    data: Path
    methods: tuple[str, ...] = tuple(METHODS)
    split: str = "test"
    factor: Factors = (2.0, 2.0)
    kernel: str = "fourier"
    noise: float = 0.0  # fraction of the measurement's robust maximum
    prior: str | Path = "mr-small"
    steps: int | None = None
    samples: int = 1
    seed: int = 0
    batch_size: int = 4
    device: str = "cpu"
    max_slices: int | None = None  # per file
    matrices: Path | None = None  # table of effective matrices
    lpips_weights: Path | None = None
    overwrite: bool = False


def evaluate(
    job: Evaluation,
    output: Path,
    *,
    say: Callable[[str], None],
    progress: Callable[[int], Tick],
) -> list[Path]:
    """Evaluate methods on a test set and write metrics, tables and a picture to ``output``.

    Goes on where an evaluation with the same settings stopped; methods may be added to it.
    ``say`` gets one line per fact; ``progress(slices)`` makes a callback (slices done, what is
    being done). Returns the report's files. Raises MRCascadeError for input that cannot be
    evaluated, before any work where that can be known.
    """
    methods = _checked_methods(job)
    weights = find_weights(job.lpips_weights)
    files = find_files(job.data, job.split, job.matrices)
    prior = None
    if any(METHODS[m].learned for m in methods):
        prior = CascadePrior.from_pretrained(job.prior, job.device)
    survey = [_survey(file, job, prior, weights) for file in files]
    ledger = Ledger.open(
        output,
        _settings(job, survey, weights),
        {m: _method_settings(m, job) for m in methods},
        job.overwrite,
    )
    facts = _facts(job, ledger, survey, prior, weights)
    notes = _notes(ledger, survey, prior, weights)
    for line in (facts["Test set"], *notes):
        say(line)
    lpips = None if weights is None else LPIPS.load(weights, job.device)
    bench = _Bench(job, methods, prior, lpips, ledger, choose_pictures(_pictured(survey)))
    tick = progress(len(methods) * sum(len(s.kept) for s in survey))
    for surveyed in survey:
        bench.run(surveyed, tick)
    facts["Methods"] = "; ".join(_about(m, job) for m in ledger.methods)
    tables = write_tables(ledger, facts, notes, ledger.document, job.seed)
    picture = write_figure(output, bench.pictures, ledger.methods)
    return [*tables, picture]


# ---- before the work ----


@dataclass(frozen=True)
class _Surveyed:
    """What is known of a file before any work on it."""

    file: TestFile
    kept: np.ndarray
    empty: int
    sha256: str


def _checked_methods(job: Evaluation) -> list[str]:
    methods = choose_methods(job.methods)
    if min(job.factor) < 1 or max(job.factor) == 1:
        raise MRCascadeError(f"factor {factor_text(job.factor)}: give factors above 1, such as 2")
    if not any(METHODS[m].sampled for m in methods):
        for option, given in (("--steps", job.steps is not None), ("--samples", job.samples > 1)):
            if given:
                raise MRCascadeError(f"none of {', '.join(methods)} samples; drop {option}")
    return methods


def _survey(
    file: TestFile, job: Evaluation, prior: CascadePrior | None, weights: LPIPSFiles | None
) -> _Surveyed:
    """Read a file once before the work, so that what cannot be evaluated is known at the start."""
    truth = load_truth(file, job.factor, job.max_slices)
    shape, smallest = truth.stack.shape[1:], MINIMUM_SIZE if weights else SSIM_WINDOW
    try:
        if min(shape) < smallest:
            raise MRCascadeError(
                f"{shape[0]}x{shape[1]} pixels are too few for {'LPIPS' if weights else 'SSIM'}"
                f" ({smallest}); leave the file out"
            )
        if prior is not None:
            operator = operator_for(truth, job.kernel, job.factor)
            check_measurement(
                np.zeros((1, *operator.out_shape), truth.stack.dtype), operator, prior
            )
    except MRCascadeError as error:
        raise MRCascadeError(f"{file.path}: {error}") from error
    return _Surveyed(file, truth.kept, truth.empty, truth.sha256)


def _pictured(survey: Sequence[_Surveyed]) -> list[tuple[str, str, np.ndarray]]:
    return [(s.file.name, s.file.anatomy, s.kept) for s in survey]


# ---- the work ----


@dataclass(frozen=True)
class _Bench:
    """Restores and scores one file after another."""

    job: Evaluation
    methods: list[str]
    prior: CascadePrior | None
    lpips: LPIPS | None
    ledger: Ledger
    pictures: list[Picture]

    def run(self, surveyed: _Surveyed, tick: Tick) -> None:
        file, job = surveyed.file, self.job
        todo = [m for m in self.methods if not self.ledger.done(file.name, m)]
        tick((len(self.methods) - len(todo)) * len(surveyed.kept), "")
        if not todo:
            return
        truth = load_truth(file, job.factor, job.max_slices)
        operator = operator_for(truth, job.kernel, job.factor)
        seed = file_seed(job.seed, file.name)
        try:
            measured = measure(truth, operator, job.noise, seed)
        except MRCascadeError as error:
            raise MRCascadeError(f"{file.path}: {error}") from error
        self._keep(file, truth, TRUTH, truth.slices)
        self._keep(file, truth, MEASURED, measured.slices)
        context = Context(
            measurement=measured.slices,
            operator=operator,
            kernel=job.kernel,
            scale=measured.scale,
            noise=measured.noise,
            seed=seed,
            prior=self.prior,
            steps=job.steps,
            samples=job.samples,
            batch_size=job.batch_size,
        )
        for method in todo:
            context = replace(context, callback=_step_report(tick, file, method))
            started = time.perf_counter()
            result = METHODS[method].run(context)
            seconds = time.perf_counter() - started
            # The picture comes first: once the rows are there, nobody returns to this file.
            self._keep(file, truth, method, result.images)
            self._score(file, method, truth, measured, operator, result, seconds)
            tick(len(truth.kept), "")

    def _score(
        self,
        file: TestFile,
        method: str,
        truth: Truth,
        measured: Measurement,
        operator: SeparableOperator,
        result: Reconstruction,
        seconds: float,
    ) -> None:
        reference, images = truth.slices, result.images
        count, maximum = len(reference), truth.maximum
        residual = relative_residual(images, measured.slices, operator)
        lpips = None if self.lpips is None else self.lpips.slices(reference, images)
        key = {
            "file": file.name,
            "anatomy": file.anatomy,
            "method": method,
            "factor": factor_text(self.job.factor),
            "kernel": self.job.kernel,
            "noise": self.job.noise,
        }
        cost = {"seconds": seconds / count, "nfe": result.evaluations}
        rows = [
            key
            | {"slice": int(number)}
            | slice_metrics(reference[s], images[s], maximum)
            | {"lpips": None if lpips is None else float(lpips[s])}
            | {"residual": float(residual[s])}
            | cost
            for s, number in enumerate(truth.kept)
        ]
        volume = key | {"slices": count} | volume_metrics(reference, images, maximum)
        self.ledger.add(rows, volume | {"residual": float(residual.max())} | cost)

    def _keep(self, file: TestFile, truth: Truth, name: str, images: np.ndarray) -> None:
        for picture in self.pictures:
            if picture.file == file.name:
                index = int(np.searchsorted(truth.kept, picture.number))
                keep_pixels(self.ledger.folder, picture, name, images[index])


def _step_report(tick: Tick, file: TestFile, method: str) -> Callable[[Progress], None]:
    def report(event: Progress) -> None:
        step = f"level {event.level} step {event.step + 1}/{event.steps}"
        tick(0, f"{file.path.name.split('.')[0]} {method} {step}")

    return report


# ---- what the report says ----


def factor_text(factor: Factors) -> str:
    """``2`` or ``2x1``."""
    rows, columns = factor
    return f"{rows:g}" if rows == columns else f"{rows:g}x{columns:g}"


def _settings(
    job: Evaluation, survey: Sequence[_Surveyed], weights: LPIPSFiles | None
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


def _method_settings(method: str, job: Evaluation) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    if METHODS[method].learned:
        settings["prior"] = file_sha256(prior_folder(job.prior) / PRIOR_FILE)
    if METHODS[method].sampled:
        settings |= {"steps": job.steps, "samples": job.samples}
    return settings


def _about(method: str, job: Evaluation) -> str:
    text = f"`{method}` {METHODS[method].about}"
    if METHODS[method].sampled:
        steps = "the recipe's T" if job.steps is None else f"T = {job.steps}"
        draws = "one sample" if job.samples == 1 else f"the mean of {job.samples} samples"
        text += f", {steps}, {draws}"
    return text


def _facts(
    job: Evaluation,
    ledger: Ledger,
    survey: Sequence[_Surveyed],
    prior: CascadePrior | None,
    weights: LPIPSFiles | None,
) -> dict[str, str]:
    slices, cropped = sum(len(s.kept) for s in survey), sum(bool(s.file.matrix) for s in survey)
    empty = sum(s.empty for s in survey)
    limit = "" if job.max_slices is None else f" (at most {job.max_slices} per file)"
    facts = {
        "Test set": f"{job.data.resolve().name}, split {job.split}: {slices} slices{limit} of"
        f" {len(survey)} files; {empty} empty slices left out (mean magnitude below 2 % of the"
        " robust maximum)",
        "Ground truth": f"Fourier-cropped to the acquired matrix where it is known ({cropped} of"
        f" {len(survey)} files), centre-cropped to a multiple of the factor",
        "Measurement": f"{job.kernel} {factor_text(job.factor)}x, noise {job.noise:g} of the"
        f" measurement's robust maximum, seed {job.seed}",
        "Intensity scale of the methods": "robust maximum of the measured volume; nothing of the"
        " ground truth reaches a method",
        "Methods": "",
        "Data range": "the ground truth's maximum, of the slice or of the volume as labelled;"
        " SSIM with a uniform 7x7 window, K1 0.01, K2 0.03, sample covariance",
        "LPIPS": f"{NETWORK}; magnitude, the slice's ground-truth maximum at 1 and zero at -1,"
        " one channel repeated" if weights else "not computed, no weights found",
        "Prior": "none" if prior is None else f"{prior.name} (prior.json"
        f" {file_sha256(prior_folder(job.prior) / PRIOR_FILE)[:12]})",
        "Time": f"seconds per slice, {hardware(job.device)}, batches of {job.batch_size}",
        "Software": f"mrcascade {__version__}, torch {torch.__version__}. {NOTICE}",
    }  # fmt: skip
    return facts


def _notes(
    ledger: Ledger,
    survey: Sequence[_Surveyed],
    prior: CascadePrior | None,
    weights: LPIPSFiles | None,
) -> list[str]:
    notes = []
    if weights is None:
        notes.append(
            f"The LPIPS column is empty: {BACKBONE_FILES[0]} and {LINEAR_FILES[0]} were not found;"
            " name their folder with --lpips-weights."
        )
    trained = set() if prior is None else set(prior.provenance.get("files", ()))
    seen = [s.file.name for s in survey if s.file.name in trained]
    if seen:
        notes.append(
            f"Careful: {len(seen)} of {len(survey)} files, such as {seen[0]}, are among those that"
            " the prior was trained on."
        )
    return notes


def hardware(device: str) -> str:
    """The processor that does the work, in words."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.get_num_threads()} CPU thread(s) ({_processor()})"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
