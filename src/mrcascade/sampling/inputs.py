"""Checks of the samplers' inputs; each raises MRCascadeError."""

from typing import TypeVar

from torch import Tensor

from mrcascade.errors import MRCascadeError
from mrcascade.recipes.options import OptionSet
from mrcascade.sampling.level import BandPrior, Prior
from mrcascade.sampling.noise import NoiseSource
from mrcascade.sampling.plan import CascadePlan

Run = TypeVar("Run", bound=OptionSet)


def check_levels(prior: Prior, plan: CascadePlan) -> None:
    """Check that the prior has the plan's number of levels."""
    if len(prior.levels) != len(plan.tasks):
        raise MRCascadeError(
            f"the plan is for {len(plan.tasks)} levels and the prior has {len(prior.levels)}"
        )


def single_scale(prior: Prior) -> BandPrior:
    """Return the only level of a single-scale prior, which the multi-grid samplers need."""
    if len(prior.levels) != 1:
        raise MRCascadeError(
            f"multi-grid sampling needs a prior of one level, the whole image; this one has "
            f"{len(prior.levels)} (see the bundled mr-small-baselines/single-scale)"
        )
    return prior.levels[0]


def check_shape(plan: CascadePlan, y: Tensor) -> None:
    """Check that the measurement has the shape of the plan's operator's output."""
    rows, columns = plan.operator.out_shape
    if y.ndim != 4 or y.shape[-2:] != (rows, columns):
        raise MRCascadeError(
            f"measurement of {plan.operator.name}: expected (images, channels, {rows}, {columns}),"
            f" got {tuple(y.shape)}"
        )


def check_seeds(noise: NoiseSource, y: Tensor) -> None:
    """Check that there is one generator per image."""
    if len(noise) != y.shape[0]:
        raise MRCascadeError(f"{y.shape[0]} images need one seed each; got {len(noise)}")


def traversal(plan: CascadePlan, kind: type[Run]) -> Run:
    """Return the traversal of the plan's recipe, after checking that it has the given kind."""
    run = plan.settings.run
    if not isinstance(run, kind):
        raise MRCascadeError(
            f"settings '{plan.settings.name}' ask for {run.kind}, which this function does not run"
            " (``reconstruct`` runs any)"
        )
    return run
