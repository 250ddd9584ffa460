"""Plan of a cascade: levels that take part, their comparisons and numbers of steps."""

import math
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.operators import LinearOperator, SeparableOperator, downsampler, upsampler
from mrcascade.operators.pyramid import LaplacianPyramid
from mrcascade.recipes.options import flat
from mrcascade.recipes.recipe import Recipe
from mrcascade.sampling.comparison import (
    SAME_MATRIX,
    Comparison,
    MissingError,
    composed,
    measurement_level,
    same_kernel,
)
from mrcascade.sampling.known import BandView
from mrcascade.sampling.schedule import split_steps


@dataclass(frozen=True)
class LevelTask:
    """Task of one level.

    Attributes:
        level: i; 1 is the finest.
        data: comparison of the level's image with its data.
        view: knowledge of the data about the level's band.
        steps: nominal number of steps; 0 for a level that takes no part.
        sampled: whether a chain runs. Otherwise ``data`` determine the image exactly.
    """

    level: int
    data: Comparison
    view: BandView = field(compare=False)
    steps: int
    sampled: bool


@dataclass(frozen=True)
class CascadePlan:
    """Tasks of a cascade's levels for one operator, noise level and recipe.

    Attributes:
        tasks: tasks of the levels, finest first.
        pyramid: grids, down and up of the prior's kernel.
        operator: H, which measures the full-resolution image.
        sigma_y: standard deviation of the noise of y, in image units.
        grid: level with the grid of y, for an operator of the prior's kernel; else None. It
            exceeds the number of levels if y is coarser than all of them.
        band_constraint: whether down(x_(i)) = 0 is imposed on the bands.
        steps_nominal: T.
        settings: the recipe.
    """

    tasks: tuple[LevelTask, ...]
    pyramid: LaplacianPyramid
    operator: LinearOperator
    sigma_y: float
    grid: int | None
    band_constraint: bool
    steps_nominal: int
    settings: Recipe

    def __repr__(self) -> str:
        levels = " > ".join(f"{rows}x{columns}" for rows, columns in self.pyramid.shapes)
        return (
            f"CascadePlan({self.operator.name!r}, levels {levels}, noise {self.sigma_y:.3g},"
            f" {self.settings.name!r}, {self.steps_nominal} steps)"
        )

    def determined(self, level: int) -> bool:
        """Return whether noise-free data determine the image at this level completely."""
        return _determined(self.grid, self.sigma_y, level)

    def condition_error(self, level: int) -> float:
        """Return the error level of a level's condition.

        It is the settings' ``condition_error`` if the next coarser grid has more samples than y,
        so that its band had to be estimated; else 0.
        """
        if level == self.pyramid.levels:
            return 0.0
        guessed = math.prod(self.pyramid.shapes[level]) > math.prod(self.operator.out_shape)
        return self.settings.levels.condition_error if guessed else 0.0


def plan_cascade(
    kernel: str,
    levels: int,
    operator: LinearOperator,
    sigma_y: float,
    settings: Recipe,
    *,
    step: int = 2,
    missing: MissingError | None = None,
) -> CascadePlan:
    """Plan a cascade of ``levels`` bands of ``kernel`` for y = H x + noise.

    All levels share T by ``step_shares``, with one exception. If noise-free data of the prior's
    kernel determine a level finer than L, only finer levels take part (table 1 of the paper: 2x
    with the level-1 model alone). A level that takes part but is determined runs no chain, unless
    the settings ask for one; its steps are not given to other levels.

    The band constraint is imposed by default if ``down(up(z)) = z`` and y is of the prior's
    kernel. Such data contain nothing of the bands finer than their grid, yet noise would move
    them; the constraint keeps the result of the coarser levels. Other operators see all bands at
    once. Their coarser levels used an approximate H, so finer levels must be free to correct them.

    Args:
        kernel: kernel of the prior's pyramid.
        levels: number of levels L of the prior.
        operator: H; its input is the full-resolution grid.
        sigma_y: standard deviation of the noise in y, in image units, >= 0.
        settings: the recipe.
        step: factor between the grids of the prior's pyramid.
        missing: see ``MissingError``; needed if L > 1 and the operator is not the prior's kernel.

    Raises:
        MRCascadeError: the settings do not fit the operator or the prior.
    """
    _check(levels, sigma_y, settings)
    pyramid = LaplacianPyramid(kernel, operator.in_shape, levels, step)
    grid = measurement_level(operator, kernel, step)
    last = _coarsest(levels, grid, sigma_y)
    taking_part = list(range(1, last + 1))
    schedule = settings.schedule
    skipped = schedule is None or schedule.skip_determined
    sampled = [i for i in taking_part if not (skipped and _determined(grid, sigma_y, i))]
    # A mean has one evaluation per level.
    total = len(taking_part) if schedule is None else schedule.steps
    shares = None if schedule is None else {i: schedule.share_at(i) for i in taking_part}
    steps = split_steps(total, taking_part, sampled, shares)
    foreign = None
    if grid is None and isinstance(operator, SeparableOperator):
        foreign = operator, sigma_y, missing
    return CascadePlan(
        tasks=tuple(
            LevelTask(
                level,
                data,
                BandView(pyramid, level, data, foreign),
                steps.get(level, 0),
                level in sampled,
            )
            for level, data in enumerate(
                _comparisons(pyramid, operator, sigma_y, grid, settings, missing), start=1
            )
        ),
        pyramid=pyramid,
        operator=operator,
        sigma_y=sigma_y,
        grid=grid,
        band_constraint=_band_constraint(pyramid, grid, settings),
        steps_nominal=total,
        settings=settings,
    )


def _check(levels: int, sigma_y: float, settings: Recipe) -> None:
    if not 0 <= sigma_y < math.inf:
        raise MRCascadeError(f"the noise level of the measurement must be >= 0; got {sigma_y}")
    options = flat(settings.run)
    for name in ("sigma_start", "sigma_min", "pnp_sigma"):
        values = options.get(name)
        if values is not None and len(values) != levels:
            raise MRCascadeError(
                f"settings '{settings.name}': {name} needs one value for each of the {levels} "
                f"levels; got {len(values)}"
            )


def _comparisons(
    pyramid: LaplacianPyramid,
    operator: LinearOperator,
    sigma_y: float,
    grid: int | None,
    settings: Recipe,
    missing: MissingError | None,
) -> list[Comparison]:
    if grid is not None:
        return same_kernel(pyramid, operator, sigma_y, grid, settings.levels.consistency)
    if settings.levels.consistency == "cascade":
        raise MRCascadeError(
            f"consistency 'cascade' needs a measurement by 2x steps of the prior's kernel "
            f"'{pyramid.kernel}'; use consistency 'measurement' for operator '{operator.name}'"
        )
    return composed(pyramid, operator, sigma_y, missing)


def _determined(grid: int | None, sigma_y: float, level: int) -> bool:
    return grid is not None and sigma_y == 0 and level >= grid


def _coarsest(levels: int, grid: int | None, sigma_y: float) -> int:
    """Return the coarsest level that takes part."""
    if _determined(grid, sigma_y, 1):
        raise MRCascadeError(
            "the noise-free measurement is the full-resolution image itself; nothing to do"
        )
    # If y determines level L but no finer one, L still gets a share of T: the paper splits T by 3
    # in its 4x task (table 2).
    return grid - 1 if grid is not None and sigma_y == 0 and grid < levels else levels


def _band_constraint(pyramid: LaplacianPyramid, grid: int | None, settings: Recipe) -> bool:
    if settings.levels.band_constraint is False:
        return False
    possible = grid is not None and _keeps_coarse_images(pyramid)
    if settings.levels.band_constraint and not possible:
        raise MRCascadeError(
            f"settings '{settings.name}': the band constraint needs a kernel with "
            f"down(up(z)) = z (fourier) and a measurement by 2x steps of that kernel"
        )
    return possible


def _keeps_coarse_images(pyramid: LaplacianPyramid) -> bool:
    """Return whether down(up(z)) = z on every grid of the pyramid."""
    for fine, coarse in pairwise(pyramid.shapes):
        there = upsampler(pyramid.kernel, fine, coarse)
        and_back = downsampler(pyramid.kernel, fine, coarse).compose(there)
        for matrix in (and_back.rows, and_back.cols):
            if not np.allclose(matrix, np.eye(len(matrix)), rtol=0, atol=SAME_MATRIX):
                return False
    return True
