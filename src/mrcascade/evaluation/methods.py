"""Table of the methods that an evaluation compares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol, TypeAlias

import numpy as np

from mrcascade.arrays.intensity import Intensity
from mrcascade.errors import MRCascadeError
from mrcascade.measurement.border import NO_MARGINS, Margins
from mrcascade.operators import LinearOperator
from mrcascade.operators.baselines import bicubic, zero_filled
from mrcascade.prior.cascade import CascadePrior
from mrcascade.recipes.modes import COMPARED, MODES
from mrcascade.restore import Plan, Restorer, check_samples, resolve_settings
from mrcascade.sampling import RECIPES, Progress, Recipe, parse_changes

CASCADE = "cascade"


@dataclass(frozen=True)
class Context:
    """Everything that a method knows; nothing here comes from the ground truth.

    Attributes:
        measurement: (S, h, w), slices of one file.
        numbers: indices of these slices in the file; seeds derive from them.
        operator: H.
        kernel: name of the kernel, which defines the positions of the samples.
        scale: robust maximum of the file's whole measurement.
        noise: sigma_y as a fraction of ``scale``.
        margins: margins that the file needs.
        seed: seed of this file.
        prior: prior of the method, if any.
        steps: number of steps T instead of the recipe's, for methods that sample.
        samples: K, for methods that average samples.
        batch_size: number of slices or samples that pass through the networks together.
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
    """Images that a method restored.

    Attributes:
        images: (S, H, W), in the measurement's intensities.
        evaluations: network evaluations per slice, over all levels and samples.
        std: (S, H, W), standard deviation over the samples, for a mean of samples.
        residual: (S,), relative residual of images restored with margins, which are cropped later.
    """

    images: np.ndarray
    evaluations: int = 0
    std: np.ndarray | None = None
    residual: np.ndarray | None = None


# Restores the slices of a context.
Run: TypeAlias = Callable[[Context], Reconstruction]


class Described(Protocol):
    """What a method says of itself, for reports and checks."""

    @property
    def about(self) -> str:
        """Description."""

    @property
    def sampled(self) -> bool:
        """Whether the method takes T steps."""

    @property
    def averaged(self) -> bool:
        """Whether the mean of K samples is scored instead of one sample."""

    @property
    def draws(self) -> bool:
        """Whether results depend on the seed."""


@dataclass(frozen=True)
class Method:
    """A method: a recipe of ``super_resolve`` with a prior, or a plain function.

    Attributes:
        about: description in the report.
        recipe: one of ``RECIPES``; None for a plain function.
        prior: the evaluation's prior (``CASCADE``), or a prior in the baselines' folder;
            ``{factor}`` in its name stands for the factor.
        coarsest: prior in the baselines' folder that replaces all levels of ``prior`` except the
            finest.
        averaged: whether the mean of K samples is scored instead of one sample.
        plain: the function, for methods without a recipe.
        overrides: sampler settings that replace those of recipe and prior.
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
        """Whether the method takes T steps."""
        return self.recipe is not None and RECIPES[self.recipe].steps is not None

    @property
    def draws(self) -> bool:
        """Whether results depend on the seed."""
        return self.recipe is not None and RECIPES[self.recipe].draws

    def settings(self, prior: CascadePrior, steps: int | None = None, samples: int = 1) -> Recipe:
        """Return the sampler settings.

        Args:
            prior: prior of the method.
            steps: number of steps T; None keeps the recipe's.
            samples: number of samples, if they are averaged.

        Raises:
            MRCascadeError: the prior or an override does not fit.
        """
        assert self.recipe is not None  # called for methods with a prior only
        steps, samples = steps if self.sampled else None, samples if self.averaged else 1
        settings = resolve_settings(prior, self.recipe, steps, samples).changed(**self.overrides)
        check_samples(samples, settings)
        return settings

    def prepare(self, context: Context) -> Run:
        """Return the function that restores slices of the context's file.

        Work that is done once per file happens here, so that it does not count in a slice's time.
        """
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
    "sample": Method("scale-cascaded DPM-Solver++ 2M", "sample", CASCADE),
    "balanced": Method(
        "scale-cascaded DPM-Solver++ 2M, coarse bands moved towards the conditional mean",
        "balanced",
        CASCADE,
    ),
    "mean": Method("conditional mean of each level", "mean", CASCADE),
    "posterior-mean": Method(
        "scale-cascaded DPM-Solver++ 2M",
        "sample",
        CASCADE,
        averaged=True,
    ),
}
# Modes that are not listed above run the evaluation's own cascade.
METHODS |= {
    name: Method(about.partition(";")[0], name, CASCADE)
    for name, about in (MODES | COMPARED).items()
    if name not in METHODS
}


def find_method(name: str) -> Method:
    """Return the method called ``name``, one of ``METHODS``.

    Any number of ``:KEY=VALUE`` may follow the name and change settings of its sampler, as in
    ``paper:zeta=0.5:skip_determined=false`` (`parse_changes`). Raises MRCascadeError for unknown
    methods, settings and values.
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
    """Return the methods by name, each once. Raises MRCascadeError for unknown ones."""
    return {name: find_method(name) for name in names}


def check_counts(methods: Mapping[str, Described], steps: int | None, samples: int | None) -> None:
    """Raise MRCascadeError where steps or samples were given that no method takes."""
    names = ", ".join(methods)
    if steps is not None and not any(m.sampled for m in methods.values()):
        raise MRCascadeError(f"none of {names} samples; drop --steps")
    if samples is not None and not any(m.averaged for m in methods.values()):
        raise MRCascadeError(f"none of {names} averages samples; drop --samples")
