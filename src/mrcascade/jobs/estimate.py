"""Estimates before a job runs: size, network evaluations, time, memory and disk space."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from mrcascade.jobs.common import Item
from mrcascade.jobs.memory import default_batch, fitting_batch, image_bytes
from mrcascade.jobs.opened import checked_item, open_input
from mrcascade.jobs.progress import expected_evaluations
from mrcascade.jobs.request import Request
from mrcascade.jobs.speed import LevelSpeed, slice_seconds, speed_of, timed_batch
from mrcascade.jobs.sr import slices_per_chunk
from mrcascade.jobs.workspace import Workspace
from mrcascade.messages.duration import rounded
from mrcascade.prior.cascade import CascadePrior
from mrcascade.restore import make_plan

# Bytes of Python with torch and other libraries, and of buffers for reading and writing.
PROGRAM_BYTES = 500 * 2**20
# Bytes per voxel of the slices in work: mean, squares and first sample, in double precision.
MOMENT_BYTES = 48
# Speed of gzip at level 1 on float32 data that hardly compresses, on one core.
GZIP_BYTES_PER_SECOND = 25e6
# Stands in for the noise estimate, as no voxels are read here. Only that it is not 0 matters:
# noise-free data make some levels superfluous.
SOME_NOISE = 0.01


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
    """

    source: Item
    shape: tuple[int, ...]
    result_shape: tuple[int, ...]
    evaluations: int
    seconds: float
    memory: int
    disk: int
    planes: str

    def __str__(self) -> str:
        sizes = " -> ".join(" x ".join(map(str, s)) for s in (self.shape, self.result_shape))
        return (
            f"{self.source}: {sizes}, {self.evaluations} network evaluations,"
            f" about {rounded(self.seconds)}, {self.memory / 2**30:.1f} GiB of memory,"
            f" {self.disk / 2**30:.2g} GiB of disk space; {self.planes}"
        )


class Estimator:
    """Estimates files. The networks' speed is measured once per machine and batch size."""

    def __init__(self, prior: CascadePrior) -> None:
        self._prior = prior
        self._speeds: dict[int, list[LevelSpeed]] = {}  # by batch size

    def file(self, item: Item, output: Path, request: Request) -> FileEstimate:
        """Estimate one input from its header, without writing anything.

        Pixels are not read, so ``--acquired-matrix auto`` may crop further than assumed here.

        Raises:
            MRCascadeError: as `super_resolve_file`, except for errors that only pixels reveal.
        """
        job, prior = request.job, request.prior
        item = checked_item(item)
        target = Workspace(item, output, job).targets["result"]
        with ExitStack() as stack:
            opened = open_input(item, request, target, stack)
            geometry, described = opened.geometry, opened.describe()
            shape, size = opened.source.shape, opened.source.dtype.itemsize
        result_shape = geometry.result_shape(shape)
        noise = SOME_NOISE if job.noise is None else job.noise
        plan = make_plan(prior, geometry.operator, noise, request.settings)
        plane = math.prod(geometry.operator.in_shape)
        slices = math.prod(result_shape) // plane
        per_image = image_bytes(prior, plan)
        asked = job.batch_size or default_batch(slices * job.samples, prior.device)
        batch = fitting_batch(asked, per_image, prior.device)
        together = min(batch, slices * job.samples)
        seconds = slice_seconds(plan, self._speed(together), together) * slices * job.samples
        in_hand = slices_per_chunk(batch, job.samples) * plane * MOMENT_BYTES * size // 4
        images = size + (size + 4 if job.samples > 1 else 0)  # bytes per voxel of the results
        packed = target.suffix.lower() == ".gz"
        written = math.prod(result_shape) * images
        packing = written / GZIP_BYTES_PER_SECOND if packed else 0.0
        return FileEstimate(
            source=item,
            shape=shape,
            result_shape=result_shape,
            evaluations=expected_evaluations(plan) * slices * job.samples,
            seconds=seconds + packing,
            memory=PROGRAM_BYTES + batch * per_image + in_hand,
            disk=math.prod(shape) * size + 2 * written,
            planes=described,
        )

    def _speed(self, batch: int) -> list[LevelSpeed]:
        timed = timed_batch(batch)
        if timed not in self._speeds:
            self._speeds[timed] = speed_of(self._prior, timed)
        return self._speeds[timed]
