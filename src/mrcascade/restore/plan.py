"""The plan of a restoration: all decisions that precede the first slice."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.measurement.border import NO_MARGINS, Margins
from mrcascade.operators import (
    LinearOperator,
    SeparableOperator,
    expected_error,
    sampled_error,
)
from mrcascade.operators.kernels import forget_matrices
from mrcascade.prior.cascade import CascadePrior
from mrcascade.prior.format import check_sizes
from mrcascade.sampling import CascadePlan, Recipe, plan_cascade

# Number of plans in the cache. Each holds a few MiB of matrices.
_KEPT = 16
_plans: OrderedDict[Hashable, CascadePlan] = OrderedDict()
# Channels of the measurement -> why a prior with the other number does not fit, and the remedy.
_OTHER_KIND = {
    1: "models complex images and the measurement has no phase: use a magnitude prior, such as"
    " 'mr-small', or give the complex image (a file, or _part-mag and _part-phase side by side)",
    2: "models magnitude images and the measurement is complex, so its phase would be lost: use a"
    " complex prior, such as 'mr-small-complex', or take the image's magnitude first",
}


@dataclass(frozen=True)
class Plan:
    """Plan by which slices that one operator measured are restored.

    Attributes:
        operator: H; its input is the grid of the result.
        margins: samples added to a measurement where the field of view cuts the anatomy.
        cascade: levels, grids and comparisons for the operator with margins.

    Example:
        >>> import mrcascade
        >>> from mrcascade.restore import resolve_settings
        >>> H = mrcascade.SeparableOperator.from_kernel("fourier", 2, (32, 32))
        >>> prior = mrcascade.CascadePrior.from_pretrained("mr-small")
        >>> plan = mrcascade.Plan.of(prior, H, 0.0, resolve_settings(prior, "mean"))
        >>> plan.noise, plan.exact
        (0.0, True)
    """

    operator: LinearOperator
    margins: Margins
    cascade: CascadePlan

    @classmethod
    def of(
        cls,
        prior: CascadePrior,
        operator: LinearOperator,
        noise: float,
        settings: Recipe,
        margins: Margins = NO_MARGINS,
    ) -> Plan:
        """Make the plan of an operator and a prior.

        Args:
            prior: prior that will restore the slices.
            operator: H on the field of view.
            noise: sigma_y as a fraction of the measurement's robust maximum, >= 0.
            settings: sampler settings, as `resolve_settings` returns them.
            margins: margins of the measurement, as `find_margins` returns them.

        Raises:
            MRCascadeError: the settings do not fit, or a grid is too small for the prior.
        """
        return cls(operator, margins, make_plan(prior, margins.operator(operator), noise, settings))

    @property
    def noise(self) -> float:
        """Standard deviation of the noise as a fraction of the robust maximum."""
        return self.cascade.sigma_y

    @property
    def settings(self) -> Recipe:
        """The sampler's settings."""
        return self.cascade.settings

    def __repr__(self) -> str:
        margins = f", {self.margins}" if self.margins else ""
        return f"Plan({self.operator}{margins}, {self.cascade})"

    @property
    def exact(self) -> bool:
        """Whether results meet their measurement up to rounding."""
        return self.noise == 0 and self.settings.project


def make_plan(
    prior: CascadePrior, operator: LinearOperator, noise: float, settings: Recipe
) -> CascadePlan:
    """Plan the levels of a cascade, or the grids of a multi-grid sampler.

    Coarser levels lack the finer frequency bands. If H is not the prior's own kernel, the missing
    bands add to the noise of the comparison, by an amount that the power spectrum of the training
    images gives. Random images with that spectrum estimate it for operators that are not
    separable. Plans of separable operators are cached with their matrix decompositions.

    Raises:
        MRCascadeError: the settings do not fit, or a grid is too small for the prior.
    """
    key = _key(prior, operator, noise, settings)
    if key is not None and key in _plans:
        _plans.move_to_end(key)
        return _plans[key]
    plan = _new_plan(prior, operator, noise, settings)
    if key is not None:
        _plans[key] = plan
        if len(_plans) > _KEPT:
            _plans.popitem(last=False)
    return plan


def forget_plans() -> None:
    """Empty the caches of plans and kernel matrices, so that the next plan starts from nothing.

    A benchmark calls it to see what the first slice of a job costs.
    """
    _plans.clear()
    forget_matrices()


def _key(
    prior: CascadePrior, operator: LinearOperator, noise: float, settings: Recipe
) -> Hashable | None:
    """Return the cache key of a plan; None for operators without a reliable identity.

    Matrices are compared by identity. Kernels share their matrices, and a cached plan keeps its
    matrices alive, so an id is never reused.
    """
    if type(operator) is not SeparableOperator:
        return None
    matrices = id(operator.rows), id(operator.cols), operator.name
    structure = prior.kernel, prior.step, len(prior.levels), prior.minimum_size, prior.name
    return matrices, noise, settings, structure, tuple(prior.spectrum)


def _new_plan(
    prior: CascadePrior, operator: LinearOperator, noise: float, settings: Recipe
) -> CascadePlan:
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


def check_measurement(
    shape: tuple[int, ...], dtype: np.dtype, operator: LinearOperator, prior: CascadePrior
) -> None:
    """Check that slices fit an operator and a prior.

    Args:
        shape: (S, h, w).
        dtype: type of the pixels, real or complex.
        operator: H; (h, w) is the shape of its output.
        prior: prior for the grid of the operator's input.

    Raises:
        MRCascadeError: shape, channels or sizes do not fit.
    """
    check_slices(shape, operator)
    channels = 2 if np.issubdtype(dtype, np.complexfloating) else 1
    if channels != prior.channels:
        raise MRCascadeError(f"prior {prior.name!r} {_OTHER_KIND[channels]}")
    check_sizes(operator.in_shape, operator.out_shape, prior.limits)


def check_slices(shape: tuple[int, ...], operator: LinearOperator) -> None:
    """Raise MRCascadeError unless (h, w) of ``shape`` (S, h, w) is the operator's output shape."""
    rows, columns = operator.out_shape
    if len(shape) != 3 or shape[1:] != (rows, columns):
        raise MRCascadeError(
            f"measurement of {operator.name}: expected (slices, {rows}, {columns}), got {shape}"
        )
