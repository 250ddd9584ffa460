"""Files to files: super-resolve a volume, simulate a measurement of one."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mrcascade import __version__
from mrcascade.errors import MRCascadeError
from mrcascade.intensity import robust_maximum
from mrcascade.io import (
    Axes,
    Image,
    atomic_outputs,
    check_target,
    choose_axes,
    derived_name,
    describe_axes,
    from_slices,
    read_image,
    resampled_affine,
    to_slices,
    write_image_into,
)
from mrcascade.noise_estimate import estimate_noise
from mrcascade.operators import SeparableOperator, legal_size
from mrcascade.preview import write_preview
from mrcascade.prior import CascadePrior
from mrcascade.restore import (
    Restoration,
    check_measurement,
    make_plan,
    relative_residual,
    resolve_settings,
    super_resolve,
)
from mrcascade.samplers import CascadePlan, Progress, SamplerSettings

NOTICE = "Research software; not for diagnosis."
Factors = tuple[float, float]
Report = Callable[[str], None]


@dataclass(frozen=True)
class SuperResolution:
    """What ``sr`` was asked for; the fields are the command's options."""

    factor: Factors
    kernel: str = "fourier"
    noise: float | None = None  # fraction of the robust maximum; None estimates it
    mode: str | SamplerSettings = "mean"
    steps: int | None = None
    samples: int = 1
    seed: int = 0
    axes: str | None = None
    batch_size: int = 1
    overwrite: bool = False


def factor_label(factor: Factors) -> str:
    """``4x`` or ``2x1x`` style label of a pair of factors, usable in a BIDS entity."""
    rows, cols = (f"{f:g}".replace(".", "p") for f in factor)
    return f"{rows}x" if rows == cols else f"{rows}by{cols}x"


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
    the standard deviation map, a preview and, last, a JSON sidecar. All appear together.
    ``say`` gets one line per decision; ``progress(total)`` makes the evaluation callback.
    """
    targets = _targets(path, output, job)
    for target in targets.values():
        check_target(target, job.overwrite)
    image = read_image(path)
    axes = choose_axes(image, job.axes)
    say(f"{path.name}: {describe_axes(image, axes)}")
    stack = to_slices(image, axes)
    operator = operator_for(stack.shape[1:], job.kernel, job.factor, path)
    try:
        check_measurement(stack[:1], operator, prior)
    except MRCascadeError as error:
        raise MRCascadeError(f"{path}: {error}") from error
    scale = _scale(stack, path)
    noise, origin = _noise(stack, scale, job, say)
    settings = resolve_settings(prior, job.mode, job.steps)
    plan = make_plan(prior, operator, noise, settings)
    tick = progress(expected_evaluations(plan, settings) * len(stack) * job.samples)
    result = super_resolve(
        stack,
        operator,
        prior,
        noise=noise,
        mode=settings,
        samples=job.samples,
        seed=job.seed,
        batch_size=job.batch_size,
        scale=scale,
        callback=tick,
    )
    affine = None
    if image.affine is not None:
        affine = resampled_affine(
            image.affine, axes, job.kernel, operator.out_shape, operator.in_shape
        )
    stacks = {"result": result.mean}
    if result.std is not None:
        stacks |= {"sample": result.sample, "std": result.std}
    stored = {k: image.with_data(_stored(v, image, axes), affine) for k, v in stacks.items()}
    sidecar = _sidecar(image, axes, job, prior, result, targets)
    sidecar["NoiseOrigin"] = origin
    sidecar["ResidualStored"] = _worst(
        relative_residual(to_slices(stored["result"], axes), stack, operator)
    )
    with atomic_outputs(list(targets.values()), job.overwrite) as temporaries:
        places = dict(zip(targets, temporaries, strict=True))
        for key, item in stored.items():
            write_image_into(item, places[key])
        write_preview(places["preview"], stack, result.mean, result.std, operator)
        places["sidecar"].write_text(json.dumps(sidecar, indent=1) + "\n")
    say(
        f"{result.seconds:.1f} s, {sum(result.evaluations.values())} evaluations per slice"
        f"{' and sample' if job.samples > 1 else ''},"
        f" relative residual {_worst(result.residual):.1e}"
    )
    return list(targets.values())


def expected_evaluations(plan: CascadePlan, settings: SamplerSettings) -> int:
    """Network evaluations per slice and sample, for a progress bar."""
    if settings.steps is None:
        return sum(not plan.determined(task.level) for task in plan.tasks)
    return sum(task.steps for task in plan.tasks if task.sampled)


def operator_for(
    shape: Sequence[int], kernel: str, factor: Factors, source: Path
) -> SeparableOperator:
    """The measurement operator whose output has ``shape``."""
    if min(factor) < 1 or max(factor) == 1:
        raise MRCascadeError(f"factor {factor[0]:g},{factor[1]:g}: give factors above 1, such as 2")
    sides = []
    for n, f in zip(shape, factor, strict=True):
        side = round(n * f)
        if abs(side - n * f) > 1e-6:
            raise MRCascadeError(
                f"{source}: {n} pixels times factor {f:g} is not a whole number;"
                f" choose another factor"
            )
        sides.append(side)
    return SeparableOperator.from_kernel(kernel, factor, (sides[0], sides[1]))


def _targets(path: Path, output: Path, job: SuperResolution) -> dict[str, Path]:
    label = f"sr{factor_label(job.factor)}"
    ending = ".npy" if path.name.lower().endswith(".npy") else ".nii.gz"
    names = {"result": (label, ending)}
    if job.samples > 1:
        names |= {"sample": (f"{label}sample", ending), "std": (f"{label}std", ending)}
    names |= {"preview": (label, ".png"), "sidecar": (label, ".json")}
    return {k: output / derived_name(path, d, e) for k, (d, e) in names.items()}


def _scale(stack: np.ndarray, path: Path) -> float:
    scale = robust_maximum(stack)
    if not scale > 0:
        raise MRCascadeError(f"{path}: zero almost everywhere; there is nothing to restore")
    return scale


def _noise(stack: np.ndarray, scale: float, job: SuperResolution, say: Report) -> tuple[float, str]:
    if job.noise is not None:
        return job.noise, "given"
    noise = estimate_noise(stack) / scale
    say(f"noise estimated at {100 * noise:.2g} % of the maximum; --noise overrides it")
    return noise, "estimated from the image"


def _stored(stack: np.ndarray, image: Image, axes: Axes) -> np.ndarray:
    kind = np.complex64 if np.iscomplexobj(stack) else np.float32
    return from_slices(stack.astype(kind), image, axes)


def _worst(residual: np.ndarray) -> float:
    return float(residual.max())


def _sidecar(
    image: Image,
    axes: Axes,
    job: SuperResolution,
    prior: CascadePrior,
    result: Restoration,
    targets: dict[str, Path],
) -> dict[str, Any]:
    return {
        "Description": f"Super-resolved {factor_label(job.factor)} in plane. {NOTICE}",
        "Sources": [image.source.name],
        "SourceSHA256": image.sha256,
        "Resolution": f"in-plane matrix enlarged by {job.factor[0]:g} x {job.factor[1]:g}",
        "InPlaneAxes": list(axes),
        "Files": {key: path.name for key, path in targets.items() if key != "sidecar"},
        "Kernel": job.kernel,
        "Prior": prior.name,
        "PriorKernel": prior.kernel,
        "Settings": result.settings,
        "EvaluationsPerSlice": {str(k): v for k, v in result.evaluations.items()},
        "Residual": _worst(result.residual),
        "Seconds": round(result.seconds, 3),
        "Device": str(prior.device),
        "Software": {"mrcascade": __version__, "torch": torch.__version__},
    }


# ---- simulate ----


@dataclass(frozen=True)
class Simulation:
    """What ``simulate`` was asked for; the fields are the command's options."""

    factor: Factors
    kernel: str = "fourier"
    noise: float = 0.0
    seed: int = 0
    axes: str | None = None
    overwrite: bool = False


def simulate_file(path: Path, output: Path, job: Simulation, *, say: Report) -> list[Path]:
    """Measure an image file: crop to a legal size, apply H, add Gaussian noise.

    The crop keeps the centre; the affine follows it and the kernel. ``noise`` is a fraction of
    the noise-free measurement's robust maximum. Returns image and sidecar.
    """
    ending = ".npy" if path.name.lower().endswith(".npy") else ".nii.gz"
    label = f"low{factor_label(job.factor)}"
    targets = [output / derived_name(path, label, e) for e in (ending, ".json")]
    for target in targets:
        check_target(target, job.overwrite)
    image = read_image(path)
    axes = choose_axes(image, job.axes)
    say(f"{path.name}: {describe_axes(image, axes)}")
    if min(job.factor) < 1 or max(job.factor) == 1:
        raise MRCascadeError(f"factor {job.factor[0]:g},{job.factor[1]:g}: give factors above 1")
    image = crop_to_legal(image, axes, job.factor)
    stack = to_slices(image, axes)
    operator = SeparableOperator.from_kernel(job.kernel, job.factor, stack.shape[1:])
    low = operator(torch.from_numpy(stack)).numpy()
    sigma = job.noise * _scale(low, path)
    low = low + _gaussian(low, sigma, job.seed)
    affine = None
    if image.affine is not None:
        affine = resampled_affine(
            image.affine, axes, job.kernel, operator.in_shape, operator.out_shape
        )
    sidecar = {
        "Description": f"Simulated measurement, {operator.name}. {NOTICE}",
        "Sources": [image.source.name],
        "SourceSHA256": image.sha256,
        "InPlaneAxes": list(axes),
        "CroppedTo": list(operator.in_shape),
        **{k: v for k, v in asdict(job).items() if k not in ("overwrite", "axes")},
        "Software": {"mrcascade": __version__},
    }
    with atomic_outputs(targets, job.overwrite) as (data, notes):
        write_image_into(image.with_data(_stored(low, image, axes), affine), data)
        notes.write_text(json.dumps(sidecar, indent=1) + "\n")
    say(f"{operator.name}: {operator.in_shape} -> {operator.out_shape}, noise {job.noise:g}")
    return targets


def crop_to_legal(image: Image, axes: Axes, factor: Factors) -> Image:
    """Centre-crop the in-plane axes to sizes that the factors divide; the affine follows."""
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


def _gaussian(like: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=like.shape)
    if np.iscomplexobj(like):
        noise = noise + 1j * rng.normal(size=like.shape)
    return (sigma * noise).astype(like.dtype)
