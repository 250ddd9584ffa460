"""One measurement in memory: scale, sample, project, scale back (Thaker et al., section 3.3)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mrcascade.arrays.channels import from_channels, to_channels
from mrcascade.errors import MRCascadeError
from mrcascade.measurement.border import NO_MARGINS, Margins, find_margins
from mrcascade.measurement.exactness import check_exact
from mrcascade.measurement.intensity import measured_intensity
from mrcascade.measurement.noise import estimate_noise, slices_for_noise
from mrcascade.messages.printable import shortened
from mrcascade.operators import LinearOperator, SeparableOperator, expected_error, sampled_error
from mrcascade.prior.cascade import CascadePrior
from mrcascade.prior.format import PRIOR_FILE, check_sizes
from mrcascade.prior.named import as_prior
from mrcascade.recipes.modes import default_mode
from mrcascade.recipes.settings import read_mode
from mrcascade.sampling import (
    RECIPES,
    CascadePlan,
    NoiseSource,
    Progress,
    SamplerSettings,
    image_seed,
    plan_cascade,
    reconstruct,
    single_scale,
)

Callback = Callable[[Progress], None]
# What is wrong with a measurement of so many channels, and what to do.
_OTHER_KIND = {
    1: "models complex images and the measurement has no phase: use a magnitude prior, such as"
    " 'mr-small', or give the complex image (a file, or _part-mag and _part-phase side by side)",
    2: "models magnitude images and the measurement is complex, so its phase would be lost: use a"
    " complex prior, such as 'mr-mini-complex', or take the image's magnitude first",
}


@dataclass(frozen=True)
class Restoration:
    """A super-resolved stack, in the intensities of the measurement.

    Attributes:
        mean: (S, H, W) mean of the samples (the estimate itself in mode "mean").
        sample: (S, H, W) the first sample.
        std: (S, H, W) standard deviation over the samples (K - 1) times the settings'
            ``spread``, None for one sample.
        residual: (S,) ``||y - H mean|| / ||y||`` of values above the zero level, NaN where nothing
            was measured. For slices with margins (``extended``), H is that of the larger grid.
        evaluations: network evaluations per slice and sample, by level.
        seconds: wall time.
        settings: everything that the result depends on besides prior and measurement; of the
            sampler's settings those with an effect.
        extended: (S, H', W') mean with its margins, where the field of view was cut in the image
            (`find_margins`); else None.

    Images have the dimensions of the measurement they were made from: (H, W) for one slice.

    Example:
        >>> import numpy as np, mrcascade
        >>> low, H = mrcascade.simulate(np.random.default_rng(0).random((32, 32)), 2)
        >>> mrcascade.super_resolve(low, H, "mr-small", noise=0.0, mode="mean")
        Restoration(float64 (32, 32), mode 'mean', K = 1, residual ..., ... s)
    """

    mean: np.ndarray
    sample: np.ndarray
    std: np.ndarray | None
    residual: np.ndarray
    evaluations: dict[int, int]
    seconds: float
    settings: dict[str, Any]
    extended: np.ndarray | None = None

    def __repr__(self) -> str:
        what = f"mode {self.settings.get('name')!r}, K = {self.settings.get('samples')}"
        fit = f"residual {np.fmax.reduce(self.residual):.1e}, {self.seconds:.2f} s"
        return f"Restoration({self.mean.dtype} {self.mean.shape}, {what}, {fit})"


def super_resolve(
    measurement: np.ndarray,
    operator: LinearOperator,
    prior: CascadePrior | str | Path,
    *,
    noise: float | None = None,
    mode: str | SamplerSettings | None = None,
    steps: int | None = None,
    samples: int = 1,
    seed: int = 0,
    batch_size: int = 1,
    scale: float | None = None,
    zero: float | None = None,
    numbers: Sequence[int] | None = None,
    plan: CascadePlan | None = None,
    margins: Margins | None = None,
    callback: Callback | None = None,
) -> Restoration:
    """Restore slices from their measurement.

    Args:
        measurement: (h, w) or (S, h, w), real; complex where the prior has two channels. Results
            have its precision, but at least that of float32.
        operator: H; its input is the grid of the result.
        prior: on the device that does the work, or the name of a bundled prior ("mr-small") or a
            prior's folder, for the CPU.
        noise: sigma_y as a fraction of the measurement's robust maximum (above ``zero``); 0 for
            noise-free data, which every result then meets exactly (but for settings with
            ``project`` off); None estimates it as the command does (`estimate_noise`).
        mode: "mean", "balanced", "sample" or "paper" (``RECIPES``, a line about each in
            `Recipe`), perhaps with settings after it ("sample:zeta=0.1", see
            `resolve_settings`), or settings of one's own; by default "mean", and "sample" for
            several samples.
        steps: T instead of the recipe's.
        samples: K posterior samples per slice; 1 in modes that draw nothing, such as "mean".
        seed: each (slice, sample) draws from its own generator, so the result depends on neither
            the batch size nor the other slices, but for rounding.
        batch_size: slices or samples that pass through the networks together.
        scale: the robust maximum above ``zero``, where ``measurement`` is part of a larger volume.
        zero: value of no signal in the measurement. By default 0 with ``scale``, else what
            `zero_level` finds. The result has the same one, as the operator keeps constants;
            with an operator that does not, it is 0.
        numbers: of the slices in their volume, for the seeds; 0, 1, ... by default.
        plan: of ``make_plan`` for the same arguments and ``margins.operator(operator)``, where a
            volume comes in parts.
        margins: samples that are added where the field of view was cut; by default those that
            `find_margins` finds, and with a plan, none.
        callback: called after each network evaluation of each batch.

    Raises MRCascadeError where measurement, operator, prior and settings do not fit together, and
    where the device misses noise-free data (`check_exact`).

    Example:
        >>> import numpy as np, mrcascade
        >>> low, H = mrcascade.simulate(np.random.default_rng(0).random((32, 32)), 2)
        >>> mrcascade.super_resolve(low, H, "mr-small", noise=0.0, mode="mean").mean.shape
        (32, 32)
    """
    started = time.perf_counter()
    _check_arguments(measurement, operator)
    stack = measurement[None] if measurement.ndim == 2 else measurement
    stack = stack.astype(np.result_type(stack, np.float32), copy=False)
    prior = as_prior(prior)
    check_measurement(stack, operator, prior)
    settings = resolve_settings(prior, mode, steps, samples)
    numbers = range(len(stack)) if numbers is None else numbers
    if batch_size < 1 or len(numbers) != len(stack):
        raise MRCascadeError("the batch size must be 1 or more, with one number for each slice")
    intensity = measured_intensity(stack, operator, scale, zero)
    stack, scale = intensity.above_zero(stack), intensity.scale
    if not scale > 0:
        raise MRCascadeError("the measurement is zero almost everywhere; nothing to restore")
    if noise is None:
        chosen = (stack[i] for i in slices_for_noise(len(stack)))
        noise = estimate_noise(chosen, zero=0.0).sigma / scale
    if margins is None:
        chosen = (stack[i] for i in slices_for_noise(len(stack)))
        margins = find_margins(chosen, operator, scale) if plan is None else NO_MARGINS
    full = margins.operator(operator) if plan is None else plan.operator
    plan = make_plan(prior, full, noise, settings) if plan is None else plan
    y = to_channels(margins.extend(stack / scale), prior.device)
    moments = _Moments(len(stack), samples)
    jobs = [(s, k) for s in range(len(stack)) for k in range(samples)]
    evaluations: dict[int, int] = {}
    for start in range(0, len(jobs), batch_size):
        chunk = jobs[start : start + batch_size]
        batch = y[[s for s, _ in chunk]]
        seeds = NoiseSource([image_seed(seed, int(numbers[s]), k) for s, k in chunk])
        result = reconstruct(prior, plan, batch, seeds, callback=callback)
        evaluations = result.evaluations
        for (s, _), image in zip(chunk, from_channels(result.image), strict=True):
            moments.add(s, image)
    mean = moments.mean.astype(stack.dtype)
    flat = measurement.ndim == 2
    own = (slice(None), *margins.inside(operator))
    residual = relative_residual(mean, stack / scale, full, margins)
    if plan.sigma_y == 0 and plan.settings.project:
        check_exact(residual, stack / scale, mean, full, prior.device)
    return Restoration(
        mean=_like(intensity.restored(mean[own]), flat),
        sample=_like(intensity.restored(moments.first[own]), flat),
        std=None if samples == 1 else _like(moments.std()[own] * (scale * settings.spread), flat),
        residual=residual,
        evaluations=evaluations,
        seconds=time.perf_counter() - started,
        settings={
            **settings.record(samples),
            "steps_nominal": plan.steps_nominal,
            "noise": noise,
            "samples": samples,
            "seed": seed,
            "scale": scale,
            **({"zero": intensity.zero} if intensity.zero else {}),
            "prior": prior.name,
            "operator": operator.name,
            **({"margins": (margins.rows, margins.columns)} if margins else {}),
        },
        extended=_like(intensity.restored(mean), flat) if margins else None,
    )


def resolve_settings(
    prior: CascadePrior,
    mode: str | SamplerSettings | None,
    steps: int | None = None,
    samples: int = 1,
) -> SamplerSettings:
    """A recipe with the values that the prior tunes, and another T if one is given.

    ``mode`` may change settings of a recipe, each by ``:KEY=VALUE`` (`parse_changes`) after its
    name, such as "mean:orientations=8"; None is the default for so many samples
    (`default_mode`). Raises MRCascadeError for a recipe that the prior does not have or cannot
    run, and for one that cannot give the samples.
    """
    mode = default_mode(samples) if mode is None else mode
    settings = _recipe(prior, mode, samples) if isinstance(mode, str) else mode
    if settings.steps is not None and not prior.generative:
        raise MRCascadeError(
            f"prior {prior.name!r} is a regression network and has no samples; use mode 'mean'"
        )
    if settings.grids is not None:
        single_scale(prior)
    check_samples(samples, settings)
    if steps is None:
        return settings
    if settings.steps is None:
        raise MRCascadeError(f"mode {settings.name!r} has no chain of steps; drop --steps")
    return settings.changed(steps=steps)


def _recipe(prior: CascadePrior, mode: str, samples: int) -> SamplerSettings:
    """The settings that a mode's name and changes stand for."""
    name, changed = read_mode(mode)
    # Samples of noisy data with less fresh noise would spread less than they err.
    spreading = samples > 1 and "observed_zeta" in RECIPES[name].tunable
    full = {"observed_zeta": 1.0} if spreading else {}
    try:
        tuned = RECIPES[name].changed(**{**full, **prior.tuned(name)})
        return tuned.changed(**changed)
    except (MRCascadeError, TypeError, ValueError) as error:  # what was changed is right by itself
        raise MRCascadeError(
            f"prior {prior.name!r}: 'sampling' in its {PRIOR_FILE} has a setting of {name!r}"
            f" that does not exist or does not fit ({shortened(str(error))}); fetch the prior again"
        ) from error


def check_samples(samples: int, settings: SamplerSettings) -> None:
    """Raise MRCascadeError unless the settings can give that many samples."""
    if samples < 1:
        raise MRCascadeError("the number of samples must be 1 or more")
    if samples == 1:
        return
    if not settings.draws:
        raise MRCascadeError(
            f"mode {settings.name!r} has one result; for {samples} samples use mode 'sample'"
        )
    if not settings.full_detail:
        raise MRCascadeError(
            f"mode {settings.name!r} moves a sample towards the mean, so that samples would spread"
            f" too little; for {samples} samples use mode 'sample'"
        )


def make_plan(
    prior: CascadePrior, operator: LinearOperator, noise: float, settings: SamplerSettings
) -> CascadePlan:
    """The plan of a cascade, or of the grids of a multi-grid sampler; what finer bands add to a
    foreign operator's noise follows from the training images' power spectrum, on random images
    where the operator is not separable.

    Raises MRCascadeError for settings that do not fit, and for grids too small for the prior.
    """

    def missing(full: LinearOperator, coarse: LinearOperator) -> float:
        if isinstance(full, SeparableOperator) and isinstance(coarse, SeparableOperator):
            return expected_error(full, coarse, prior.power_density)
        return sampled_error(full, coarse, prior.power_density, prior.channels, prior.device)

    plan = plan_cascade(
        prior.kernel,
        settings.grids or len(prior.levels),
        operator,
        noise,
        settings,
        step=prior.step,
        missing=missing,
    )
    if settings.grids is not None:
        _check_grids(plan, prior)
    return plan


def _check_grids(plan: CascadePlan, prior: CascadePrior) -> None:
    for task in plan.tasks:
        rows, cols = plan.pyramid.shapes[task.level - 1]
        if task.sampled and min(rows, cols) < prior.minimum_size:
            raise MRCascadeError(
                f"grid {task.level} would have {rows}x{cols} pixels and prior {prior.name!r} needs"
                f" at least {prior.minimum_size} per side; take fewer grids"
            )


def _check_arguments(measurement: np.ndarray, operator: LinearOperator) -> None:
    if not isinstance(operator, LinearOperator):
        raise MRCascadeError(
            f"operator {operator!r}: give a measurement operator, such as"
            " SeparableOperator.from_kernel('fourier', 4, (256, 256))"
        )
    if not isinstance(measurement, np.ndarray) or measurement.ndim not in (2, 3):
        found = getattr(measurement, "shape", type(measurement).__name__)
        raise MRCascadeError(f"measurement: expected (h, w) or (slices, h, w), got {found}")
    if measurement.dtype.kind not in "biufc":
        raise MRCascadeError(f"measurement: expected numbers, got values of {measurement.dtype}")
    bad = int(np.count_nonzero(~np.isfinite(measurement)))
    if bad:
        raise MRCascadeError(
            f"the measurement holds {bad} NaN or infinite pixel{'s' * (bad > 1)}; replace them (for"
            " instance by 0)"
        )


def check_measurement(stack: np.ndarray, operator: LinearOperator, prior: CascadePrior) -> None:
    """Raise MRCascadeError unless (S, h, w) can be restored with this operator and prior."""
    rows, columns = operator.out_shape
    if stack.ndim != 3 or stack.shape[1:] != (rows, columns):
        raise MRCascadeError(
            f"measurement of {operator.name}: expected (slices, {rows}, {columns}),"
            f" got {stack.shape}"
        )
    channels = 2 if np.iscomplexobj(stack) else 1
    if channels != prior.channels:
        raise MRCascadeError(f"prior {prior.name!r} {_OTHER_KIND[channels]}")
    check_sizes(operator.in_shape, operator.out_shape, prior.limits)


def relative_residual(
    images: np.ndarray,
    measurement: np.ndarray,
    operator: LinearOperator,
    margins: Margins = NO_MARGINS,
) -> np.ndarray:
    """``||y - H x|| / ||y||`` per slice, in float64; NaN where y is zero, an empty slice.

    margins: of the images and the operator; the measurement has none.
    """
    wide = np.complex128 if np.iscomplexobj(images) else np.float64
    x, y = torch.from_numpy(images.astype(wide)), torch.from_numpy(measurement.astype(wide))
    own = margins.measured(measurement.shape[-2:])
    error = torch.linalg.vector_norm(y - operator(x)[(..., *own)], dim=(-2, -1))
    size = torch.linalg.vector_norm(y, dim=(-2, -1))
    return torch.where(size > 0, error / size, torch.nan).numpy()


def _like(stack: np.ndarray, flat: bool) -> np.ndarray:
    return stack[0] if flat else stack


class _Moments:
    """Running mean and variance of the samples of each slice (Welford 1962)."""

    def __init__(self, slices: int, samples: int) -> None:
        self._count = np.zeros(slices, int)
        self._mean: list[np.ndarray | None] = [None] * slices
        self._square: list[np.ndarray | None] = [None] * slices
        self._first: list[np.ndarray | None] = [None] * slices
        self._keep_square = samples > 1

    def add(self, s: int, image: np.ndarray) -> None:
        self._count[s] += 1
        mean, square = self._mean[s], self._square[s]
        if mean is None or square is None:
            self._first[s] = image
            wide = np.complex128 if np.iscomplexobj(image) else np.float64
            self._mean[s] = image.astype(wide)
            self._square[s] = np.zeros(image.shape if self._keep_square else ())
            return
        step = image - mean
        mean += step / self._count[s]
        square += (step * np.conj(image - mean)).real

    @property
    def mean(self) -> np.ndarray:
        return np.stack([m for m in self._mean if m is not None])

    @property
    def first(self) -> np.ndarray:
        return np.stack([f for f in self._first if f is not None])

    def std(self) -> np.ndarray:
        squares = np.stack([q for q in self._square if q is not None])
        return np.sqrt(squares / (self._count[:, None, None] - 1)).astype(np.float32)
