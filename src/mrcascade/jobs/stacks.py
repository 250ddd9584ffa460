"""Restoration of one volume from several stacks of slices.

The first stack gives the grid: its field of view, its pixels, thin slices. The others are placed
by their headers, compared with the first, and taken as data of the same volume.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from mrcascade.arrays.intensity import Intensity
from mrcascade.errors import MRCascadeError
from mrcascade.jobs.common import input_seed
from mrcascade.jobs.measured import Measured, measure_input
from mrcascade.jobs.memory import check_memory
from mrcascade.jobs.opened import Opened
from mrcascade.jobs.placed_stack import PlacedStack
from mrcascade.jobs.progress import Report, SlicesDone
from mrcascade.jobs.request import Request
from mrcascade.jobs.stack_results import StackResults
from mrcascade.jobs.volumes import volume_work
from mrcascade.jobs.workspace import Workspace
from mrcascade.measurement.agreement import PlacedVolume, measure_agreement
from mrcascade.measurement.thick import LEAST_SQUARES
from mrcascade.messages.faults import naming
from mrcascade.restore.volume import (
    JointVolume,
    RestoredVolume,
    StackData,
    VolumePlan,
    average_estimates,
    joint_least_squares,
    joint_projection,
)

#: Displacement of the anatomy above which stacks are refused, in voxels of the result. At about one
#: voxel two stacks are no better than the first one alone (`benchmarks/stacks.py --shift`).
LIMIT = 1.0
# New slices per slice at which stacks are compared.
_COMPARED = 4
# Correlation below which two stacks are not of one contrast, and below which that is in doubt. T1
# has 0.52 to 0.58 with T2 and FLAIR, which have 0.76 with each other; stacks of one contrast have
# 0.78 (shading and motion, prostate) to 0.995.
_ALIKE, _SURELY = 0.7, 0.85


def restore_stacks(
    others: Sequence[Opened],
    opened: Opened,
    measured: Measured,
    workspace: Workspace,
    request: Request,
    say: Report,
    progress: Callable[[int], SlicesDone],
) -> StackResults:
    """Restore the volume of several stacks.

    Args:
        others: stacks besides the first one, with their headers read.
        opened: the first stack, likewise.
        measured: its slices.
        workspace: makes the stores of slices and results.
        request: job, prior and settings.
        say: called with one line per decision.
        progress: as for `restore_file`.

    Raises:
        MRCascadeError: a stack cannot be read, or stacks do not belong together.
    """
    first, started = PlacedStack.of(opened, measured), time.perf_counter()
    reference = first.placed(first.thick.samples)
    stacks = [first]
    for other in others:
        tell = partial(_named, say, other.source.file.name)
        for line in other.describe():
            tell(line)
        own = measure_input(other, workspace, request, tell)
        found = PlacedStack.of(other, _with_zero_of(measured, own, other, opened, tell))
        found = found.within(first)
        stacks.append(_placed(found, first, reference, request.job.combine == "rigid", tell))
    data = []
    for one in stacks:
        with naming(str(one.opened.source.source)):
            data.append(one.data(first))
    results = StackResults(opened, measured, workspace, request, stacks, data)
    if request.job.least_squares:
        made, settings, evaluations = _least_squares(data, reference.values, stacks, results)
        progress(1)(1)
    else:
        made, settings, evaluations = _mean(data, stacks, request, results, say, progress)
    results.residuals = [part.residual(made.volume) for part in data]
    for one, residual in zip(stacks, results.residuals, strict=True):
        say(f"{one.name}: relative residual {residual:.2g}")
    intensity = measured.intensity
    volume = made.volume + np.float32(intensity.zero)
    seconds = time.perf_counter() - started
    settings |= {"stacks": len(stacks), "iterations": made.iterations}
    residual = max(results.residuals)
    restored = RestoredVolume(volume, volume, None, residual, evaluations, seconds, settings)
    # Stacks differ in noise and place, so no single noise level explains what is left.
    results.add(0, restored, None)
    return results


def _named(say: Report, name: str, line: str) -> None:
    say(f"{name}: {line}")


def _with_zero_of(
    first: Measured, own: Measured, stack: Opened, opened: Opened, say: Report
) -> Measured:
    """Return a stack's measurement with the value of no signal of the first one.

    Stacks of one scan have one such value. It is found in the air around the body, of which each
    stack shows another part, so that two stacks rarely agree on it; then no gain fits.
    """
    zero, intensity = first.intensity.zero, own.intensity
    if zero == intensity.zero:
        return own
    scale = intensity.scale + intensity.zero - zero
    if scale <= 0:
        raise MRCascadeError(
            f"{stack.source.source} has no value above {zero:.6g}, which stands for no signal in"
            f" {opened.source.source}; --combine takes stacks of one scale of intensities"
        )
    say(f"{zero:.6g} counts as no signal, as in {opened.source.file.name}")
    noise = own.noise * intensity.scale / scale
    return replace(own, intensity=Intensity(scale, zero), noise=noise)


def _placed(
    stack: PlacedStack, first: PlacedStack, reference: PlacedVolume, moves: bool, say: Report
) -> PlacedStack:
    """Return a stack with its agreement with the first one, moved there if asked."""
    where, like = stack.opened.source.source, first.opened.source.source
    limit = LIMIT * float(np.linalg.norm(first.thin[:3, :3], axis=0).max())
    samples = min(stack.thick.samples, _COMPARED * stack.thick.slices)
    found = measure_agreement(reference, stack.placed(samples))
    if found is None:
        raise MRCascadeError(
            f"{where} and {like} have too little anatomy in common by their headers; give stacks of"
            " one region of one person, from one session"
        )
    if found.correlation < _ALIKE:
        raise MRCascadeError(
            f"{where} does not look like {like} where both are (correlation"
            f" {found.correlation:.2f}); --combine takes stacks of one contrast of one person"
        )
    say(f"its anatomy lies {found.describe()} from that of {first.name}")
    if found.correlation < _SURELY:
        say(
            f"warning: its intensities have a correlation of {found.correlation:.2f} with those of"
            f" {first.name}; stacks must have one contrast"
        )
    if moves:
        moved = replace(stack, affine=found.motion @ stack.affine)
        left = measure_agreement(reference, moved.placed(samples))
        if left is None or left.displacement > limit:
            far = "too little in common" if left is None else f"{left.displacement:.2g} mm"
            raise MRCascadeError(
                f"{where}: no rigid motion brings it to {like} ({found.displacement:.3g} mm apart,"
                f" {far} after that); register it by other means first"
            )
        say(f"moved there; {left.displacement:.2g} mm are left")
        return replace(moved, agreement=replace(found, gain=left.gain))
    if found.displacement > limit:
        raise MRCascadeError(
            f"{where}: its anatomy lies {found.displacement:.3g} mm from that of {like}, more than"
            f" a voxel ({limit:.3g} mm), where stacks spoil each other: the person moved; --combine"
            " rigid undoes that motion, or register the stacks first"
        )
    return replace(stack, agreement=found)


def _least_squares(
    data: Sequence[StackData],
    start: np.ndarray,
    stacks: Sequence[PlacedStack],
    results: StackResults,
) -> tuple[JointVolume, dict[str, object], dict[int, int]]:
    results.batch_size = 1
    intensity = stacks[0].measured.intensity
    made = joint_least_squares(data, start, stacks[0].noise)
    settings = {
        "name": LEAST_SQUARES,
        "smoothness": made.weight,
        "noise": stacks[0].measured.noise,
        "scale": intensity.scale,
    }
    return made, settings | ({"zero": intensity.zero} if intensity.zero else {}), {}


def _mean(
    data: Sequence[StackData],
    stacks: Sequence[PlacedStack],
    request: Request,
    results: StackResults,
    say: Report,
    progress: Callable[[int], SlicesDone],
) -> tuple[JointVolume, dict[str, object], dict[int, int]]:
    """Average the posterior means of the stacks, and project that onto all slices."""
    prior, first = request.prior, stacks[0]
    plans = []
    for stack in stacks:
        shape = stack.shape[1:]
        with naming(str(stack.opened.source.source)):
            plan = VolumePlan.of(prior, stack.thick, shape, stack.measured.noise, request.settings)
            for kind in plan.cascade.kinds:
                check_memory(prior, kind.plans[0])
        plans.append(plan)
    done, tell = 0, progress(sum(plan.work() for plan in plans))
    estimates: list[np.ndarray] = []
    settings: dict[str, object] = {}
    evaluations: dict[int, int] = {}
    for stack, plan in zip(stacks, plans, strict=True):
        source, measured = stack.opened.source, stack.measured
        seed = input_seed(request.job.seed, source.sha256)
        shape = stack.shape[1:]
        work = volume_work(source.file.path, plan, shape, measured, request, seed, results, say)
        zero = np.float32(measured.intensity.zero)
        alone = work(0, stack.slices + zero, partial(_told, tell, done))
        volume = (alone.mean - zero) / np.float32(stack.gain)
        if stack is first:
            settings, evaluations = dict(alone.settings), alone.evaluations
        else:
            volume = stack.onto(first, volume)
            np.copyto(volume, estimates[0], where=np.isnan(volume))
        estimates.append(volume)
        done += plan.work()
    steps = np.linalg.norm(first.thin[:3, :3], axis=0)
    directions = first.thin[:3, :3] / steps
    normals = [one.affine[:3, 0] / np.linalg.norm(one.affine[:3, 0]) for one in stacks]
    widths = [directions.T @ n * s.thickness / steps for n, s in zip(normals, stacks, strict=True)]
    average = average_estimates(estimates[0], estimates[1:], widths)
    tau = (first.measured.noise / prior.levels[0].std) ** 2
    return joint_projection(data, average, tau), settings | {"tau": tau}, evaluations


def _told(tell: SlicesDone, before: int, done: int) -> None:
    tell(before + done)
