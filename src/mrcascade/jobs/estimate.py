"""What a job will take, before it runs: size, evaluations, time, memory and disk space."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from mrcascade.io import choose_planes, describe_planes, format_of, open_source
from mrcascade.jobs.acquired import acquired_by_header
from mrcascade.jobs.common import Item, SuperResolution, claim_targets, sr_targets
from mrcascade.jobs.memory import default_batch, fitting_batch, image_bytes
from mrcascade.jobs.progress import expected_evaluations
from mrcascade.jobs.speed import slice_seconds, speed_of
from mrcascade.jobs.sr import (
    check_job,
    check_result,
    checked_item,
    geometry_of,
    slices_per_chunk,
)
from mrcascade.messages.duration import rounded
from mrcascade.prior.cascade import CascadePrior
from mrcascade.restore import make_plan

# Python with torch and the other libraries loaded, and the blocks of file reading and writing.
PROGRAM_BYTES = 500 * 2**20
# Per voxel of the slices in hand: mean, squares and first sample in double precision and back.
MOMENT_BYTES = 48
# gzip at level 1 on float32 that hardly compresses, one core.
GZIP_BYTES_PER_SECOND = 25e6
# Stands in for the noise that is estimated from the voxels, which are not read here: what counts
# is that it is not 0, as noise-free data make levels superfluous.
SOME_NOISE = 0.01


@dataclass(frozen=True)
class Estimate:
    """What one file will take.

    Attributes:
        source: the input.
        shape, result_shape: of the arrays.
        evaluations: of networks, in all.
        seconds: by the speed of the networks on small images, scaled to these.
        memory, disk: bytes at the peak, rough.
        planes: in words.
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
    """Estimates files for one job; the speed of the networks is measured once per machine."""

    def __init__(self, prior: CascadePrior, job: SuperResolution) -> None:
        """Raises MRCascadeError for a job that no input could make right."""
        self._prior, self._job = prior, job
        self._settings = check_job(prior, job)
        self._speed = speed_of(prior)

    def file(self, item: Item, output: Path, overwrite: bool) -> Estimate:
        """The estimate for one input, from its header; writes nothing.

        What only the pixels tell is not known: ``--acquired-matrix auto`` can crop further.
        Raises MRCascadeError as `super_resolve_file` does, but for what only the voxels tell.
        """
        job, prior = self._job, self._prior
        item = checked_item(item)
        targets = sr_targets(item, output, job)
        claim_targets(item, output, job, overwrite)
        with open_source(item.image, prior.channels == 2) as source:
            planes = choose_planes(source, job.axes)
            axes = planes.axes
            check_result(source, axes, targets["result"], job)
            acquired = acquired_by_header(source, axes, job.acquired)
            geometry = geometry_of(source, prior, job, acquired.matrix)
            shape, size = source.shape, source.dtype.itemsize
            described = describe_planes(source, planes)
        result_shape = geometry.result_shape(shape)
        noise = SOME_NOISE if job.noise is None else job.noise
        plan = make_plan(prior, geometry.operator, noise, self._settings)
        plane = math.prod(geometry.operator.in_shape)
        slices = math.prod(result_shape) // plane
        per_image = image_bytes(prior, plan)
        asked = job.batch_size or default_batch(slices * job.samples, prior.device)
        batch = fitting_batch(asked, per_image, prior.device)
        in_hand = slices_per_chunk(batch, job.samples) * plane * MOMENT_BYTES * size // 4
        images = size + (size + 4 if job.samples > 1 else 0)  # bytes per voxel of the results
        packed = format_of(targets["result"]) == "nifti"
        written = math.prod(result_shape) * images
        packing = written / GZIP_BYTES_PER_SECOND if packed else 0.0
        return Estimate(
            source=item,
            shape=shape,
            result_shape=result_shape,
            evaluations=expected_evaluations(plan) * slices * job.samples,
            seconds=slice_seconds(plan, self._speed) * slices * job.samples + packing,
            memory=PROGRAM_BYTES + batch * per_image + in_hand,
            disk=math.prod(shape) * size + 2 * written,
            planes=described,
        )
