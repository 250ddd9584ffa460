"""Super-resolution of one measurement in memory: examine it, plan, restore."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from mrcascade.arrays.intensity import Intensity
from mrcascade.errors import MRCascadeError
from mrcascade.measurement.domain import measure_domain
from mrcascade.measurement.examine import examine
from mrcascade.measurement.intensity import measured_intensity
from mrcascade.operators import LinearOperator
from mrcascade.prior.cascade import CascadePrior
from mrcascade.prior.named import as_prior
from mrcascade.restore.plan import Plan, check_measurement
from mrcascade.restore.restorer import Callback, Restoration, Restorer, as_stack
from mrcascade.restore.settings import resolve_settings
from mrcascade.sampling import Recipe


def super_resolve(
    measurement: np.ndarray,
    operator: LinearOperator,
    prior: CascadePrior | str | Path,
    *,
    noise: float | None = None,
    mode: str | Recipe | None = None,
    steps: int | None = None,
    samples: int = 1,
    seed: int = 0,
    batch_size: int = 1,
    intensity: Intensity | None = None,
    callback: Callback | None = None,
) -> Restoration:
    """Restore slices from their measurement.

    Slices get margins where the anatomy reaches the edge of the field of view (`find_margins`).
    Use a `Restorer` for parts of a volume, or for many measurements of one operator.

    Args:
        measurement: (h, w) or (S, h, w), real; complex for a prior with two channels. Results
            have its precision, at least float32.
        operator: H; its input is the grid of the result.
        prior: a prior on the device that does the work; or the name of a bundled prior
            ("mr-small") or a prior's folder, which is loaded on the CPU.
        noise: sigma_y as a fraction of the measurement's robust maximum above its zero level.
            0 means noise-free data, which every result meets exactly unless the settings turn
            ``project`` off. None estimates the noise from the measurement (`estimate_noise`).
        mode: "mean", "balanced", "sample" or "paper" (see `Recipe`). Settings may follow the name
            ("paper:zeta=0.1", see `resolve_settings`). Settings objects are accepted too. The
            default is "mean", and "sample" for several samples.
        steps: number of steps T, instead of the recipe's.
        samples: K posterior samples per slice; 1 in deterministic modes such as "mean".
        seed: seed of the random numbers. Each (slice, sample) has its own generator, so results
            do not depend on the batch size or on other slices, apart from rounding.
        batch_size: number of slices or samples that pass through the networks together.
        intensity: robust maximum and value of no signal, if known, for example those of the whole
            volume; by default those of ``measurement``. The result has the same zero level if the
            operator preserves constants, else the zero level is 0.
        callback: called after each network evaluation of each batch.

    Returns:
        The restored slices; images are (H, W) for one slice (h, w), else (S, H, W). ``domain``
        says how far the measurement is from the prior's own images.

    Raises:
        MRCascadeError: measurement, operator, prior and settings do not fit together, or the
            device is not precise enough for noise-free data (`check_exact`).

    Example:
        >>> import numpy as np, mrcascade
        >>> low, H = mrcascade.simulate(np.random.default_rng(0).random((32, 32)), 2)
        >>> mrcascade.super_resolve(low, H, "mr-small", noise=0.0, mode="mean").mean.shape
        (32, 32)
    """
    started = time.perf_counter()
    if not isinstance(operator, LinearOperator):
        raise MRCascadeError(
            f"operator {operator!r}: give a measurement operator, such as"
            " SeparableOperator.from_kernel('fourier', 4, (256, 256))"
        )
    stack = as_stack(measurement)
    prior = as_prior(prior)
    check_measurement(stack.shape, stack.dtype, operator, prior)
    settings = resolve_settings(prior, mode, steps, samples)
    if batch_size < 1:
        raise MRCascadeError("the batch size must be 1 or more")
    intensity = measured_intensity(stack, operator, intensity)
    if not intensity.scale > 0:
        raise MRCascadeError("the measurement is zero almost everywhere; nothing to restore")
    above, unit = intensity.above_zero(stack), Intensity(intensity.scale)
    found = examine(above.__getitem__, len(above), operator, unit, noise)
    plan = Plan.of(prior, operator, found.noise, settings, found.margins)
    result = Restorer(prior, plan)(
        measurement,
        intensity,
        samples=samples,
        seed=seed,
        batch_size=batch_size,
        callback=callback,
    )
    read, field = above.__getitem__, operator.in_shape
    domain = measure_domain(read, len(above), field, prior, unit, found.noise)
    return replace(result, domain=domain, seconds=time.perf_counter() - started)
