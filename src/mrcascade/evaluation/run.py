"""The evaluation itself: survey the files, restore and score each by every method, report."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.data import (
    Measurement,
    TestFile,
    Truth,
    file_seed,
    find_files,
    load_truth,
    measure,
    operator_for,
    short_name,
)
from mrcascade.evaluation.figure import (
    MEASURED,
    TRUTH,
    Picture,
    choose_pictures,
    keep_pixels,
    write_figure,
)
from mrcascade.evaluation.job import (
    Evaluation,
    Surveyed,
    checked_methods,
    common_settings,
    factor_text,
    method_prior,
    method_settings,
    survey_file,
)
from mrcascade.evaluation.ledger import Ledger
from mrcascade.evaluation.lpips import LPIPS, find_weights
from mrcascade.evaluation.methods import METHODS, Context, Reconstruction
from mrcascade.evaluation.metrics import slice_metrics, volume_metrics
from mrcascade.evaluation.report import describe_test_set, describe_truth, facts, notes
from mrcascade.evaluation.tables import write_tables
from mrcascade.operators import SeparableOperator
from mrcascade.prior import CascadePrior
from mrcascade.restore import relative_residual, resolve_settings
from mrcascade.samplers import Progress

Tick = Callable[[int, str], None]


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
    methods = checked_methods(job)
    weights = find_weights(job.lpips_weights)
    lpips = None if weights is None else LPIPS.load(weights, job.device)
    files = find_files(job.data, job.split, job.matrices)
    folders = {m: folder for m in methods if (folder := method_prior(m, job)) is not None}
    loaded = {
        folder: CascadePrior.from_pretrained(folder, job.device, job.precision)
        for folder in set(folders.values())
    }
    priors = {method: loaded[folder] for method, folder in folders.items()}
    for method, prior in priors.items():
        if METHODS[method].sampled:
            resolve_settings(prior, "paper")  # which says so where the prior has no samples
    survey = [survey_file(file, job, loaded.values(), weights) for file in files]
    settings = common_settings(job, survey, weights)
    ledger = Ledger.open(
        output, settings, {m: method_settings(m, job) for m in methods}, job.overwrite
    )
    remarks = notes(survey, loaded.values(), weights)
    for line in (describe_test_set(job, survey), f"truth: {describe_truth(survey)}", *remarks):
        say(line)
    pictures = choose_pictures([(s.file.name, s.file.anatomy, s.kept) for s in survey])
    bench = _Bench(job, methods, priors, lpips, ledger, pictures)
    tick = progress(len(methods) * sum(len(s.kept) for s in survey))
    for surveyed in survey:
        bench.run(surveyed, tick)
    for method in ledger.unfinished:
        remarks.append(f"Method {method} has not restored every file and is left out here.")
        say(remarks[-1])
    tables = write_tables(ledger, facts(job, ledger, survey), remarks, job.seed)
    return [*tables, write_figure(output, pictures, ledger.methods)]


@dataclass(frozen=True)
class _Bench:
    """Restores and scores one file after another."""

    job: Evaluation
    methods: list[str]
    priors: Mapping[str, CascadePrior]
    lpips: LPIPS | None
    ledger: Ledger
    pictures: list[Picture]

    def run(self, surveyed: Surveyed, tick: Tick) -> None:
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
            steps=job.steps,
            samples=job.samples,
            batch_size=job.batch_size,
        )
        for method in todo:
            report = _step_report(tick, file, method)
            context = replace(context, prior=self.priors.get(method), callback=report)
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
        tick(0, f"{short_name(file.name)} {method} {step}")

    return report
