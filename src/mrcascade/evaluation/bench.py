"""Restoring and scoring of a few slices of one file by one method, the unit of an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from mrcascade.arrays.intensity import Intensity, body_of
from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.data import (
    Measurement,
    TestFile,
    Truth,
    file_seed,
    measure,
    short_name,
    truth_operator,
)
from mrcascade.evaluation.figure import MEASURED, STEPS, TRUTH, Picture
from mrcascade.evaluation.job import Evaluation, Surveyed, Truths, averaged_samples, factor_text
from mrcascade.evaluation.lpips import LPIPS
from mrcascade.evaluation.meter import CompilerWatch, CostMeter, describe_hardware
from mrcascade.evaluation.methods import Context, Method, Reconstruction, Run
from mrcascade.evaluation.metrics import complex_metrics, slice_metrics, spread_skill
from mrcascade.evaluation.units import Failed, Scored, Tick, Unit, run_unit
from mrcascade.jobs.memory import Batches
from mrcascade.measurement.domain import measure_domain
from mrcascade.messages.faults import naming
from mrcascade.operators import SeparableOperator
from mrcascade.operators.baselines import zero_filled
from mrcascade.prior.cascade import CascadePrior
from mrcascade.restore import relative_residual
from mrcascade.sampling import Progress


@dataclass(frozen=True)
class _Case:
    """Truth, measurement and body mask of a file's slices to evaluate, and their restorers."""

    file: TestFile
    truth: Truth
    operator: SeparableOperator
    measured: Measurement
    body: np.ndarray
    seed: int
    prepared: dict[str, Run] = field(default_factory=dict)  # method -> its restorer
    domain: dict[str, float] = field(default_factory=dict)  # prior -> domain score


class Bench:
    """Restores and scores units; keeps the last file in memory."""

    def __init__(
        self,
        job: Evaluation,
        methods: Mapping[str, Method],
        priors: Mapping[str, CascadePrior],
        lpips: LPIPS | None,
        survey: Sequence[Surveyed],
        pictures: Sequence[Picture],
        truths: Truths | None = None,
    ) -> None:
        """Prepare for a job.

        Args:
            job: the evaluation.
            methods: methods by name.
            priors: prior of each method that has one.
            lpips: LPIPS metric, if its weights were found.
            survey: the files.
            pictures: slices to show.
            truths: ground truths that the survey has read; by default every file is read again.
        """
        self._truths = Truths(job) if truths is None else truths
        self._job, self._methods, self._priors, self._lpips = job, methods, priors, lpips
        self._survey = {s.file.name: s for s in survey}
        self._pictures = pictures
        self._case: _Case | None = None
        self._meter = CostMeter()
        self._device = torch.device(job.device)
        self._batches: dict[str, Batches] = {}  # method -> its batches

    def run(self, unit: Unit, tick: Tick) -> Scored | Failed:
        """Restore and score a unit.

        Args:
            unit: the unit.
            tick: called after each network evaluation.

        Returns:
            The results; `Failed` if the device failed or ran out of memory but still works.

        Raises:
            MRCascadeError: the file cannot be measured, or the device does not work any more.
        """
        with naming(unit.file):
            case = self._opened(unit.file)
        restored = partial(self._restored, unit, case, tick)
        return run_unit(unit, case.file.path, self._device, restored)

    def _restored(self, unit: Unit, case: _Case, tick: Tick) -> Scored:
        job, method = self._job, self._methods[unit.method]
        rows = np.searchsorted(case.truth.kept, unit.numbers)
        context = Context(
            measurement=case.measured.slices[rows],
            numbers=unit.numbers,
            operator=case.operator,
            kernel=job.kernel,
            scale=case.measured.scale,
            noise=case.measured.noise,
            margins=case.measured.margins,
            seed=case.seed,
            prior=self._priors.get(unit.method),
            steps=job.steps,
            samples=averaged_samples(job),
            callback=_step_report(tick, unit),
        )
        if unit.method not in case.prepared:
            case.prepared[unit.method] = method.prepare(context)
        run = case.prepared[unit.method]
        images = len(rows) * (context.samples if method.averaged else 1)
        watch = CompilerWatch(context.prior)

        def timed(batch: int) -> tuple[Reconstruction, dict[str, float]]:
            given = replace(context, batch_size=batch)
            result, cost = self._meter(
                context.prior, [case.operator], min(batch, images), tick, partial(run, given)
            )
            each = {"seconds": cost.seconds, "gflop": cost.flop / 1e9}
            return result, {name: value / len(rows) for name, value in each.items()}

        initial = Batches(job.batch_size, self._device, partial(tick, 0))
        batches = self._batches.setdefault(unit.method, initial)
        result, cost = batches.run(case.file.path, images, timed)
        return Scored(
            self._scores(unit, case, rows, result, cost),
            list(self._panels(unit, case, rows, result.images)),
            describe_hardware(self._device, job.workers, batches.size, watch.used),
            watch.news,
            self._domain(case, context),
        )

    def _domain(self, case: _Case, context: Context) -> Mapping[str, float]:
        """Return the domain scores of the file, with that of the context's prior."""
        prior, measured = context.prior, case.measured
        if prior is not None and prior.name not in case.domain:
            read, intensity = measured.slices.__getitem__, Intensity(measured.scale)
            field = case.operator.in_shape
            slices, noise = len(measured.slices), measured.noise
            found = measure_domain(read, slices, field, prior, intensity, noise)
            if found is not None:
                case.domain[prior.name] = found.score
        return case.domain

    def _opened(self, name: str) -> _Case:
        if self._case is None or self._case.file.name != name:
            surveyed, job = self._survey[name], self._job
            truth = replace(self._truths.take(surveyed.file), kept=surveyed.numbers)
            operator = truth_operator(truth, job.kernel, job.factor)
            seed = file_seed(job.seed, name)
            try:
                known = job.noise_handling == "known"
                measured = measure(truth, operator, job.noise, seed, known)
            except MRCascadeError as error:
                raise MRCascadeError(f"{surveyed.file.path}: {error}") from error
            # Decomposed once here, so that no method is charged for it.
            body = body_of(zero_filled(measured.slices, operator), measured.scale)
            self._case = _Case(surveyed.file, truth, operator, measured, body, seed)
        return self._case

    def _scores(
        self,
        unit: Unit,
        case: _Case,
        rows: np.ndarray,
        result: Reconstruction,
        cost: Mapping[str, float],
    ) -> list[dict[str, Any]]:
        reference, images = case.truth.slices[rows], result.images
        maximum = case.truth.maximum
        residual = result.residual
        if residual is None:
            residual = relative_residual(images, case.measured.slices[rows], case.operator)
        lpips = None if self._lpips is None else self._lpips.slices(reference, images)
        common = {
            "file": unit.file,
            "anatomy": case.file.anatomy,
            "method": unit.method,
            "factor": factor_text(self._job.factor),
            "kernel": self._job.kernel,
            "noise": self._job.noise,
            "nfe": result.evaluations,
            **cost,
        }
        return [
            common
            | {"slice": int(number)}
            | slice_metrics(reference[s], images[s], maximum)
            | complex_metrics(reference[s], images[s])
            | {"lpips": None if lpips is None else float(lpips[s])}
            | {"residual": float(residual[s])}
            | {"spread_skill": self._spread(case, rows[s], images[s], result, s)}
            for s, number in enumerate(unit.numbers)
        ]

    def _spread(
        self, case: _Case, row: int, image: np.ndarray, result: Reconstruction, s: int
    ) -> float | None:
        if result.std is None:
            return None
        truth, samples = case.truth.slices[row], averaged_samples(self._job)
        return spread_skill(truth, image, result.std[s], samples, case.body[row])

    def _panels(
        self, unit: Unit, case: _Case, rows: np.ndarray, images: np.ndarray
    ) -> Iterator[tuple[Picture, str, np.ndarray]]:
        for picture in self._pictures:
            if picture.file == unit.file and picture.number in unit.numbers:
                s = unit.numbers.index(picture.number)
                yield picture, TRUTH, case.truth.slices[rows[s]]
                yield picture, MEASURED, case.measured.slices[rows[s]]
                yield picture, unit.method, images[s]
                if case.truth.steps is not None:
                    yield picture, STEPS, case.truth.steps


def _step_report(tick: Tick, unit: Unit) -> Callable[[Progress], None]:
    def report(event: Progress) -> None:
        step = f"level {event.level} step {event.step + 1}/{event.steps}"
        tick(0, f"{short_name(unit.file)} {unit.method} {step}")

    return report
