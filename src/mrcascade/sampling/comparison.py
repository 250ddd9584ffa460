"""Data that each level of a cascade compares its image with, and their noise.

There are two cases (Thaker et al., section 3.3, eq. 6):

* *Same kernel*: the measurement is down^k of the prior's own kernel. Then y lies on the grid of
  level k + 1, and "H is a sequence of H_2" holds exactly. Finer levels use the remaining 2x steps;
  coarser levels compare with down(...down(y)) directly. k may exceed the number of levels (4x with
  a 2-level prior); then every level is finer than y.
* *Any other operator*: H is composed with ``up`` to the full grid. A coarse level lacks the finer
  bands. The resulting error counts as noise.

The matrices decide whether the kernels agree, not their names.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from torch import Tensor

from mrcascade.errors import MRCascadeError
from mrcascade.operators import (
    CallableOperator,
    IdentityOperator,
    LinearOperator,
    SeparableOperator,
    downsampler,
    upsampler,
)
from mrcascade.operators.pyramid import LaplacianPyramid
from mrcascade.recipes.options import Consistency

#: Rms error per sample of y (image units) that each level makes by ignoring finer bands: either
#: numbers, finest level first (0 for level 1), or a function of (H, H up...up down...down) such
#: as ``lambda a, b: operators.expected_error(a, b, prior.power_density)``.
MissingError = Sequence[float] | Callable[[LinearOperator, LinearOperator], float]

SAME_MATRIX = 1e-9  # tolerance for entries of order one after a few products in float64


@dataclass(frozen=True)
class Comparison:
    """Comparison of a level's rebuilt image u = x_(i) + up(coarser image) with its data.

    Attributes:
        operator: acts on u.
        sigma: noise standard deviation of the data that ``operator(u)`` is compared with, in
            image units; data with 0 are met exactly.
        reduce: maps the measurement to these data; None leaves it unchanged.
        against: whether the data are the measurement or the image rebuilt at the next coarser
            level.
    """

    operator: LinearOperator
    sigma: float
    reduce: SeparableOperator | None = None
    against: Literal["measurement", "coarser"] = "measurement"

    def target(self, y: Tensor, coarser: Tensor | None) -> Tensor:
        """Return the data that ``operator(u)`` is compared with, (N, C, *operator.out_shape)."""
        if self.against == "coarser" and coarser is not None:
            return coarser
        return y if self.reduce is None else self.reduce(y)


def measurement_level(operator: LinearOperator, kernel: str, step: int = 2) -> int | None:
    """Return k + 1 if the operator is down^k, k >= 0, of the kernel's ``step``-fold down.

    Returns None for other operators.
    """
    if not isinstance(operator, SeparableOperator):
        return None
    ratios = {divmod(n, m) for n, m in zip(operator.in_shape, operator.out_shape, strict=True)}
    factor, remainder = ratios.pop()
    if ratios or remainder:
        return None
    steps = round(math.log(factor, step)) if factor > 0 else 0
    if factor != step**steps:
        return None
    own = downsampler(kernel, operator.in_shape, operator.out_shape)
    same = all(
        np.allclose(a, b, rtol=0, atol=SAME_MATRIX)
        for a, b in ((operator.rows, own.rows), (operator.cols, own.cols))
    )
    return steps + 1 if same else None


def noise_gain(operator: SeparableOperator) -> float:
    """Return the standard deviation of H n per sample, for white noise n with unit variance.

    It is the rms of the row norms, sqrt(trace(H H^T) / samples). If H H^T is a multiple of the
    identity, as for ``fourier`` and ``area``, H n is white and the value is exact for each sample
    (1/2 per 2x step in both directions). For other operators it is the rms over samples.
    """
    rows, cols = (float(np.mean(np.sum(m**2, axis=1))) for m in (operator.rows, operator.cols))
    return math.sqrt(rows * cols)


def same_kernel(
    pyramid: LaplacianPyramid,
    operator: LinearOperator,
    sigma_y: float,
    grid: int,
    consistency: Consistency,
) -> list[Comparison]:
    """Return the comparisons for y on the grid of level ``grid`` of the prior's kernel.

    The finest level comes first. ``sigma_y`` is in image units.
    """
    finer = [
        _finer_than_measurement(pyramid, operator, sigma_y, level, consistency)
        for level in range(1, min(grid - 1, pyramid.levels) + 1)
    ]
    return finer + _on_grid_and_coarser(pyramid, sigma_y, grid)


def _finer_than_measurement(
    pyramid: LaplacianPyramid,
    operator: LinearOperator,
    sigma_y: float,
    level: int,
    consistency: Consistency,
) -> Comparison:
    shape = pyramid.shapes[level - 1]
    if consistency == "cascade" and level < pyramid.levels:
        step = downsampler(pyramid.kernel, shape, pyramid.shapes[level])
        return Comparison(step, 0.0, against="coarser")
    if level == 1:
        return Comparison(operator, sigma_y)
    return Comparison(downsampler(pyramid.kernel, shape, operator.out_shape), sigma_y)


def _on_grid_and_coarser(pyramid: LaplacianPyramid, sigma_y: float, grid: int) -> list[Comparison]:
    comparisons = []
    reduce: SeparableOperator | None = None
    for level in range(grid, pyramid.levels + 1):
        shape = pyramid.shapes[level - 1]
        if level > grid:
            step = downsampler(pyramid.kernel, pyramid.shapes[level - 2], shape)
            reduce = step if reduce is None else step.compose(reduce)
        sigma = sigma_y if reduce is None else sigma_y * noise_gain(reduce)
        comparisons.append(Comparison(IdentityOperator(shape), sigma, reduce))
    return comparisons


def composed(
    pyramid: LaplacianPyramid,
    operator: LinearOperator,
    sigma_y: float,
    missing: MissingError | None,
) -> list[Comparison]:
    """Return the comparisons of y with H up...up u for any other operator, finest level first.

    Raises MRCascadeError if ``missing`` is needed but absent or invalid.
    """
    lifts = _lifts(pyramid)
    errors = _missing_errors(operator, pyramid, lifts, missing)
    coarser = [
        Comparison(_after(operator, lift), math.hypot(sigma_y, error))
        for lift, error in zip(lifts, errors, strict=True)
    ]
    return [Comparison(operator, sigma_y), *coarser]


def _lifts(pyramid: LaplacianPyramid) -> list[SeparableOperator]:
    """Return up...up from the grids of levels 2, ..., L to the full grid."""
    lifts: list[SeparableOperator] = []
    for fine, coarse in pairwise(pyramid.shapes):
        up = upsampler(pyramid.kernel, fine, coarse)
        lifts.append(lifts[-1].compose(up) if lifts else up)
    return lifts


def _reductions(pyramid: LaplacianPyramid) -> list[SeparableOperator]:
    """Return down...down from the full grid to the grids of levels 2, ..., L."""
    reductions: list[SeparableOperator] = []
    for fine, coarse in pairwise(pyramid.shapes):
        down = downsampler(pyramid.kernel, fine, coarse)
        reductions.append(down.compose(reductions[-1]) if reductions else down)
    return reductions


def _after(operator: LinearOperator, lift: SeparableOperator) -> LinearOperator:
    """Return the composition ``operator(lift(x))``."""
    if isinstance(operator, SeparableOperator):
        return operator.compose(lift)
    if not isinstance(operator, CallableOperator):
        raise MRCascadeError(
            f"operator '{operator.name}' is neither separable nor a CallableOperator; wrap its "
            f"forward and adjoint in a CallableOperator"
        )
    return CallableOperator(
        lambda u: operator(lift(u)),
        lambda y: lift.adjoint(operator.adjoint(y)),
        lift.in_shape,
        operator.out_shape,
        f"{operator.name} of {lift.name}",
        tolerance=operator.tolerance,
        max_iterations=operator.max_iterations,
        mixed_dims=operator.mixed_dims,
    )


def _missing_errors(
    operator: LinearOperator,
    pyramid: LaplacianPyramid,
    lifts: list[SeparableOperator],
    missing: MissingError | None,
) -> list[float]:
    """Return the errors of the levels 2, ..., L."""
    if not lifts:
        return []
    if missing is None:
        raise MRCascadeError(
            f"operator '{operator.name}' is not made of 2x steps of the prior's kernel "
            f"'{pyramid.kernel}': give the error that each level makes by ignoring finer bands"
        )
    if not callable(missing):
        return _checked_errors(missing, pyramid.levels)
    return [
        float(missing(operator, _after(operator, lift.compose(reduction))))
        for lift, reduction in zip(lifts, _reductions(pyramid), strict=True)
    ]


def _checked_errors(missing: Sequence[float], levels: int) -> list[float]:
    errors = [float(value) for value in missing]
    in_range = all(0 <= value < math.inf for value in errors)
    if len(errors) != levels or errors[0] != 0 or not in_range:
        raise MRCascadeError(
            f"the errors of ignored bands must be {levels} numbers >= 0, the first of them 0; "
            f"got {errors}"
        )
    return errors[1:]
