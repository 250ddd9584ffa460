"""Conditional mean through a cascade, with one evaluation per level and no chain.

If the condition of a level holds all the data, the regression branch gives the conditional mean,
which is the estimate with the highest PSNR.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from mrcascade.operators import SeparableOperator, downsampler, upsampler
from mrcascade.operators.band import KnownBand
from mrcascade.operators.pyramid import LaplacianPyramid
from mrcascade.sampling.chain import Callback, Progress
from mrcascade.sampling.comparison import noise_gain
from mrcascade.sampling.inputs import check_levels, check_shape
from mrcascade.sampling.known import within
from mrcascade.sampling.level import (
    BandDenoiser,
    BandPrior,
    CascadeResult,
    LevelProblem,
    Prior,
    condition_error,
    condition_turned,
)
from mrcascade.sampling.noise import NoiseSource
from mrcascade.sampling.orientations import ORIENTATIONS, Orientation
from mrcascade.sampling.plan import CascadePlan
from mrcascade.sampling.window import by_window


@torch.no_grad()
def cascade_mean(
    prior: Prior,
    plan: CascadePlan,
    y: Tensor,
    *,
    finest: int = 1,
    callback: Callback | None = None,
) -> CascadeResult:
    """Estimate each band by its conditional mean, from coarse to fine.

    * A level that noise-free data determine is taken from the data.
    * A level on y's grid or coarser, with noisy data: the band of the (reduced) measurement is
      denoised once at its own noise level (``band_gain``).
    * A level finer than y, same kernel: the conditional mean; y enters through the condition.
    * Any other operator: the conditional mean, then a data step with tau = sigma_i^2 / std_i^2.
    * Any other operator, at a level conditioned on the data's knowledge about the band: the
      conditional mean given these data; exact data are met.
    * The coarsest level, if it is finer than y or the operator is another one: the minimum-norm
      image of y on its grid, denoised once if y is noisy.

    A level with exact data ends with the projection onto them. Levels finer than ``finest`` get no
    band. Nothing is random. Of the settings only ``consistency``, ``band_constraint``,
    ``condition_error``, ``orientations`` and ``project`` have an effect. Other arguments, results
    and errors are those of ``cascade_sample``.
    """
    check_levels(prior, plan)
    check_shape(plan, y)
    evaluations = {task.level: 0 for task in plan.tasks}
    image: Tensor | None = None
    for task in reversed(plan.tasks):
        if image is not None and task.level < finest:
            image = plan.pyramid.up(image, task.level)
            continue
        if plan.determined(task.level):
            image = task.data.target(y, image)
            continue
        level = prior.levels[task.level - 1]
        problem = LevelProblem.at(plan, task, y, image)
        error = condition_error(prior, plan, task.level)
        averaged = _Averaged(problem, level, problem.known(prior), error, callback)
        image = problem.finish(_estimate(problem, level, y, averaged))
        evaluations[task.level] = averaged.evaluations
    assert image is not None  # a pyramid has at least one level
    return CascadeResult(image, evaluations, plan.steps_nominal)


def band_gain(pyramid: LaplacianPyramid, level: int) -> float:
    """Return the noise density of the band n - up(down(n)) of white noise n with unit variance.

    The band has N - M degrees of freedom for N samples, where M is the number of samples of the
    next coarser grid. A denoiser of the band needs the standard deviation per degree of freedom,
    sqrt(||I - U D||^2 / (N - M)). For ``fourier``, I - U D is an orthogonal projection and the gain
    is exactly 1. The standard deviation per *sample* is only sqrt(3)/2, and denoising at that level
    would not give the posterior mean.
    """
    fine, coarse = pyramid.shapes[level - 1], pyramid.shapes[level]
    up, down = upsampler(pyramid.kernel, fine, coarse), downsampler(pyramid.kernel, fine, coarse)
    both = up.compose(down)
    samples, lost = np.prod(fine), np.prod(coarse)
    trace = np.trace(both.rows) * np.trace(both.cols)
    energy = samples - 2 * trace + (both.rows**2).sum() * (both.cols**2).sum()
    return float(np.sqrt(energy / (samples - lost)))


class _Averaged:
    """Estimates of one level, averaged over the settings' orientations."""

    def __init__(
        self,
        problem: LevelProblem,
        level: BandPrior,
        known: KnownBand | None,
        error: float,
        callback: Callback | None,
    ) -> None:
        self._problem, self._level, self._error = problem, level, error
        self._callback = callback
        self.known = known
        self.evaluations = 0

    def conditional_mean(self) -> Tensor:
        """Return E[band | coarser image, data].

        Outside the body's window it is the linear estimate from the data, or zero, the mean of a
        band, if they know nothing.
        """
        context, known = self._problem.context, self.known
        assert context is not None  # the coarsest level has no conditional mean
        shared = by_window(context)

        def estimate(turn: Orientation) -> Tensor:
            band = torch.zeros_like(context) if known is None else known.band.clone()
            for (top, bottom, left, right), images in shared.items():
                inside = (images, slice(None), slice(top, bottom), slice(left, right))
                here = self._conditioned(context[inside], turn, within(known, inside))
                band[inside] = turn.undo(here.mean())
            return band

        return self._over_orientations(estimate, self._level.sigma_max)

    def denoised(self, noisy: Tensor, sigma: float) -> Tensor:
        """Return E[band | band + sigma noise, coarser image]."""

        def estimate(turn: Orientation) -> Tensor:
            conditioned = self._conditioned(self._problem.context, turn)
            return turn.undo(conditioned.denoise(turn.apply(noisy), sigma))

        return self._over_orientations(estimate, sigma)

    def _conditioned(
        self, context: Tensor | None, turn: Orientation, known: KnownBand | None = None
    ) -> BandDenoiser:
        return condition_turned(self._level, context, self._error, turn, known)

    def _over_orientations(self, estimate: Callable[[Orientation], Tensor], sigma: float) -> Tensor:
        task = self._problem.task
        chosen = ORIENTATIONS[: self._problem.plan.settings.orientations_at(task.level)]
        total: Tensor | None = None
        for turn in chosen:
            one = estimate(turn)
            total = one if total is None else total + one
            if self._callback is not None:
                self._callback(Progress(task.level, self.evaluations, len(chosen), sigma, one))
            self.evaluations += 1
        assert total is not None  # at least one orientation
        return total / len(chosen)


def _estimate(problem: LevelProblem, level: BandPrior, y: Tensor, averaged: _Averaged) -> Tensor:
    """Return the band of a level that the data do not determine."""
    plan, task = problem.plan, problem.task
    if problem.context is None:
        seen = (problem.target, task.data.sigma) if problem.observed else _first_look(plan, y)
        image, sigma = seen
        return averaged.denoised(image, sigma) if sigma > 0 else image
    if problem.observed:  # the U-Net is trained to denoise a band, the branch is not
        sigma = task.data.sigma * band_gain(plan.pyramid, task.level)
        noisy = problem.target - _low_part(plan.pyramid, problem.target, task.level)
        return averaged.denoised(noisy, sigma)
    if averaged.known is not None:
        return problem.met(averaged.conditional_mean())
    band = averaged.conditional_mean()
    return band if plan.grid is not None else _informed_by_data(problem, band, level.std)


def _low_part(pyramid: LaplacianPyramid, image: Tensor, level: int) -> Tensor:
    return pyramid.up(pyramid.down(image, level), level)


def _informed_by_data(problem: LevelProblem, band: Tensor, std: float) -> Tensor:
    data = problem.task.data
    tau = (data.sigma / std) ** 2
    return problem.band(data.operator.prox(problem.image(band), problem.target, tau))


def _first_look(plan: CascadePlan, y: Tensor) -> tuple[Tensor, float]:
    """Return H^+ y on the grid of the coarsest level, and the standard deviation of its noise."""
    image = _to_coarsest(plan, plan.operator.pinv(y))
    return image, plan.sigma_y * _look_gain(plan, y) if plan.sigma_y > 0 else 0.0


def _to_coarsest(plan: CascadePlan, image: Tensor) -> Tensor:
    for level in range(1, plan.pyramid.levels):
        image = plan.pyramid.down(image, level)
    return image


def _look_gain(plan: CascadePlan, y: Tensor) -> float:
    operator = plan.operator
    if not isinstance(operator, SeparableOperator):
        # Without a matrix, one white image gives the gain to about 1 / sqrt(2 samples).
        probe = NoiseSource([0]).randn((1, *y.shape[1:]), y.device, y.dtype)
        return float(_to_coarsest(plan, operator.pinv(probe)).square().mean().sqrt())
    rows, cols = (np.linalg.pinv(m).astype(np.float64) for m in (operator.rows, operator.cols))
    inverse = SeparableOperator(rows, cols)
    for fine, coarse in pairwise(plan.pyramid.shapes):
        inverse = downsampler(plan.pyramid.kernel, fine, coarse).compose(inverse)
    return noise_gain(inverse)
