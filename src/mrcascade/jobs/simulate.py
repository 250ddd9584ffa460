"""Simulation of a low-resolution measurement of an image file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mrcascade import __version__
from mrcascade.arrays.factors import check_factor, factor_label, legal_size
from mrcascade.data.sizes import check_reduction
from mrcascade.errors import MRCascadeError
from mrcascade.io import (
    NOTICE,
    RADIANS,
    Axes,
    Derivation,
    Image,
    ImageFile,
    Named,
    Planes,
    Source,
    atomic_outputs,
    beside,
    check_writable,
    choose_planes,
    derived_name,
    describe_planes,
    format_to_write,
    from_slices,
    identity_of,
    image_file,
    named_output,
    open_source,
    output_folders,
    read_image,
    refuse_phase,
    remove_leftovers,
    resampled_affine,
    result_ending,
    to_slices,
    with_part,
    with_slice_axis,
    write_document,
    write_image_into,
)
from mrcascade.jobs.common import input_seed, timing_facts
from mrcascade.jobs.progress import Report
from mrcascade.jobs.request import Factors
from mrcascade.measurement.simulate import measured_slices
from mrcascade.messages.faults import naming
from mrcascade.operators import SeparableOperator
from mrcascade.storage.outputs import FILES, Claim, claim_result, file_counts, only_writer


@dataclass(frozen=True)
class Simulation:
    """Options of ``simulate``; the fields have the names of the command's options.

    ``complex`` keeps the complex image of k-space, and refuses inputs without phase.
    """

    factor: Factors
    kernel: str = "fourier"
    noise: float = 0.0
    seed: int = 0
    axes: str | None = None
    overwrite: bool = False
    format: str | None = None
    complex: bool = False


def simulate_file(image: Named, output: Path, job: Simulation, *, say: Report) -> list[Path]:
    """Measure an image file: crop to a legal size, apply H, add Gaussian noise.

    The crop keeps the centre, and the affine follows crop and kernel. The noise's standard
    deviation is ``job.noise`` times the robust maximum of the noise-free measurement above the
    value of no signal. Complex images get that noise in the real and the imaginary part.

    Args:
        image: the image.
        output: folder, or name of the measurement.
        job: options of the simulation.
        say: called with one line per decision.

    Returns:
        The image and its sidecar; for a magnitude and phase pair also the phase and its sidecar.

    Raises:
        MRCascadeError: the image cannot be read or measured, or outputs exist already.
    """
    check_factor(job.factor)
    source = image_file(image)
    refuse_phase(source)
    label = f"low{factor_label(job.factor)}"
    targets = _targets(source, output, label, job)
    claim_result(targets, targets[1], source.paths, job.overwrite)
    with open_source(source, job.complex) as unread:
        planes = _checked_planes(unread, targets[0], label, job)
        say(f"{source.name}: {describe_planes(unread, planes)}")
    with output_folders(targets), only_writer(targets[1]):
        claim = claim_result(targets, targets[1], source.paths, job.overwrite)
        _measure(source, targets, claim, planes.axes, label, job, say)
    return targets


def _measure(
    source: ImageFile,
    targets: list[Path],
    claim: Claim,
    axes: Axes,
    label: str,
    job: Simulation,
    say: Report,
) -> None:
    image = read_image(source, job.complex)
    stored = [image.shape[axis] for axis in axes]
    image = crop_to_legal(image, axes, job.factor)
    left = [image.shape[axis] for axis in axes]
    if left != stored:
        say(
            f"cropped to the central {left[0]} x {left[1]} of {stored[0]} x {stored[1]} pixels,"
            " which the factor divides"
        )
    stack = to_slices(image, axes)
    operator = SeparableOperator.from_kernel(job.kernel, job.factor, stack.shape[1:])
    with naming(str(source)):
        seed = input_seed(job.seed, image.sha256)
        low, intensity = measured_slices(stack, operator, job.noise, seed)
    affine = None
    if image.affine is not None:
        affine = resampled_affine(
            image.affine, axes, job.kernel, operator.in_shape, operator.out_shape
        )
    sidecar = {
        "Description": f"Simulated measurement, {operator.name}. {NOTICE}",
        "Sources": [path.name for path in source.paths],
        "SourceSHA256": image.sha256,
        FILES: dict(zip(("result", "phase"), (t.name for t in targets[::2]), strict=False)),
        "InPlaneAxes": list(axes),
        "InPlaneMatrix": list(operator.out_shape),
        "CroppedTo": list(operator.in_shape),
        **timing_facts(image, targets[0]),
        **{k: v for k, v in asdict(job).items() if k not in ("overwrite", "axes", "format")},
        "Software": [{"Name": "mrcascade", "Version": __version__}],
    }
    text = f"simulated measurement, {operator.name}"
    made = Derivation(label, text, intensity.window, identity=identity_of(sidecar))
    result = image.with_data(from_slices(low, image, axes), affine)
    result = with_slice_axis(result, _across(image, axes), format_to_write(targets[0]))
    in_order = [targets[0], *targets[2:], targets[1]]  # the sidecar last: it marks complete results
    with atomic_outputs(in_order, job.overwrite) as temporaries:
        data, *phase, notes = temporaries
        if phase:
            write_image_into(result.with_data(np.abs(result.data), affine), data, made)
            write_image_into(result.with_data(np.angle(result.data), affine), phase[0], made)
            write_document(phase[1], {"Units": RADIANS})
        else:
            write_image_into(result, data, made)
        counts = file_counts(zip(in_order, temporaries, strict=True))
        write_document(notes, sidecar | counts)
        claim.check()
    remove_leftovers(targets)
    say(f"{operator.name}: {operator.in_shape} -> {operator.out_shape}, noise {job.noise:g}")


def _checked_planes(source: Source, target: Path, label: str, job: Simulation) -> Planes:
    """Return the planes to measure. Raises MRCascadeError if the header rules the job out."""
    if job.complex and source.dtype.kind != "c":
        raise MRCascadeError(
            f"{source.source} has no phase; --complex takes k-space, complex files, or a _part-mag"
            " and a _part-phase file side by side"
        )
    planes = choose_planes(source, job.axes)
    check_writable(source, target, Derivation(label, "", (0.0, 1.0)), planes.axes)
    check_reduction(source, planes, job.factor)
    return planes


def _targets(source: ImageFile, output: Path, label: str, job: Simulation) -> list[Path]:
    if named_output(source, output, job.format) is not None:
        targets = [output, beside(output, "", ".json")]
    else:
        endings = (result_ending(source, job.format), ".json")
        targets = [output / derived_name(source, label, ending) for ending in endings]
    return targets + [with_part(target, "phase") for target in targets if source.paired]


def _across(image: Image, axes: Axes) -> int | None:
    """Return the spatial axis across the planes; None if it has one slice only."""
    left = [a for a in range(min(len(image.shape), 3)) if a not in axes and image.shape[a] > 1]
    return left[0] if left else None


def crop_to_legal(image: Image, axes: Axes, factor: Factors) -> Image:
    """Centre-crop the in-plane axes to sizes that the factors divide, and shift the affine."""
    window = [slice(None)] * image.data.ndim
    affine = None if image.affine is None else image.affine.copy()
    for axis, f in zip(axes, factor, strict=True):
        n = image.data.shape[axis]
        size = legal_size(n, f)
        start = (n - size) // 2
        window[axis] = slice(start, start + size)
        if affine is not None:
            affine[:3, 3] += start * affine[:3, axis]
    return image.with_data(image.data[tuple(window)], affine)
