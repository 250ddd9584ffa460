"""Restores and scores a few slices of one file by one method: the unit of an evaluation's work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mrcascade.baselines import zero_filled
from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.data import (
    Measurement,
    TestFile,
    Truth,
    file_seed,
    load_truth,
    measure,
    operator_for,
    short_name,
)
from mrcascade.evaluation.figure import MEASURED, STEPS, TRUTH, Picture
from mrcascade.evaluation.flops import FlopMeter
from mrcascade.evaluation.job import Evaluation, Surveyed, averaged_samples, factor_text
from mrcascade.evaluation.lpips import LPIPS
from mrcascade.evaluation.methods import Context, Method, Reconstruction
from mrcascade.evaluation.metrics import complex_metrics, slice_metrics, spread_skill
from mrcascade.faults import naming
from mrcascade.intensity import body_of
from mrcascade.operators import SeparableOperator
from mrcascade.prior import CascadePrior
from mrcascade.restore import relative_residual
from mrcascade.samplers import Progress

Tick = Callable[[int, str], None]


@dataclass(frozen=True)
class Unit:
    """Slices ``numbers`` of a file, to be restored by a method together."""

    file: str
    method: str
    numbers: tuple[int, ...]


@dataclass(frozen=True)
class Scored:
    """What came of a unit: a row per slice, and (picture, name, pixels) of what is to be shown."""

    rows: list[dict[str, Any]]
    panels: list[tuple[Picture, str, np.ndarray]]


@dataclass(frozen=True)
class _Case:
    """A file's truth, its measurement and where its body is, of the slices to evaluate."""

    file: TestFile
    truth: Truth
    operator: SeparableOperator
    measured: Measurement
    body: np.ndarray
    seed: int


class Bench:
    """Restores and scores units; keeps the file that it worked on last."""

    def __init__(
        self,
        job: Evaluation,
        methods: Mapping[str, Method],
        priors: Mapping[str, CascadePrior],
        lpips: LPIPS | None,
        survey: Sequence[Surveyed],
        pictures: Sequence[Picture],
    ) -> None:
        self._job, self._methods, self._priors, self._lpips = job, methods, priors, lpips
        self._survey = {s.file.name: s for s in survey}
        self._pictures = pictures
        self._case: _Case | None = None
        self._flops = FlopMeter()

    def run(self, unit: Unit, tick: Tick) -> Scored:
        """Restore and score; ``tick`` hears of every network evaluation. Raises MRCascadeError
        for a file that cannot be measured or restored."""
        with naming(unit.file):
            return self._run(unit, tick)

    def _run(self, unit: Unit, tick: Tick) -> Scored:
        case, job = self._opened(unit.file), self._job
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
            batch_size=job.batch_size,
            callback=_step_report(tick, unit),
        )
        started = time.perf_counter()
        with self._flops.counting(context.prior) as count:
            result = self._methods[unit.method].run(context)
        seconds = (time.perf_counter() - started) / len(rows)
        cost = {"seconds": seconds, "gflop": count.total / 1e9 / len(rows)}
        return Scored(
            self._scores(unit, case, rows, result, cost),
            list(self._panels(unit, case, rows, result.images)),
        )

    def _opened(self, name: str) -> _Case:
        if self._case is None or self._case.file.name != name:
            surveyed, job = self._survey[name], self._job
            truth = load_truth(surveyed.file, job.factor, phase_seed=job.phase_seed)
            truth = replace(truth, kept=surveyed.numbers)
            operator = operator_for(truth, job.kernel, job.factor)
            seed = file_seed(job.seed, name)
            try:
                known = job.noise_handling == "known"
                measured = measure(truth, operator, job.noise, seed, known)
            except MRCascadeError as error:
                raise MRCascadeError(f"{surveyed.file.path}: {error}") from error
            # Before any method, whose time it would be: the operator keeps its decomposition.
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
