"""Restoration of the volumes of an input: thick slices become thin ones.

Planes that are to be enlarged, too, are restored first, slice by slice; the volume then takes the
restored slices as they are.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from mrcascade.io import Axes, SliceStore, StackOrder
from mrcascade.jobs.common import input_seed
from mrcascade.jobs.measured import Measured
from mrcascade.jobs.memory import Batches, check_memory, image_bytes, volume_bytes
from mrcascade.jobs.opened import Opened
from mrcascade.jobs.progress import Report, SlicesDone
from mrcascade.jobs.request import Request
from mrcascade.jobs.result import Outcome
from mrcascade.jobs.slices import Chunks, chosen_batch, plan_of_slices
from mrcascade.jobs.volume_results import VolumeResults
from mrcascade.jobs.workspace import Workspace
from mrcascade.measurement.thick import LEAST_SQUARES
from mrcascade.messages.faults import naming
from mrcascade.restore.volume import (
    SMOOTHNESS,
    RestoredVolume,
    VolumePlan,
    VolumeRestorer,
    along,
    least_squares,
)
from mrcascade.sampling import image_seed

# Rows of a volume that least squares take at a time.
_ROWS = 32

# Restores volume number t of (S, h, w) slices; gets a function for the planes that are done.
VolumeWork = Callable[[int, np.ndarray, Callable[[int], None]], RestoredVolume]


def restore_volumes(
    opened: Opened,
    measured: Measured,
    workspace: Workspace,
    request: Request,
    say: Report,
    progress: Callable[[int], SlicesDone],
) -> VolumeResults:
    """Restore the volumes of an input.

    Args:
        opened: the input, with its header read.
        measured: its slices.
        workspace: makes the stores of the results.
        request: job, prior and settings.
        say: called with one line per decision.
        progress: as for `restore_file`.
    """
    slices, in_plane = measured.slices, None
    if request.job.in_plane:
        slices, in_plane = _enlarged(opened, measured, workspace, request, say, progress)
    results = VolumeResults(opened, measured, slices, in_plane, workspace, request)
    thick = measured.geometry.thick
    volumes = len(slices) // thick.slices
    if request.job.least_squares:
        planes, work = 1, _least_squares(measured, results)
    else:
        noise = 0.0 if request.job.in_plane else measured.noise
        shape = measured.geometry.operator.in_shape
        path = opened.source.file.path
        with naming(str(path)):
            plan = VolumePlan.of(request.prior, thick, shape, noise, request.settings)
            for kind in plan.cascade.kinds:
                check_memory(request.prior, kind.plans[0])
        planes = plan.work(request.job.samples)
        seed = input_seed(request.job.seed, opened.source.sha256)
        work = volume_work(path, plan, shape, measured, request, seed, results, say)
    tell = progress(planes * volumes)
    for number in range(volumes):
        start = number * thick.slices
        piece = slices.read(start, start + thick.slices)
        restored = work(number, piece, partial(_told, tell, number * planes))
        results.add(number, restored, piece)
    return results


def _told(tell: SlicesDone, before: int, done: int) -> None:
    tell(before + done)


def _enlarged(
    opened: Opened,
    measured: Measured,
    workspace: Workspace,
    request: Request,
    say: Report,
    progress: Callable[[int], SlicesDone],
) -> tuple[SliceStore, Outcome]:
    """Return the slices restored in plane, and a summary of that work."""
    order, axes = measured.slices.order, measured.geometry.axes
    shape = _with_sides(order.shape, axes, measured.geometry.operator.in_shape)
    store = workspace.store(StackOrder(shape, order.layout, axes), measured.slices.dtype)
    outcome = Outcome(measured.intensity, request.prior.compiler)
    plan = plan_of_slices(measured, request)
    for start, piece, result in Chunks(opened, measured, plan, request, say, progress):
        store.write(start, result.mean)
        outcome.add(result, piece)
    say(f"in plane: {outcome.describe(several=False)}; the volume takes these slices as exact")
    return store, outcome


def _with_sides(shape: tuple[int, ...], axes: Axes, sides: tuple[int, int]) -> tuple[int, ...]:
    new = dict(zip(axes, sides, strict=True))
    return tuple(new.get(axis, n) for axis, n in enumerate(shape))


def volume_work(
    path: Path,
    plan: VolumePlan,
    shape: tuple[int, int],
    measured: Measured,
    request: Request,
    seed: int,
    results: VolumeResults,
    say: Report,
) -> VolumeWork:
    """Return what restores a volume by a plan; batches shrink when memory runs out.

    Args:
        path: the input, for messages.
        plan: the plan.
        shape: (h, w) of the slices.
        measured: the input's slices, for their type and intensity.
        request: job, prior and settings.
        seed: seed of the random numbers.
        results: is told the number of planes that pass through the networks together.
        say: called with one line per decision.
    """
    prior, job = request.prior, request.job
    needed = max(image_bytes(prior, kind.plans[0]) for kind in plan.cascade.kinds)
    planes = max(shape)  # those of one kind pass together
    held = volume_bytes(plan.thick, shape, measured.slices.dtype, job.samples)
    size = chosen_batch(job.batch_size, planes, needed, request, say, held)
    batches = Batches(size, prior.device, say)
    restorer = VolumeRestorer(prior, plan)

    def work(number: int, piece: np.ndarray, tell: Callable[[int], None]) -> RestoredVolume:
        def restored(batch: int) -> RestoredVolume:
            return restorer(
                piece,
                measured.intensity,
                samples=job.samples,
                seed=image_seed(seed, number),
                batch_size=batch,
                progress=tell,
            )

        result = batches.run(path, planes, restored)
        results.batch_size = batches.size
        return result

    return work


def _least_squares(measured: Measured, results: VolumeResults) -> VolumeWork:
    """Return what restores a volume without a prior."""
    thick, intensity = measured.geometry.thick, measured.intensity
    results.batch_size = 1
    settings = {"name": LEAST_SQUARES, "smoothness": SMOOTHNESS, "scale": intensity.scale}
    settings |= {"zero": intensity.zero} if intensity.zero else {}

    def work(number: int, piece: np.ndarray, tell: Callable[[int], None]) -> RestoredVolume:
        started = time.perf_counter()
        volume = np.empty((thick.samples, *piece.shape[1:]), piece.dtype)
        matrix, missed = thick.matrix(), 0.0
        for start in range(0, piece.shape[1], _ROWS):
            rows = slice(start, start + _ROWS)
            y, x = piece[:, rows], least_squares(piece[:, rows], thick)
            missed = math.hypot(missed, np.linalg.norm(y - along(matrix, x)))
            volume[:, rows] = x
        tell(1)
        residual = missed / float(np.linalg.norm(intensity.above_zero(piece)))
        seconds = time.perf_counter() - started
        return RestoredVolume(volume, volume, None, residual, {}, seconds, settings)

    return work
