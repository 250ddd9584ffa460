"""Super-resolve one file: slices stream through the networks into the results.

What grows with the number of slices lies in temporary files beside the outputs, nameless ones that
vanish with the process. Results get their names when all are whole.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mrcascade import __version__
from mrcascade.errors import MRCascadeError
from mrcascade.intensity import RobustMaximum
from mrcascade.io import (
    Axes,
    SliceStore,
    Source,
    StackOrder,
    atomic_outputs,
    check_target,
    choose_axes,
    describe_axes,
    open_source,
    output_folder,
    output_layout,
    resampled_affine,
    write_blocks_into,
)
from mrcascade.memory import fitting_batch, image_bytes
from mrcascade.noise_estimate import estimate_noise, slices_for_noise
from mrcascade.operators import SeparableOperator
from mrcascade.pipeline.common import (
    NOTICE,
    Report,
    SuperResolution,
    check_factor,
    factor_label,
    operator_for,
    sr_request,
    sr_targets,
)
from mrcascade.preview import write_preview
from mrcascade.prior import CascadePrior
from mrcascade.restore import (
    Restoration,
    check_measurement,
    check_samples,
    make_plan,
    relative_residual,
    resolve_settings,
    super_resolve,
)
from mrcascade.samplers import CascadePlan, Progress, SamplerSettings


@dataclass(frozen=True)
class Geometry:
    """The planes of an image and the operator that measured them."""

    axes: Axes
    operator: SeparableOperator

    def result_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the image once its planes are enlarged."""
        sides = dict(zip(self.axes, self.operator.in_shape, strict=True))
        return tuple(sides.get(axis, n) for axis, n in enumerate(shape))


def check_job(prior: CascadePrior, job: SuperResolution) -> SamplerSettings:
    """The settings of a job; MRCascadeError for what no input could make right."""
    check_factor(job.factor)
    settings = resolve_settings(prior, job.mode, job.steps)
    check_samples(job.samples, settings)
    return settings


def super_resolve_file(
    path: Path,
    output: Path,
    prior: CascadePrior,
    job: SuperResolution,
    *,
    say: Report,
    progress: Callable[[int], Callable[[Progress], None]],
) -> list[Path]:
    """Super-resolve one image file into the folder ``output``; returns the files written.

    Writes the result (mean of the samples), with more than one sample also the first sample and
    the standard deviation map, a preview and, last, a JSON sidecar. All appear together. Memory
    does not grow with the number of slices. ``say`` gets one line per decision;
    ``progress(total)`` makes the evaluation callback.
    """
    settings = check_job(prior, job)
    targets = sr_targets(path, output, job)
    for target in targets.values():
        check_target(target, job.overwrite)
        if target.exists() and path.exists() and target.samefile(path):
            raise MRCascadeError(f"{path} is itself the output; choose another folder")
    with ExitStack() as stack:
        source = stack.enter_context(open_source(path))
        geometry = geometry_of(source, prior, job)
        say(f"{path.name}: {describe_axes(source, geometry.axes)}")
        stack.enter_context(output_folder(output, list(targets.values())))
        measured, scale = _load(source, geometry.axes, output, stack)
        noise, origin = _noise(measured, scale, job, say)
        plan = make_plan(prior, geometry.operator, noise, settings)
        batch = _batch(prior, plan, job, say)
        stores = _empty_results(source, geometry, targets, output, stack)
        total = expected_evaluations(plan, settings) * len(measured) * job.samples
        restorer = _Restorer(path, prior, plan, job, scale, batch, progress(total), say)
        outcome = _Outcome()
        for start, stop in _chunks(len(measured), batch, job.samples):
            piece = measured.read(start, stop)
            result = restorer.chunk(piece, start)
            _store(stores, start, result)
            stored = stores["result"].read(start, stop)
            outcome.add(result, relative_residual(stored, piece, geometry.operator))
        sidecar = _sidecar(source, geometry.axes, job, prior, outcome, targets)
        sidecar |= {"NoiseOrigin": origin, "BatchSize": restorer.batch}
        _publish(source, geometry, job, targets, measured, stores, sidecar)
    say(
        f"{outcome.seconds:.1f} s, {sum(outcome.last.evaluations.values())} evaluations per slice"
        f"{' and sample' if job.samples > 1 else ''},"
        f" relative residual {outcome.residual:.1e}"
    )
    return list(targets.values())


def geometry_of(source: Source, prior: CascadePrior, job: SuperResolution) -> Geometry:
    """Planes and operator of an image; MRCascadeError where the prior cannot restore it."""
    axes = choose_axes(source, job.axes)
    shape = tuple(source.shape[a] for a in axes)
    operator = operator_for(shape, job.kernel, job.factor, source.source)
    try:
        check_measurement(np.zeros((1, *shape), source.dtype), operator, prior)
    except MRCascadeError as error:
        raise MRCascadeError(f"{source.source}: {error}") from error
    return Geometry(axes, operator)


def expected_evaluations(plan: CascadePlan, settings: SamplerSettings) -> int:
    """Network evaluations per slice and sample, for a progress bar."""
    if settings.steps is None:
        needed = [
            task.level
            for task in plan.tasks
            if not plan.determined(task.level)
            # The coarsest level has nothing but y to go by, which needs no network if noise-free.
            and (plan.sigma_y > 0 or task.level < len(plan.tasks))
        ]
        return settings.orientations * len(needed)
    return sum(task.steps for task in plan.tasks if task.sampled)


def slices_per_chunk(batch: int, samples: int) -> int:
    """The fewest slices whose samples fill whole batches."""
    return batch // math.gcd(batch, samples)


class _Outcome:
    """What the chunks of a volume say together."""

    last: Restoration

    def __init__(self) -> None:
        self.residual = self.stored = self.seconds = 0.0

    def add(self, result: Restoration, stored: np.ndarray) -> None:
        self.last = result
        self.residual = max(self.residual, float(result.residual.max()))
        self.stored = max(self.stored, float(stored.max()))
        self.seconds += result.seconds


def _load(source: Source, axes: Axes, folder: Path, stack: ExitStack) -> tuple[SliceStore, float]:
    """The slices of the image, and their robust maximum."""
    order = StackOrder(source.shape, source.layout, axes)
    store = stack.enter_context(SliceStore(folder, order, source.dtype))
    maximum = RobustMaximum(math.prod(source.shape))
    for block, values in source.blocks():
        store.put(block, values)
        maximum.add(values)
    scale = maximum.value()
    if not scale > 0:
        raise MRCascadeError(
            f"{source.source}: zero almost everywhere; there is nothing to restore"
        )
    return store, scale


def _noise(
    measured: SliceStore, scale: float, job: SuperResolution, say: Report
) -> tuple[float, str]:
    if job.noise is not None:
        return job.noise, "given"
    chosen = slices_for_noise(len(measured))
    noise = estimate_noise(measured.read(i, i + 1)[0] for i in chosen) / scale
    part = "" if len(chosen) == len(measured) else f", {len(chosen)} evenly spread slices of it"
    say(f"noise estimated at {100 * noise:.2g} % of the maximum{part}; --noise overrides it")
    return noise, f"estimated from the image{part}"


def _batch(prior: CascadePrior, plan: CascadePlan, job: SuperResolution, say: Report) -> int:
    if job.batch_size < 1:
        raise MRCascadeError("the batch size must be 1 or more")
    batch = fitting_batch(job.batch_size, image_bytes(prior, plan), prior.device)
    if batch < job.batch_size:
        say(f"batches of {batch} instead of {job.batch_size}, which would need too much memory")
    return batch


def _empty_results(
    source: Source, geometry: Geometry, targets: dict[str, Path], folder: Path, stack: ExitStack
) -> dict[str, SliceStore]:
    shape = geometry.result_shape(source.shape)
    order = StackOrder(shape, output_layout(targets["result"], len(shape)), geometry.axes)
    images = [key for key in ("result", "sample") if key in targets]
    kinds: dict[str, np.dtype] = dict.fromkeys(images, source.dtype)
    if "std" in targets:
        kinds["std"] = np.dtype(np.float32)
    return {k: stack.enter_context(SliceStore(folder, order, d)) for k, d in kinds.items()}


def _chunks(slices: int, batch: int, samples: int) -> Iterator[tuple[int, int]]:
    step = slices_per_chunk(batch, samples)
    for start in range(0, slices, step):
        yield start, min(start + step, slices)


@dataclass
class _Restorer:
    """Restores a volume chunk by chunk; ``batch`` shrinks where memory does not suffice."""

    path: Path
    prior: CascadePrior
    plan: CascadePlan
    job: SuperResolution
    scale: float
    batch: int
    tick: Callable[[Progress], None]
    say: Report

    def chunk(self, piece: np.ndarray, start: int) -> Restoration:
        """Slices ``piece`` (S, h, w), the first of which has the number ``start``."""
        while True:
            try:
                return super_resolve(
                    piece,
                    self.plan.operator,
                    self.prior,
                    noise=self.plan.sigma_y,
                    mode=self.plan.settings,
                    samples=self.job.samples,
                    seed=self.job.seed,
                    batch_size=self.batch,
                    scale=self.scale,
                    numbers=range(start, start + len(piece)),
                    plan=self.plan,
                    callback=self.tick,
                )
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not _out_of_memory(error):
                    raise
                if self.batch == 1:
                    raise MRCascadeError(
                        f"{self.path}: not enough memory on {self.prior.device} for one slice; try"
                        " --device cpu or a machine with more"
                    ) from error
            # Outside the handler, so that what the failed attempt held is free.
            self.batch //= 2
            self.say(f"out of memory: batches of {self.batch} from here on")
            if self.prior.device.type == "cuda":
                torch.cuda.empty_cache()


def _out_of_memory(error: BaseException) -> bool:
    # On a CPU torch raises a plain RuntimeError.
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or "not enough memory" in str(error) or "can't allocate memory" in str(error)


def _store(stores: dict[str, SliceStore], start: int, result: Restoration) -> None:
    for key, store in stores.items():
        values = {"result": result.mean, "sample": result.sample, "std": result.std}[key]
        assert values is not None  # a store for std exists only where there are samples
        store.write(start, values)


def _publish(
    source: Source,
    geometry: Geometry,
    job: SuperResolution,
    targets: dict[str, Path],
    measured: SliceStore,
    stores: dict[str, SliceStore],
    sidecar: dict[str, Any],
) -> None:
    shape, operator = geometry.result_shape(source.shape), geometry.operator
    affine = None
    if source.affine is not None:
        affine = resampled_affine(
            source.affine, geometry.axes, job.kernel, operator.out_shape, operator.in_shape
        )
    middle = len(measured) // 2
    pictures = {k: store.read(middle, middle + 1)[0] for k, store in stores.items()}
    with atomic_outputs(list(targets.values()), job.overwrite) as temporaries:
        places = dict(zip(targets, temporaries, strict=True))
        for key, store in stores.items():
            write_blocks_into(source, shape, store.dtype, store.get, places[key], affine)
        write_preview(
            places["preview"],
            measured.read(middle, middle + 1)[0],
            pictures["result"],
            pictures.get("std"),
            operator,
        )
        places["sidecar"].write_text(json.dumps(sidecar, indent=1) + "\n")


def _sidecar(
    source: Source,
    axes: Axes,
    job: SuperResolution,
    prior: CascadePrior,
    outcome: _Outcome,
    targets: dict[str, Path],
) -> dict[str, Any]:
    return {
        "Description": f"Super-resolved {factor_label(job.factor)} in plane. {NOTICE}",
        "Sources": [source.source.name],
        "SourceSHA256": source.sha256,
        "Resolution": f"in-plane matrix enlarged by {job.factor[0]:g} x {job.factor[1]:g}",
        "InPlaneAxes": list(axes),
        "Files": {key: path.name for key, path in targets.items() if key != "sidecar"},
        "Kernel": job.kernel,
        "Prior": prior.name,
        "PriorKernel": prior.kernel,
        "Settings": outcome.last.settings,
        "EvaluationsPerSlice": {str(k): v for k, v in outcome.last.evaluations.items()},
        "Residual": outcome.residual,
        "ResidualStored": outcome.stored,
        "Request": sr_request(prior, job),
        "Device": str(prior.device),
        "Precision": prior.levels[0].precision,
        "Software": {"mrcascade": __version__, "torch": torch.__version__},
    }
