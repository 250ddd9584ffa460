"""Multi-Grid PnP, deterministic form: plug-and-play steps from grid to grid.

The method is that of Laurent et al. 2025 without coarse corrections, because their evaluations
serve better as steps. A single-scale prior runs on every grid; on coarser grids structures are
smaller in pixels than in its training images. Laurent et al. publish no super-resolution;
``multigrid_pnp`` documents the choices that they leave open.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from mrcascade.operators import downsampler, squared_norm
from mrcascade.recipes.traversals import MultigridPnP
from mrcascade.sampling.chain import Callback, Progress
from mrcascade.sampling.coarse_to_fine import coarse_to_fine
from mrcascade.sampling.inputs import check_shape, single_scale, traversal
from mrcascade.sampling.level import BandPrior, CascadeResult, LevelProblem, Prior
from mrcascade.sampling.plan import CascadePlan, LevelTask

#: Least noise level of the denoiser, in units of the standard deviation of the prior's images.
#: Noise-free data would give 0, at which D changes nothing.
LEAST_SIGMA = 0.1


@torch.no_grad()
def multigrid_pnp(
    prior: Prior, plan: CascadePlan, y: Tensor, *, callback: Callback | None = None
) -> CascadeResult:
    """Restore one image per measurement from coarse to fine, without random numbers.

    On grid i, with A = H P_i of the plan's comparison (see ``multigrid_sample``), the data term is
    ``f(x) = ||y - A x||^2 / (2 ||A||^2)``. Its gradient has Lipschitz constant 1 on every grid, so
    ``x <- D(x - gamma grad f(x), sigma)`` is stable for gamma below 2. The result is prolonged by
    P = 4 R^T with R = down (in general R^T times the ratio of the grids' samples) and starts the
    next grid. The coarsest grid starts at the minimum-norm image that fits its data.

    *Noise levels.* If ``pnp_sigma`` is None, sigma = sqrt(gamma) sigma_y / ||A||, at least
    ``LEAST_SIGMA``. At that sigma the fixed point is the posterior mean if the prior is Gaussian:
    x = D(x - gamma grad f) is then A^T (y - A x) = sigma_y^2 C^-1 (x - m).

    Only the last grid ends with the projection onto noise-free data.

    Arguments, results and errors are those of ``multigrid_sample``.
    """
    run = traversal(plan, MultigridPnP)
    check_shape(plan, y)
    level = single_scale(prior)

    def restored(task: LevelTask, image: Tensor | None) -> tuple[Tensor, int]:
        target, operator = task.data.target(y, None), task.data.operator
        start = operator.pinv(target) if image is None else _prolonged(plan, task.level, image)
        return _solve(start, target, task, level, run, callback), task.steps

    result = coarse_to_fine(plan, lambda task, _: task.data.target(y, None), restored)
    problem = LevelProblem.at(plan, plan.tasks[0], y, None)
    return replace(result, image=problem.finish(result.image))


def _prolonged(plan: CascadePlan, level: int, coarser: Tensor) -> Tensor:
    """Return P x on the grid of ``level``. It preserves constants, except near borders."""
    shapes = plan.pyramid.shapes
    down = downsampler(plan.pyramid.kernel, shapes[level - 1], shapes[level])
    ratio = math.prod(down.in_shape) / math.prod(down.out_shape)
    return ratio * down.adjoint(coarser)


def _solve(
    x: Tensor,
    target: Tensor,
    task: LevelTask,
    level: BandPrior,
    run: MultigridPnP,
    callback: Callback | None,
) -> Tensor:
    """Run the iterations of one grid, one per step of its task."""
    operator, gamma = task.data.operator, run.pnp_step
    scale = 1 / squared_norm(operator, target)
    if run.pnp_sigma is not None:
        sigma = run.pnp_sigma[task.level - 1] * level.std
    else:
        sigma = max(math.sqrt(gamma * scale) * task.data.sigma, LEAST_SIGMA * level.std)
    denoiser = level.condition(None, 0.0)
    for k in range(task.steps):
        gradient = scale * operator.adjoint(operator(x) - target)
        x = denoiser.denoise(x - gamma * gradient, sigma)
        if callback is not None:
            callback(Progress(task.level, k, task.steps, sigma, x))
    return x
