"""The methods that an evaluation compares: one explicit table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from mrcascade.arrays.intensity import Intensity
from mrcascade.errors import MRCascadeError
from mrcascade.measurement.border import NO_MARGINS, Margins
from mrcascade.operators import LinearOperator
from mrcascade.operators.baselines import bicubic, zero_filled
from mrcascade.prior.cascade import CascadePrior
from mrcascade.recipes.modes import COMPARED
from mrcascade.restore import Plan, Restorer, check_samples, resolve_settings
from mrcascade.sampling import RECIPES, Progress, SamplerSettings, parse_changes

CASCADE = "cascade"


@dataclass(frozen=True)
class Context:
    """All that a method may know; nothing here comes from the ground truth.

    Attributes:
        measurement: (S, h, w), slices of one file.
        numbers: of these slices in the file, for the seeds.
        operator: H.
        kernel: its name, which says where the samples lie.
        scale: robust maximum of the file's whole measurement.
        noise: sigma_y as a fraction of ``scale``.
        margins: that the file's field of view needs.
        seed: of this file.
        prior: what the method has learned, or None.
        steps: T instead of the recipe's, for methods that sample.
        samples: K, for methods that average samples.
        batch_size: slices or samples that pass through the networks together.
        callback: called after each network evaluation.
    """

    measurement: np.ndarray
    numbers: Sequence[int]
    operator: LinearOperator
    kernel: str
    scale: float
    noise: float = 0.0
    margins: Margins = NO_MARGINS
    seed: int = 0
    prior: CascadePrior | None = None
    steps: int | None = None
    samples: int = 1
    batch_size: int = 1
    callback: Callable[[Progress], None] | None = None


@dataclass(frozen=True)
class Reconstruction:
    """``images`` (S, H, W) in the measurement's intensities; ``evaluations`` of networks per
    slice, over all levels and samples; ``std``, the standard deviation map of a mean of samples;
    ``residual`` (S,) of images that were restored with margins, which only the method has."""

    images: np.ndarray
    evaluations: int = 0
    std: np.ndarray | None = None
    residual: np.ndarray | None = None


# Restores the slices of a context.
Run: TypeAlias = Callable[[Context], Reconstruction]


@dataclass(frozen=True)
class Method:
    """A way to restore slices: a recipe of ``super_resolve`` with a prior, or ``plain``.

    Attributes:
        about: its line in the report.
        recipe: one of ``RECIPES``; None for a method that learns nothing.
        prior: what it has learned from: the evaluation's prior (``CASCADE``), or one of the
            baselines' folder, in whose name ``{factor}`` stands for the factor.
        coarsest: one of the baselines' folder, which takes the place of all levels of ``prior``
            but the finest.
        averaged: scored is the mean of K samples instead of one.
        plain: the method itself, where there is no recipe.
        overrides: settings of the sampler instead of the recipe's and the prior's.
    """

    about: str
    recipe: str | None = None
    prior: str | None = None
    coarsest: str | None = None
    averaged: bool = False
    plain: Callable[[Context], np.ndarray] | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sampled(self) -> bool:
        """Whether it takes T steps."""
        return self.recipe is not None and RECIPES[self.recipe].steps is not None

    @property
    def draws(self) -> bool:
        """Whether its results differ from seed to seed."""
        return self.recipe is not None and RECIPES[self.recipe].draws

    def settings(
        self, prior: CascadePrior, steps: int | None = None, samples: int = 1
    ) -> SamplerSettings:
        """The sampler's, with T = ``steps`` if given, for ``samples`` where they are averaged.

        Raises MRCascadeError where the prior or an override does not fit.
        """
        assert self.recipe is not None  # asked for methods with a prior only
        steps, samples = steps if self.sampled else None, samples if self.averaged else 1
        settings = resolve_settings(prior, self.recipe, steps, samples).changed(**self.overrides)
        check_samples(samples, settings)
        return settings

    def prepare(self, context: Context) -> Run:
        """What restores slices of the context's file: all that takes place once is done now, so
        that no slice's time holds it."""
        if (plain := self.plain) is not None:
            return lambda given: Reconstruction(plain(given))
        assert context.prior is not None  # a recipe has a prior
        settings = self.settings(context.prior, context.steps, context.samples)
        plan = Plan.of(context.prior, context.operator, context.noise, settings, context.margins)
        return partial(self._restored, Restorer(context.prior, plan))

    def run(self, context: Context) -> Reconstruction:
        """Restore the context's slices."""
        return self.prepare(context)(context)

    def _restored(self, restorer: Restorer, context: Context) -> Reconstruction:
        samples = context.samples if self.averaged else 1
        result = restorer(
            context.measurement,
            Intensity(context.scale),
            samples=samples,
            seed=context.seed,
            numbers=context.numbers,
            batch_size=context.batch_size,
            callback=context.callback,
        )
        residual = result.residual if restorer.plan.margins else None
        evaluations = samples * sum(result.evaluations.values())
        return Reconstruction(result.mean, evaluations, result.std, residual)


def _zero_fill(context: Context) -> np.ndarray:
    return zero_filled(context.measurement, context.operator)


def _bicubic(context: Context) -> np.ndarray:
    return bicubic(context.measurement, context.kernel, context.operator.in_shape)


_COARSE = "its prior was not trained on the images of the coarser grids"

METHODS: dict[str, Method] = {
    "zero-fill": Method(
        "pseudo-inverse of the measurement (k-space zero filling)", plain=_zero_fill
    ),
    "bicubic": Method(
        "cubic interpolation on the grid of the measurement's kernel", plain=_bicubic
    ),
    "regression": Method(
        "supervised network, projected onto the data", "mean", "regression-{factor}x"
    ),
    "diffpir": Method("single-scale DiffPIR", "paper", "single-scale"),
    "dps": Method("single-scale DPS", "dps", "single-scale"),
    "multigrid": Method(
        f"Multi-Grid PnP, diffusion form: single-scale DiffPIR from grid to grid; {_COARSE}",
        "multigrid",
        "single-scale",
    ),
    "multigrid-pnp": Method(
        f"Multi-Grid PnP, deterministic: plug-and-play steps from grid to grid; {_COARSE}",
        "multigrid-pnp",
        "single-scale",
    ),
    "cascade-2level": Method(
        "DiffPIR on two levels, the coarser the half-resolution image",
        "paper",
        CASCADE,
        coarsest="half-resolution",
    ),
    "paper": Method("scale-cascaded DiffPIR", "paper", CASCADE),
    "sample": Method("scale-cascaded DiffPIR with the settings of mode sample", "sample", CASCADE),
    "balanced": Method(
        "scale-cascaded DiffPIR, coarse bands moved towards the conditional mean",
        "balanced",
        CASCADE,
    ),
    "mean": Method("conditional mean of each level", "mean", CASCADE),
    "posterior-mean": Method(
        "scale-cascaded DiffPIR with the settings of mode sample",
        "sample",
        CASCADE,
        averaged=True,
    ),
}
# Modes for comparison that no line above names run the evaluation's own cascade.
METHODS |= {
    name: Method(about.partition(";")[0], name, CASCADE)
    for name, about in COMPARED.items()
    if name not in METHODS
}


def find_method(name: str) -> Method:
    """The method called ``name``: one of ``METHODS``, with settings of its sampler changed by
    ``:KEY=VALUE`` after it, as often as wanted, such as ``paper:zeta=0.5:skip_determined=false``.

    Values as `parse_changes` has them. Raises MRCascadeError for what is not there.
    """
    base, *changes = name.split(":")
    if base not in METHODS:
        raise MRCascadeError(f"unknown method {base!r}: choose from {', '.join(METHODS)}")
    method = METHODS[base]
    if not changes:
        return method
    if method.recipe is None:
        raise MRCascadeError(f"method {name!r}: {base} has no settings")
    overrides = parse_changes(f"method {name!r}", RECIPES[method.recipe], changes)
    return replace(method, about=f"{method.about} with {', '.join(changes)}", overrides=overrides)


def choose_methods(names: Sequence[str]) -> dict[str, Method]:
    """The methods by name, each once; MRCascadeError for one that is not there."""
    return {name: find_method(name) for name in names}
