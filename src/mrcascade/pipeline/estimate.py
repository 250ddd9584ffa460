"""What a job will take, before it runs: size, evaluations, time, memory and disk space."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import torch

from mrcascade.duration import rounded
from mrcascade.io import check_target, choose_axes, format_of, open_source
from mrcascade.memory import fitting_batch, image_bytes
from mrcascade.operators import SeparableOperator
from mrcascade.pipeline.acquired import acquired_by_header
from mrcascade.pipeline.common import Item, SuperResolution, sr_targets
from mrcascade.pipeline.progress import expected_evaluations
from mrcascade.pipeline.sr import (
    check_job,
    check_result,
    checked_item,
    geometry_of,
    slices_per_chunk,
)
from mrcascade.prior import CascadePrior
from mrcascade.restore import make_plan
from mrcascade.samplers import (
    CascadePlan,
    NoiseSource,
    Progress,
    SamplerSettings,
    cascade_mean,
    reconstruct,
)

# Python with torch and the other libraries loaded, and the blocks of file reading and writing.
PROGRAM_BYTES = 500 * 2**20
# Per voxel of the slices in hand: mean, squares and first sample in double precision and back.
MOMENT_BYTES = 48
# gzip at level 1 on float32 that hardly compresses, one core.
GZIP_BYTES_PER_SECOND = 25e6
# The quickest of so many counts, as other programs disturb some.
TIMED = 3
# Stands in for the noise that is estimated from the voxels, which are not read here: what counts
# is that it is not 0, as noise-free data make levels superfluous.
SOME_NOISE = 0.01


@dataclass(frozen=True)
class Estimate:
    """Of one file. shape, result_shape: of the arrays. evaluations: of networks, in all.
    seconds: measured on one slice, and scaled. memory, disk: bytes at the peak, rough."""

    source: Item
    shape: tuple[int, ...]
    result_shape: tuple[int, ...]
    evaluations: int
    seconds: float
    memory: int
    disk: int

    def __str__(self) -> str:
        sizes = " -> ".join(" x ".join(map(str, s)) for s in (self.shape, self.result_shape))
        return (
            f"{self.source}: {sizes}, {self.evaluations} network evaluations,"
            f" about {rounded(self.seconds)}, {self.memory / 2**30:.1f} GiB of memory,"
            f" {self.disk / 2**30:.2g} GiB of disk space"
        )


class Estimator:
    """Estimates files for one job; slices of one size are timed once."""

    def __init__(self, prior: CascadePrior, job: SuperResolution) -> None:
        """Raises MRCascadeError for a job that no input could make right."""
        self._prior, self._job = prior, job
        self._settings = check_job(prior, job)
        self._measured: dict[tuple[int, int], float] = {}

    def file(self, item: Item, output: Path, overwrite: bool) -> Estimate:
        """The estimate for one input, from its header; writes nothing.

        What only the pixels tell is not known: ``--acquired-matrix auto`` can crop further.
        Raises MRCascadeError as `super_resolve_file` does, but for what only the voxels tell.
        """
        job, prior = self._job, self._prior
        item = checked_item(item)
        targets = sr_targets(item, output, job)
        for target in targets.values():
            check_target(target, overwrite)
        with open_source(item.image, prior.channels == 2) as source:
            axes = choose_axes(source, job.axes)
            check_result(source, axes, targets["result"], job)
            acquired = acquired_by_header(source, axes, job.acquired)
            geometry = geometry_of(source, prior, job, acquired.matrix)
            shape, size = source.shape, source.dtype.itemsize
        result_shape = geometry.result_shape(shape)
        noise = SOME_NOISE if job.noise is None else job.noise
        plan = make_plan(prior, geometry.operator, noise, self._settings)
        plane = math.prod(geometry.operator.in_shape)
        slices = math.prod(result_shape) // plane
        per_image = image_bytes(prior, plan)
        batch = fitting_batch(job.batch_size, per_image, prior.device)
        in_hand = slices_per_chunk(batch, job.samples) * plane * MOMENT_BYTES * size // 4
        images = size + (size + 4 if job.samples > 1 else 0)  # bytes per voxel of the results
        packed = format_of(targets["result"]) == "nifti"
        written = math.prod(result_shape) * images
        packing = written / GZIP_BYTES_PER_SECOND if packed else 0.0
        return Estimate(
            source=item,
            shape=shape,
            result_shape=result_shape,
            evaluations=expected_evaluations(plan, self._settings) * slices * job.samples,
            seconds=self._slice_seconds(geometry.operator, plan) * slices * job.samples + packing,
            memory=PROGRAM_BYTES + batch * per_image + in_hand,
            disk=math.prod(shape) * size + 2 * written,
        )

    def _slice_seconds(self, operator: SeparableOperator, plan: CascadePlan) -> float:
        key = operator.out_shape
        if key not in self._measured:
            measure = _mean_seconds if self._settings.steps is None else _sampling_seconds
            self._measured[key] = measure(self._prior, plan, self._settings)
        return self._measured[key]


def _mean_seconds(prior: CascadePrior, plan: CascadePlan, settings: SamplerSettings) -> float:
    seconds = []
    for _ in range(TIMED):  # the first also prepares: decompositions, kernels
        started = time.perf_counter()
        cascade_mean(prior, plan, _some_measurement(prior, plan))
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _sampling_seconds(prior: CascadePrior, plan: CascadePlan, settings: SamplerSettings) -> float:
    """Chains of a few steps per level: the quickest way from one step to the next counts."""
    few = TIMED * len(plan.tasks)
    short = replace(settings, steps=few, step_shares=1.0, redistribute=False)
    short_plan = make_plan(prior, plan.operator, plan.sigma_y, short)
    ticks: dict[int, list[float]] = {}

    def tick(event: Progress) -> None:
        ticks.setdefault(event.level, []).append(time.perf_counter())

    y = _some_measurement(prior, plan)
    reconstruct(prior, short_plan, y, NoiseSource([0]), callback=tick)
    steps = {task.level: task.steps for task in plan.tasks if task.sampled}
    return sum(
        steps[level] * min(later - earlier for earlier, later in pairwise(times))
        for level, times in ticks.items()
    )


def _some_measurement(prior: CascadePrior, plan: CascadePlan) -> torch.Tensor:
    return torch.full((1, prior.channels, *plan.operator.out_shape), 0.5, device=prior.device)
