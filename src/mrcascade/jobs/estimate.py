"""Estimates before a job runs: size, network evaluations, time, memory and disk space."""

from __future__ import annotations

import math
import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mrcascade.jobs.common import Item, sr_targets
from mrcascade.jobs.memory import (
    default_batch,
    fitting_batch,
    image_bytes,
    joint_bytes,
    volume_bytes,
)
from mrcascade.jobs.opened import Geometry, checked_item, open_input, open_stacks
from mrcascade.jobs.progress import expected_evaluations
from mrcascade.jobs.request import Request, SuperResolution
from mrcascade.jobs.slices import slices_per_chunk
from mrcascade.jobs.speed import LevelSpeed, slice_seconds, speed_of, timed_batch
from mrcascade.jobs.workspace import Workspace
from mrcascade.messages.duration import rounded
from mrcascade.prior.cascade import CascadePrior
from mrcascade.restore import make_plan
from mrcascade.restore.volume import VolumePlan
from mrcascade.storage.outputs import refuse_inputs

# Bytes of Python with torch and other libraries, and of buffers for reading and writing.
PROGRAM_BYTES = 500 * 2**20
# Bytes per voxel of the slices in work: mean, squares and first sample, in double precision.
MOMENT_BYTES = 48
# Speed of gzip at level 1 on float32 data that hardly compresses, on one core.
GZIP_BYTES_PER_SECOND = 25e6
# Conjugate gradients on several stacks, per voxel of the result and stack, on one core.
JOINT_SECONDS = 1e-6
# Stands in for the noise estimate, as no voxels are read here. Only that it is not 0 matters:
# noise-free data make some levels superfluous.
SOME_NOISE = 0.01
# What an estimate says where the job itself would end with an error.
_REFUSED = "; {} already exists, so sr refuses: use --overwrite or choose another folder"


@dataclass(frozen=True)
class FileEstimate:
    """Estimate for one file.

    Attributes:
        source: the input.
        shape, result_shape: shapes of its array and of the result's.
        evaluations: total number of network evaluations.
        seconds: time, extrapolated from the speed of the networks on small images.
        memory, disk: approximate peak in bytes.
        planes: description of the planes.
        taken: a file of its results that exists already; None where nothing would be replaced, or
            what exists may be.
    """

    source: Item
    shape: tuple[int, ...]
    result_shape: tuple[int, ...]
    evaluations: int
    seconds: float
    memory: int
    disk: int
    planes: str
    taken: Path | None = None

    def __str__(self) -> str:
        sizes = " -> ".join(" x ".join(map(str, s)) for s in (self.shape, self.result_shape))
        return (
            f"{self.source}: {sizes}, {self.evaluations} network evaluations,"
            f" about {rounded(self.seconds)}, {self.memory / 2**30:.1f} GiB of memory,"
            f" {self.disk / 2**30:.2g} GiB of disk space; {self.planes}"
            f"{'' if self.taken is None else _REFUSED.format(self.taken)}"
        )


@dataclass(frozen=True)
class Work:
    """Work of the networks and of the arrays around them.

    Attributes:
        evaluations: number of network evaluations.
        seconds: their time.
        memory: bytes of the images in work.
    """

    evaluations: int = 0
    seconds: float = 0.0
    memory: int = 0

    def then(self, other: Work) -> Work:
        """Return this work followed by another one."""
        return Work(
            self.evaluations + other.evaluations,
            self.seconds + other.seconds,
            max(self.memory, other.memory),
        )


class Estimator:
    """Estimates files. The networks' speed is measured once per machine and batch size."""

    def __init__(self, prior: CascadePrior) -> None:
        self._prior = prior
        self._speeds: dict[tuple[str, int], list[LevelSpeed]] = {}  # by prior and batch size

    def file(self, item: Item, output: Path, request: Request) -> FileEstimate:
        """Estimate one input from its header, without writing anything.

        Pixels are not read, so ``--acquired-matrix auto`` may crop further than assumed here.

        Raises:
            MRCascadeError: as `super_resolve_file`, except for errors that only pixels reveal.
        """
        job = request.job
        item = checked_item(item)
        targets, taken = _claimed(item, output, job)
        target = targets["result"]
        with ExitStack() as stack:
            opened = open_input(item, request, target, stack)
            others = open_stacks(item, opened, request, stack)
            lines = [line for one in (opened, *others) for line in one.describe()]
            geometry, described = opened.geometry, "; ".join(lines)
            shape, dtype = opened.source.shape, opened.source.dtype
        size, result_shape = dtype.itemsize, geometry.result_shape(shape)
        work = Work()
        if job.in_plane:
            in_plane = math.prod(shape) // math.prod(shape[a] for a in geometry.axes)
            work = self._slices(geometry, in_plane, size, request)
        if geometry.slices is not None:
            volumes = shape[3] if len(shape) > 3 else 1
            work = work.then(self._volumes(geometry, volumes, dtype, request))
        for other in others:  # of which no more is restored than the first one sees
            work = work.then(self._volumes(other.geometry, 1, dtype, request))
        if others:
            voxels = math.prod(result_shape) * (1 + len(others))
            joint = joint_bytes(geometry.thick, geometry.operator.in_shape)
            work = work.then(Work(seconds=JOINT_SECONDS * voxels))
            work = replace(work, memory=work.memory + joint)
        images = size + (size + 4 if job.samples > 1 else 0)  # bytes per voxel of the results
        packed = target.suffix.lower() == ".gz"
        written = math.prod(result_shape) * images
        packing = written / GZIP_BYTES_PER_SECOND if packed else 0.0
        return FileEstimate(
            source=item,
            shape=shape,
            result_shape=result_shape,
            evaluations=work.evaluations,
            seconds=work.seconds + packing,
            memory=PROGRAM_BYTES + work.memory,
            disk=math.prod(shape) * size + 2 * written,
            planes=described,
            taken=taken,
        )

    def _slices(self, geometry: Geometry, slices: int, size: int, request: Request) -> Work:
        """Return the work on slices in plane; ``size`` is that of a value in bytes."""
        job, prior = request.job, request.prior
        noise = SOME_NOISE if job.noise is None else job.noise
        plan = make_plan(prior, geometry.operator, noise, request.settings)
        plane = math.prod(geometry.operator.in_shape)
        per_image = image_bytes(prior, plan)
        asked = job.batch_size or default_batch(slices * job.samples, prior.device)
        batch = fitting_batch(asked, per_image, prior.device)
        together = min(batch, slices * job.samples)
        seconds = slice_seconds(plan, self._speed(together, prior), together) * slices * job.samples
        in_hand = slices_per_chunk(batch, job.samples) * plane * MOMENT_BYTES * size // 4
        evaluations = expected_evaluations(plan) * slices * job.samples
        return Work(evaluations, seconds, batch * per_image + in_hand)

    def _volumes(self, geometry: Geometry, volumes: int, dtype: np.dtype, request: Request) -> Work:
        """Return the work on volumes of pixels of a type."""
        job, prior, thick = request.job, request.prior, geometry.thick
        shape = geometry.operator.in_shape
        held = volume_bytes(thick, shape, dtype, job.samples)
        if job.least_squares:
            return Work(memory=held)
        noise = 0.0 if job.in_plane else SOME_NOISE if job.noise is None else job.noise
        plan = VolumePlan.of(prior, thick, shape, noise, request.settings)
        kinds, draws = plan.cascade.kinds, request.settings.draws
        # A chain passes through one kind of planes in each step.
        share = job.samples / len(kinds) if draws else 1.0
        passes = [(prior, kind, kind.plans[0], share) for kind in kinds]
        if prior.slices is not None and plan.mean_plans is not None:
            means = zip(kinds, plan.mean_plans, strict=True)
            regressed = [(prior.slices, kind, one, 1.0) for kind, one in means]
            passes = [*passes, *regressed] if draws else regressed
        work = Work(memory=held)
        for works, kind, one, part in passes:
            side = shape[kind.axis]
            per_image = image_bytes(works, one)
            asked = job.batch_size or default_batch(side, prior.device)
            batch = min(fitting_batch(asked, per_image, prior.device, held), side)
            planes = volumes * side * part
            seconds = slice_seconds(one, self._speed(batch, works), batch) * planes
            evaluations = round(expected_evaluations(one) * planes)
            work = work.then(Work(evaluations, seconds, held + batch * per_image))
        return work

    def _speed(self, batch: int, prior: CascadePrior) -> list[LevelSpeed]:
        key = prior.identity, timed_batch(batch)
        if key not in self._speeds:
            self._speeds[key] = speed_of(prior, key[1])
        return self._speeds[key]


def _claimed(item: Item, output: Path, job: SuperResolution) -> tuple[dict[str, Path], Path | None]:
    """Return the files of a result, and one of them that exists and may not be replaced.

    Raises MRCascadeError where an output is an input, or a file that is to be replaced is not
    mrcascade's.
    """
    if job.overwrite:
        return Workspace(item, output, job).targets, None
    targets = sr_targets(item, output, job)
    refuse_inputs(targets.values(), item.paths)
    return targets, next((path for path in targets.values() if os.path.lexists(path)), None)
