"""Super-resolve one file: slices stream through the networks into the results.

What grows with the number of slices lies in temporary files beside the outputs, nameless ones that
vanish with the process. Results get their names when all are whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mrcascade.arrays.factors import check_factor
from mrcascade.arrays.intensity import Intensity, RobustMaximum
from mrcascade.data.sizes import check_enlargement
from mrcascade.errors import MRCascadeError
from mrcascade.io import (
    Axes,
    Input,
    SliceStore,
    Source,
    StackOrder,
    check_writable,
    choose_planes,
    describe_planes,
    format_of,
    input_path,
    only_series,
    open_source,
    output_folders,
    output_layout,
    refuse_phase,
    resampled_affine,
)
from mrcascade.jobs.acquired import (
    Matrix,
    acquired_by_header,
    acquired_by_pixels,
    crop_to_acquired,
)
from mrcascade.jobs.border import ExtendedStore, describe_margins
from mrcascade.jobs.common import (
    IMAGES,
    Item,
    Report,
    SuperResolution,
    claim_targets,
    input_seed,
    operator_for,
    sr_targets,
)
from mrcascade.jobs.intensity import describe_zero, intensity_of
from mrcascade.jobs.memory import Batches, check_memory, default_batch, fitting_batch, image_bytes
from mrcascade.jobs.progress import SliceProgress, SlicesDone
from mrcascade.jobs.result import (
    Geometry,
    Outcome,
    acquired_facts,
    bids_metadata,
    derivation_of,
    publish,
    sidecar_of,
    stored_residual,
)
from mrcascade.measurement.acquired import Acquired
from mrcascade.measurement.examine import examine
from mrcascade.messages.faults import naming
from mrcascade.prior.cascade import CascadePrior
from mrcascade.restore import Plan, Restoration, Restorer, check_measurement, resolve_settings
from mrcascade.sampling import CascadePlan, SamplerSettings
from mrcascade.storage.outputs import only_writer


def check_job(prior: CascadePrior, job: SuperResolution) -> SamplerSettings:
    """The settings of a job; MRCascadeError for what no input could make right."""
    check_factor(job.factor)
    return resolve_settings(prior, job.mode, job.steps, job.samples)


def super_resolve_file(
    image: Input | Item,
    output: Path,
    prior: CascadePrior,
    job: SuperResolution,
    *,
    say: Report,
    progress: Callable[[int], SlicesDone],
) -> list[Path]:
    """Super-resolve one image file or DICOM series into the folder ``output``, or the folder below
    it that an `Item` names; returns the files written.

    Writes the result (mean of the samples), with more than one sample also the first sample and
    the standard deviation map, a preview and, last, a JSON sidecar. All appear together. Memory
    does not grow with the number of slices. ``say`` gets one line per decision;
    ``progress(slices)`` makes what hears how many slices are done.
    """
    settings = check_job(prior, job)
    item = checked_item(image if isinstance(image, Item) else Item(image))
    path = input_path(item.image)
    targets = sr_targets(item, output, job)
    folder = targets["result"].parent
    claim_targets(item, output, job, job.overwrite)
    with ExitStack() as stack:
        source = stack.enter_context(open_source(item.image, prior.channels == 2))
        planes = choose_planes(source, job.axes)
        axes = planes.axes
        check_result(source, axes, targets["result"], job)
        metadata = bids_metadata(item, axes)
        acquired = acquired_by_header(source, axes, job.acquired)
        geometry = geometry_of(source, prior, job, acquired.matrix)
        say(describe_planes(source, planes))
        stack.enter_context(output_folders(list(targets.values())))
        stack.enter_context(only_writer(targets["sidecar"]))
        claim = claim_targets(item, output, job, job.overwrite)
        measured, intensity = _load(source, axes, folder, stack)
        for line in filter(None, (source.note, describe_zero(intensity))):
            say(line)
        acquired = acquired_by_pixels(measured, acquired)
        if acquired.interpolated:
            say(_interpolated(acquired, job))
            if job.acquired is not None:
                geometry = geometry_of(source, prior, job, acquired.matrix)
                measured, intensity = crop_to_acquired(
                    measured, acquired.matrix, folder, stack, intensity.zero
                )
        plan, origin = _planned(measured, intensity, geometry, prior, job, settings, say)
        margins = plan.margins
        if margins:
            say(describe_margins(margins, axes))
        batch = _batch(path, prior, plan.cascade, job, len(measured), say)
        stores = _empty_results(source, geometry, targets, folder, stack)
        counted = SliceProgress(plan.cascade, job.samples, progress(len(measured)))
        seed = input_seed(job.seed, source.sha256)
        restorer = _Chunks(
            path,
            Restorer(prior, plan),
            job.samples,
            seed,
            intensity,
            Batches(batch, prior.device, say),
            counted,
        )
        extended = ExtendedStore(stores["result"], plan, folder, stack)
        outcome = Outcome(intensity)
        for start, stop in _chunks(len(measured), batch, job.samples):
            piece = measured.read(start, stop)
            result = restorer.restore(piece, start)
            _store(stores, start, result)
            extended.write(start, result)
            outcome.add(result, piece)
            counted.tell(stop)
        stored = stored_residual(source, extended, targets, measured, intensity)
        sidecar = sidecar_of(source, axes, job, prior, outcome, targets)
        sidecar |= {"ResidualStored": stored, "NoiseOrigin": origin}
        sidecar |= {"BatchSize": restorer.batches.size}
        sidecar |= {"InPlaneMatrix": list(geometry.operator.in_shape)}
        sidecar |= {"FieldOfView": describe_margins(margins, axes)} if margins else {}
        sidecar |= {"PixelNote": source.note} if source.note else {}
        sidecar |= acquired_facts(acquired, job) | metadata
        publish(
            source,
            geometry,
            job,
            prior,
            targets,
            claim,
            measured,
            stores,
            sidecar,
            metadata,
            intensity,
        )
    say(
        f"{outcome.seconds:.1f} s, {sum(outcome.last.evaluations.values())} evaluations per slice"
        f"{' and sample' if job.samples > 1 else ''},"
        f" relative residual {outcome.residual:.1e}"
    )
    return list(targets.values())


def checked_item(item: Item) -> Item:
    """With the only series of a path that means DICOM; any other input as it is. MRCascadeError for
    a phase by itself."""
    refuse_phase(item.image)
    if isinstance(item.image, Path) and format_of(item.image) == "dicom":
        return replace(item, image=only_series(item.image))
    return item


def check_result(source: Source, axes: Axes, target: Path, job: SuperResolution) -> None:
    """Raise MRCascadeError now where the result cannot be written later."""
    check_writable(source, target, derivation_of(job, "result", (0.0, 1.0), ""), axes)


def geometry_of(
    source: Source, prior: CascadePrior, job: SuperResolution, matrix: Matrix
) -> Geometry:
    """Planes and operator of an image; MRCascadeError where the prior cannot restore it.

    matrix: what was acquired, (rows, columns); it counts where the job asks for it.
    """
    planes = choose_planes(source, job.axes)
    axes = planes.axes
    stored = source.shape[axes[0]], source.shape[axes[1]]
    shape = stored if job.acquired is None else matrix
    check_enlargement(source, planes, shape, job.factor, prior.limits)  # before H is built
    operator = operator_for(shape, job.kernel, job.factor)
    try:
        check_measurement((1, *shape), source.dtype, operator, prior)
    except MRCascadeError as error:
        raise MRCascadeError(f"{source.source}: {error}") from error
    affine = source.affine
    if affine is not None:  # a crop of k-space, whatever the kernel of the restoration is
        affine = resampled_affine(affine, axes, "fourier", stored, shape)
    return Geometry(axes, operator, affine)


def _interpolated(acquired: Acquired, job: SuperResolution) -> str:
    if job.acquired is not None:
        return f"its {acquired}; they are cropped to those first"
    return (
        f"warning: its {acquired}, and enlarging interpolated pixels is not what the prior was"
        " trained for; --acquired-matrix auto crops first"
    )


def slices_per_chunk(batch: int, samples: int) -> int:
    """The fewest slices whose samples fill whole batches."""
    return batch // math.gcd(batch, samples)


def _load(
    source: Source, axes: Axes, folder: Path, stack: ExitStack
) -> tuple[SliceStore, Intensity]:
    """The slices of the image, and their intensity."""
    order = StackOrder(source.shape, source.layout, axes)
    store = stack.enter_context(SliceStore(folder, order, source.dtype))
    maximum = RobustMaximum(math.prod(source.shape))
    for block, values in source.blocks():
        store.put(block, values)
        maximum.add(values)
    intensity = intensity_of(store, maximum.value())
    if not intensity.scale > 0:
        raise MRCascadeError(
            f"{source.source}: zero almost everywhere; there is nothing to restore"
        )
    return store, intensity


def _planned(
    measured: SliceStore,
    intensity: Intensity,
    geometry: Geometry,
    prior: CascadePrior,
    job: SuperResolution,
    settings: SamplerSettings,
    say: Report,
) -> tuple[Plan, str]:
    """The plan of a volume, and how its noise is known."""

    def read(number: int) -> np.ndarray:
        return measured.read(number, number + 1)[0]

    operator = geometry.operator
    found = examine(read, len(measured), operator, intensity, job.noise)
    plan = Plan.of(prior, operator, found.noise, settings, found.margins)
    if found.estimate is None:
        return plan, "given"
    some = found.looked_at < len(measured)
    part = f", by {found.looked_at} evenly spread slices" if some else ""
    how = found.estimate.describe(intensity.scale)
    say(f"noise estimated at {how}{part}; --noise overrides it")
    return plan, f"estimated {found.estimate}{part}"


def _batch(
    path: Path,
    prior: CascadePrior,
    plan: CascadePlan,
    job: SuperResolution,
    slices: int,
    say: Report,
) -> int:
    if job.batch_size is not None and job.batch_size < 1:
        raise MRCascadeError("the batch size must be 1 or more")
    with naming(str(path)):
        check_memory(prior, plan)
    asked = job.batch_size or default_batch(slices * job.samples, prior.device)
    batch = fitting_batch(asked, image_bytes(prior, plan), prior.device)
    if job.batch_size is not None and batch < job.batch_size:
        say(f"batches of {batch} instead of {job.batch_size}, which would need too much memory")
    return batch


def _empty_results(
    source: Source, geometry: Geometry, targets: dict[str, Path], folder: Path, stack: ExitStack
) -> dict[str, SliceStore]:
    shape = geometry.result_shape(source.shape)
    order = StackOrder(shape, output_layout(targets["result"], len(shape)), geometry.axes)
    images = [key for key in IMAGES if key in targets]
    kinds: dict[str, np.dtype] = dict.fromkeys(images, source.dtype)
    if "std" in targets:
        kinds["std"] = np.dtype(np.float32)
    return {k: stack.enter_context(SliceStore(folder, order, d)) for k, d in kinds.items()}


def _chunks(slices: int, batch: int, samples: int) -> Iterator[tuple[int, int]]:
    step = slices_per_chunk(batch, samples)
    for start in range(0, slices, step):
        yield start, min(start + step, slices)


@dataclass
class _Chunks:
    """Restores a volume chunk by chunk; ``batches`` shrink where memory does not suffice."""

    path: Path
    restorer: Restorer
    samples: int
    seed: int
    intensity: Intensity
    batches: Batches
    progress: SliceProgress

    def restore(self, piece: np.ndarray, start: int) -> Restoration:
        """Slices ``piece`` (S, h, w), the first of which has the number ``start``."""

        def restored(batch: int) -> Restoration:
            return self.restorer(
                piece,
                self.intensity,
                samples=self.samples,
                seed=self.seed,
                numbers=range(start, start + len(piece)),
                batch_size=batch,
                callback=self.progress.chunk(start, len(piece)),
            )

        return self.batches.run(self.path, len(piece) * self.samples, restored)


def _store(stores: dict[str, SliceStore], start: int, result: Restoration) -> None:
    for key, store in stores.items():
        values = {"result": result.mean, "sample": result.sample, "std": result.std}[key]
        assert values is not None  # a store for std exists only where there are samples
        store.write(start, values)
