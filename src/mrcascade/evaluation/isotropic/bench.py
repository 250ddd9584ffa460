"""Restoring and scoring of a volume with thick slices along one axis by one method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

from mrcascade.arrays.intensity import Intensity
from mrcascade.evaluation.data import TestFile, short_name
from mrcascade.evaluation.figure import MEASURED, STEPS, TRUTH, Picture
from mrcascade.evaluation.isotropic.job import IsotropicEvaluation, settings_of
from mrcascade.evaluation.isotropic.methods import VolumeMethod
from mrcascade.evaluation.isotropic.planes import plane_of, view_of
from mrcascade.evaluation.isotropic.scores import VolumeScorer
from mrcascade.evaluation.isotropic.survey import SurveyedVolume, case_of, case_seed
from mrcascade.evaluation.isotropic.volumes import ThickCase, ThinVolume, read_thin_volume
from mrcascade.evaluation.ledger import SPREAD
from mrcascade.evaluation.meter import CompilerWatch, CostMeter, WorkCost, describe_hardware
from mrcascade.evaluation.metrics import spread_skill
from mrcascade.evaluation.units import Failed, Scored, Tick, Unit, run_unit
from mrcascade.io import plane_steps
from mrcascade.jobs.memory import Batches
from mrcascade.measurement.domain import measure_domain
from mrcascade.messages.faults import naming
from mrcascade.operators import SeparableOperator
from mrcascade.prior.cascade import CascadePrior
from mrcascade.restore.volume import VolumePlan, VolumeRestorer


@dataclass(frozen=True)
class _Opened:
    """A file's volume, with what was made of it along each axis."""

    file: TestFile
    volume: ThinVolume
    cases: dict[int, tuple[ThickCase, VolumeScorer]] = field(default_factory=dict)
    restorers: dict[tuple[int, str], VolumeRestorer] = field(default_factory=dict)
    domain: dict[str, float] = field(default_factory=dict)  # prior -> domain score


@dataclass(frozen=True)
class _Made:
    """What a method made of thick slices."""

    image: np.ndarray
    std: np.ndarray | None = None
    evaluations: int = 0


@dataclass(frozen=True)
class MadeVolume:
    """A restored volume.

    Attributes:
        case: the thick slices, and the truth.
        scorer: scores results for the case.
        image: (n, h, w).
        std: (n, h, w), standard deviation over the samples, for a mean of samples.
        evaluations: network evaluations over levels and samples; in one, all planes (slices, rows)
            or all planes (slices, columns) pass through a network.
        cost: what it took.
        batch: number of planes that passed through the networks together.
    """

    case: ThickCase
    scorer: VolumeScorer
    image: np.ndarray
    std: np.ndarray | None
    evaluations: int
    cost: WorkCost
    batch: int


class VolumeBench:
    """Restores and scores units of one axis; keeps the last file in memory."""

    def __init__(
        self,
        job: IsotropicEvaluation,
        methods: Mapping[str, VolumeMethod],
        prior: CascadePrior | None,
        volumes: Sequence[SurveyedVolume],
        pictures: Sequence[Picture],
    ) -> None:
        """Prepare for a job.

        Args:
            job: the evaluation.
            methods: methods by name.
            prior: prior of the modes, if there are any.
            volumes: the files.
            pictures: planes to show.
        """
        self._job, self._methods, self._prior = job, methods, prior
        self._volumes = {v.file.name: v for v in volumes}
        self._pictures = pictures
        self._opened: _Opened | None = None
        self._meter = CostMeter()
        self._device = torch.device(job.device)
        self._batches: dict[str, Batches] = {}  # method -> its batches

    def run(self, unit: Unit, tick: Tick) -> Scored | Failed:
        """Restore and score a unit.

        Args:
            unit: the unit; its one number is the axis.
            tick: called as planes are done.

        Returns:
            The results; `Failed` if the device failed or ran out of memory but still works.

        Raises:
            MRCascadeError: the file cannot be measured, or the device does not work any more.
        """
        with naming(unit.file):
            opened = self._open(unit.file)
        scored = partial(self._scored, unit, opened, tick)
        return run_unit(unit, opened.file.path, self._device, scored)

    def restore(self, unit: Unit, tick: Tick) -> MadeVolume:
        """Restore a unit without scoring it."""
        return self._restored(unit, self._open(unit.file), tick)

    def _open(self, name: str) -> _Opened:
        if self._opened is None or self._opened.file.name != name:
            self._opened = None  # one volume at a time
            file = self._volumes[name].file
            self._opened = _Opened(file, read_thin_volume(file))
        return self._opened

    def _restored(self, unit: Unit, opened: _Opened, tick: Tick) -> MadeVolume:
        (axis,) = unit.numbers
        if axis not in opened.cases:
            case = case_of(opened.volume, opened.file, axis, self._job)
            opened.cases[axis] = case, VolumeScorer(case)
        case, scorer = opened.cases[axis]
        plain = self._methods[unit.method].plain
        if plain is None:
            made, cost, batch = self._by_prior(unit, opened, case, tick)
        else:
            work = partial(plain, case.measurement, case.thick)
            image, cost = self._meter(None, [], 1, tick, work)
            made, batch = _Made(image), 1
        return MadeVolume(case, scorer, made.image, made.std, made.evaluations, cost, batch)

    def _by_prior(
        self, unit: Unit, opened: _Opened, case: ThickCase, tick: Tick
    ) -> tuple[_Made, WorkCost, int]:
        """Return the result, its cost and the batch size."""
        job, method, prior = self._job, self._methods[unit.method], self._prior
        assert prior is not None  # a mode has a prior
        key = case.axis, unit.method
        if key not in opened.restorers:  # planned here, so that no method is charged for it
            shape = case.truth.shape[1], case.truth.shape[2]
            settings = settings_of(method, job, prior)
            plan = VolumePlan.of(prior, case.thick, shape, case.noise, settings)
            opened.restorers[key] = VolumeRestorer(prior, plan)
        restorer = opened.restorers[key]
        samples = job.averaged if method.averaged else 1
        planes = restorer.plan.work(samples)

        def report(done: int) -> None:
            tick(0, f"{short_name(unit.file)} {unit.method} {done}/{planes} planes")

        def restored(batch: int) -> _Made:
            result = restorer(
                case.measurement,
                Intensity(case.scale),
                samples=samples,
                seed=case_seed(job.seed, unit.file, case.axis),
                batch_size=batch,
                progress=report,
            )
            evaluations = samples * sum(result.evaluations.values())
            return _Made(result.mean, result.std, evaluations)

        def timed(batch: int) -> tuple[_Made, WorkCost]:
            measured = (kind.plans[0].operator for kind in restorer.plan.cascade.kinds)
            operators = [one for one in measured if isinstance(one, SeparableOperator)]
            return self._meter(prior, operators, batch, tick, partial(restored, batch))

        initial = Batches(job.batch_size, self._device, partial(tick, 0))
        batches = self._batches.setdefault(unit.method, initial)
        made, cost = batches.run(opened.file.path, max(case.truth.shape[1:]), timed)
        return made, cost, batches.size

    def _scored(self, unit: Unit, opened: _Opened, tick: Tick) -> Scored:
        job, method = self._job, self._methods[unit.method]
        watch = CompilerWatch(self._prior if method.mode else None)
        result = self._restored(unit, opened, tick)
        case, cost = result.case, result.cost
        row: dict[str, Any] = {
            "file": unit.file,
            "axis": case.axis,
            "anatomy": opened.file.anatomy,
            "method": unit.method,
            "factor": f"{job.factor:g}",
            "profile": job.profile.name,
            "thickness": job.thickness,
            "noise": job.noise,
            **result.scorer(result.image),
            "seconds": cost.seconds,
            "cpu_seconds": cost.cpu_seconds,
            "nfe": result.evaluations,
            "gflop": cost.flop / 1e9,
            SPREAD: None,
        }
        if result.std is not None:
            row[SPREAD] = spread_skill(
                case.truth, result.image, result.std, job.averaged, result.scorer.body
            )
        return Scored(
            [row],
            list(self._panels(unit, opened, case, result.image)),
            describe_hardware(self._device, job.workers, result.batch, watch.used),
            watch.news,
            self._domain(opened, case, method),
        )

    def _domain(
        self, opened: _Opened, case: ThickCase, method: VolumeMethod
    ) -> Mapping[str, float]:
        """Return the domain scores of the file by its thick slices, with that of the prior."""
        prior = self._prior
        if method.mode is not None and prior is not None and prior.name not in opened.domain:
            low, intensity = case.measurement, Intensity(case.scale)
            found = measure_domain(
                low.__getitem__, len(low), low.shape[1:], prior, intensity, case.noise
            )
            if found is not None:
                opened.domain[prior.name] = found.score
        return opened.domain

    def _panels(
        self, unit: Unit, opened: _Opened, case: ThickCase, image: np.ndarray
    ) -> Iterator[tuple[Picture, str, np.ndarray]]:
        for picture in self._pictures:
            view = view_of(self._volumes[unit.file].axes, picture.number)
            if picture.file != unit.file or view.axis != case.axis:
                continue
            truth = plane_of(case.truth, case, view)
            yield picture, TRUTH, truth
            yield picture, MEASURED, plane_of(case.measurement, case, view)
            yield picture, unit.method, plane_of(image, case, view)
            volume = opened.volume.image
            steps = plane_steps(volume, view.axes, tuple(volume.shape[a] for a in view.axes))
            if steps is not None:
                yield picture, STEPS, steps
