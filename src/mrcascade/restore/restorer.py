"""Restoration of slices by a plan: scale, sample, project, scale back (Thaker et al., 3.3)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mrcascade.arrays.channels import from_channels, to_channels
from mrcascade.arrays.intensity import Intensity
from mrcascade.errors import MRCascadeError
from mrcascade.io.document import camel_keys
from mrcascade.measurement.domain import DomainScore
from mrcascade.measurement.exactness import check_exact
from mrcascade.pictures.notebook import notebook_view, restoration_html
from mrcascade.prior.cascade import CascadePrior
from mrcascade.restore.moments import Moments
from mrcascade.restore.plan import Plan, check_slices
from mrcascade.restore.residual import relative_residual
from mrcascade.sampling import NoiseSource, Progress, image_seed, reconstruct

Callback = Callable[[Progress], None]


@dataclass(frozen=True)
class Restoration:
    """A super-resolved stack, in the intensities of the measurement.

    Attributes:
        mean: (S, H, W) mean of the samples; in mode "mean" the estimate of the posterior mean.
        sample: (S, H, W) first sample.
        std: (S, H, W) standard deviation over the samples (divisor K - 1), times the settings'
            ``spread``; None for one sample.
        residual: (S,) ``||y - H mean|| / ||y||`` of values above the zero level; NaN for empty
            slices. With margins (``extended``), H acts on the extended grid.
        evaluations: level -> network evaluations per slice and sample.
        seconds: wall time.
        settings: every value that the result depends on, apart from prior and measurement;
            sampler settings without effect are left out.
        extended: (S, H', W') mean with its margins (`find_margins`); None without margins.
        domain: distance of the measurement from the prior's own images, by `super_resolve`; None
            for a prior that does not know them.

    Images have as many dimensions as the measurement: (H, W) for one slice (h, w).

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
    domain: DomainScore | None = None

    def __repr__(self) -> str:
        what = f"mode {self.settings.get('name')!r}, K = {self.settings.get('samples')}"
        fit = f"residual {np.fmax.reduce(self.residual):.1e}, {self.seconds:.2f} s"
        return f"Restoration({self.mean.dtype} {self.mean.shape}, {what}, {fit})"

    def _repr_html_(self) -> str:
        """Return a table and the middle slice, for notebooks."""
        return restoration_html(self.mean, self.std, self.facts())

    def facts(self) -> dict[str, Any]:
        """Return what is known of the restoration, with the keys of a result's JSON file."""
        domain = self.domain
        known = {} if domain is None else {"domain_score": domain.score}
        facts: dict[str, Any] = camel_keys(
            {
                "settings": self.settings,
                "residual": float(np.fmax.reduce(self.residual)),
                "prior": self.settings.get("prior"),
                "in_plane_matrix": list(self.mean.shape[-2:]),
                "out_of_domain": domain is not None and domain.outside,
                **known,
            }
        )
        return facts

    def view(self, affine: np.ndarray | None = None) -> Any:
        """Return a view of the mean in a notebook, by ipyniivue (extra ``notebook``).

        The standard deviation map lies over it, if there is one. Complex images are shown by
        magnitude.

        Args:
            affine: (4, 4), voxel (column, row, slice) -> RAS position in mm; by default voxels of
                1 mm.

        Returns:
            The widget, an ``ipyniivue.NiiVue``.

        Raises:
            MRCascadeError: ipyniivue is not installed.

        Example:
            >>> import numpy as np, mrcascade
            >>> low, H = mrcascade.simulate(np.random.default_rng(0).random((32, 32)), 2)
            >>> found = mrcascade.super_resolve(low, H, "mr-small", noise=0.0, mode="mean")
            >>> found.view()  # doctest: +SKIP
            NiiVue(...)
        """
        return notebook_view(self.mean, self.std, affine)


class Restorer:
    """Restores slices with a prior, by a plan that `Plan.of` made for that prior.

    One restorer serves any number of measurements of the plan's operator, such as the chunks of
    a volume.

    Example:
        >>> import numpy as np, mrcascade
        >>> from mrcascade.restore import resolve_settings
        >>> low, H = mrcascade.simulate(np.random.default_rng(0).random((32, 32)), 2)
        >>> prior = mrcascade.CascadePrior.from_pretrained("mr-small")
        >>> plan = mrcascade.Plan.of(prior, H, 0.0, resolve_settings(prior, "mean"))
        >>> restorer = mrcascade.Restorer(prior, plan)
        >>> restorer(low, mrcascade.Intensity.of(low)).mean.shape
        (32, 32)
    """

    def __init__(self, prior: CascadePrior, plan: Plan) -> None:
        self.prior, self.plan = prior, plan

    def __call__(
        self,
        measurement: np.ndarray,
        intensity: Intensity,
        *,
        samples: int = 1,
        seed: int = 0,
        numbers: Sequence[int] | None = None,
        batch_size: int = 1,
        callback: Callback | None = None,
    ) -> Restoration:
        """Restore the slices of one measurement.

        Args:
            measurement: (h, w) or (S, h, w), real; complex for a prior with two channels.
                Results have its precision, at least float32.
            intensity: intensity of the volume that the slices belong to.
            samples: K posterior samples per slice.
            seed: seed of the random numbers. Each (slice, sample) has its own generator, so
                results do not depend on the batch size or on other slices, apart from rounding.
            numbers: index of each slice in its volume, from which the seeds derive; by default
                0, 1, ...
            batch_size: number of slices or samples that pass through the networks together.
            callback: called after each network evaluation of each batch.

        Returns:
            The restored slices, in the intensities of the measurement.

        Raises:
            MRCascadeError: the measurement does not fit the plan or is not finite, or the device
                is not precise enough for noise-free data (`check_exact`).
        """
        started = time.perf_counter()
        prior, plan, margins = self.prior, self.plan, self.plan.margins
        given = as_stack(measurement)
        check_slices(given.shape, plan.operator)
        numbers = range(len(given)) if numbers is None else numbers
        if batch_size < 1 or len(numbers) != len(given):
            raise MRCascadeError("the batch size must be 1 or more, with one number for each slice")
        stack, scale = intensity.above_zero(given), intensity.scale
        if not scale > 0:
            raise MRCascadeError("the measurement is zero almost everywhere; nothing to restore")
        y = to_channels(margins.extend(stack / scale), prior.device)
        moments = Moments(len(stack), samples)
        draws = [(s, k) for s in range(len(stack)) for k in range(samples)]
        evaluations: dict[int, int] = {}
        for start in range(0, len(draws), batch_size):
            chunk = draws[start : start + batch_size]
            batch = y[[s for s, _ in chunk]]
            seeds = NoiseSource([image_seed(seed, int(numbers[s]), k) for s, k in chunk])
            result = reconstruct(prior, plan.cascade, batch, seeds, callback=callback)
            evaluations = result.evaluations
            for (s, _), image in zip(chunk, from_channels(result.image), strict=True):
                moments.add(s, image)
        mean = moments.mean.astype(stack.dtype)
        flat = measurement.ndim == 2
        own = (slice(None), *margins.inside(plan.operator))
        whole = plan.cascade.operator
        residual = relative_residual(mean, stack / scale, whole, margins)
        if plan.exact:
            check_exact(residual, stack / scale, mean, whole, prior.device)
        spread = scale * plan.settings.spread
        return Restoration(
            mean=_like(intensity.restored(mean[own]), flat),
            sample=_like(intensity.restored(moments.first[own]), flat),
            std=None if samples == 1 else _like(moments.std()[own] * spread, flat),
            residual=residual,
            evaluations=evaluations,
            seconds=time.perf_counter() - started,
            settings=self._record(intensity, samples, seed),
            extended=_like(intensity.restored(mean), flat) if margins else None,
        )

    def _record(self, intensity: Intensity, samples: int, seed: int) -> dict[str, Any]:
        plan = self.plan
        return {
            **plan.settings.record(samples),
            "steps_nominal": plan.cascade.steps_nominal,
            "noise": plan.noise,
            "samples": samples,
            "seed": seed,
            "scale": intensity.scale,
            **({"zero": intensity.zero} if intensity.zero else {}),
            "prior": self.prior.name,
            "operator": plan.operator.name,
            **({"margins": (plan.margins.rows, plan.margins.columns)} if plan.margins else {}),
        }


def as_stack(measurement: np.ndarray) -> np.ndarray:
    """Return a measurement (h, w) or (S, h, w) as slices (S, h, w), float32 or more precise.

    Raises MRCascadeError for other shapes, and for values that are not finite numbers.
    """
    if not isinstance(measurement, np.ndarray):
        kind = type(measurement).__name__
        raise MRCascadeError(f"measurement: expected a NumPy array, got {kind}; convert it first")
    if measurement.ndim not in (2, 3) or not measurement.size:
        raise MRCascadeError(
            f"measurement: expected (h, w) or (slices, h, w), got {measurement.shape}"
        )
    if measurement.dtype.kind not in "biufc":
        raise MRCascadeError(f"measurement: expected numbers, got values of {measurement.dtype}")
    bad = int(np.count_nonzero(~np.isfinite(measurement)))
    if bad:
        raise MRCascadeError(
            f"the measurement holds {bad} NaN or infinite pixel{'s' * (bad > 1)}; replace them (for"
            " instance by 0)"
        )
    stack = measurement[None] if measurement.ndim == 2 else measurement
    return stack.astype(np.result_type(stack, np.float32), copy=False)


def _like(stack: np.ndarray, flat: bool) -> np.ndarray:
    return stack[0] if flat else stack
