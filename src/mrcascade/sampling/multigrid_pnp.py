"""Multi-Grid PnP, deterministic form: plug-and-play steps with coarse corrections.

Laurent et al. 2025. A prior of one level is used on every grid: on a coarser one the denoiser
sees images that it was not trained on, whose structures are smaller in pixels. Laurent et al.
publish no super-resolution; what is left open is said at ``multigrid_pnp``.

On a Gaussian prior D is linear, so that ``tests/sampling/test_sampling_multigrid.py`` checks the
iterates exactly.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mrcascade.operators import LinearOperator, SeparableOperator, downsampler, squared_norm
from mrcascade.sampling.diffpir import Callback, Progress
from mrcascade.sampling.inputs import check_sampler, check_shape, single_scale
from mrcascade.sampling.level import (
    CascadeResult,
    ConditionedLevel,
    LevelPrior,
    LevelProblem,
    Prior,
)
from mrcascade.sampling.plan import CascadePlan, LevelTask

#: Proximal-gradient steps on the coarse grid in a correction.
COARSE_STEPS = 3
#: Evaluations of a correction: one gradient on the fine grid; one and the steps on the coarse one.
COARSE_EVALUATIONS = 1 + COARSE_STEPS
CORRECTION_EVALUATIONS = 1 + COARSE_EVALUATIONS
#: A correction that raises the data term even at t = 2^-10 is dropped.
HALVINGS = 10
#: Least noise level of the denoiser, in units of the standard deviation of the prior's images.
#: At 0, where noise-free data would put it, D does nothing.
LEAST_SIGMA = 0.1


@torch.no_grad()
def multigrid_pnp(
    prior: Prior, plan: CascadePlan, y: Tensor, *, callback: Callback | None = None
) -> CascadeResult:
    """One image per measurement, from coarse to fine; nothing is random.

    On grid i, with A = H P_i of the plan's comparison (see ``multigrid_sample``), the data term is
    ``f(x) = ||y - A x||^2 / (2 ||A||^2)``. Its gradient then has Lipschitz constant 1 on every
    grid, so that ``x <- D(x - gamma grad f(x), sigma)`` is safe for gamma = 1 (below 2). The result
    is prolonged by P = 4 R^T with R = down (in general the ratio of the grids' samples times R^T)
    and starts the next grid; the coarsest starts at the smallest image that fits its data.

    The first ``pnp_corrections`` outer iterations of a grid begin with a coarse correction. With
    F = f + g, grad g = x - D(x, sigma), and v = R grad F(x) - grad F_c(R x) (first-order
    coherence), three steps x_c <- D(x_c - gamma (grad f_c(x_c) + v), sigma_c) lead from R x to
    x_c; then x <- x + t P (x_c - R x), with t = 1 halved, for each image, until f does not rise.
    The coarse grid must be one that takes part: one that noise-free data fix has nothing to add.

    *Evaluations.* Each grid has the plan's share of T. A correction takes five of it, four of which
    happen, and are reported, on the coarse grid; a grid with fewer than six to spare makes no
    more corrections. In all they are the steps of the sampled grids, never more than T.

    *Noise levels.* Where ``pnp_sigma`` is None, sigma = sqrt(gamma) sigma_y / ||A||, at least
    ``LEAST_SIGMA``. At that sigma the fixed point is the posterior mean if the prior is Gaussian:
    x = D(x - gamma grad f) is then A^T (y - A x) = sigma_y^2 C^-1 (x - m).

    Only the last grid ends with the projection onto noise-free data: a coarser result that fits
    them exactly would let no correction of the next grid pass, as any raises f above 0.

    Arguments, results and errors are those of ``multigrid_sample``.
    """
    check_sampler(plan, "multigrid-pnp")
    check_shape(plan, y)
    level = single_scale(prior)
    conditioned, made = level.condition(None, 0.0), grid_evaluations(plan)
    grids = {
        task.level: _Grid.of(plan, task, level, _Watched(conditioned, task, made, callback), y)
        for task in plan.tasks
        if task.sampled
    }
    image: Tensor | None = None
    for task in reversed(plan.tasks):
        if not task.sampled:
            image = task.data.target(y, None)
            continue
        grid = grids[task.level]
        if image is None:
            image = grid.operator.pinv(grid.target)
        else:
            image = _Transfer.between(plan, task.level).prolong(image)
        image = _solve(image, plan, task, grids)
    assert image is not None  # a plan has at least one grid
    finest = plan.tasks[0]
    image = LevelProblem(plan, finest, finest.data.target(y, None), None).finish(image)
    calls = {t.level: grids[t.level].denoise.calls if t.sampled else 0 for t in plan.tasks}
    return CascadeResult(image, calls, plan.steps_nominal)


def corrections(plan: CascadePlan, task: LevelTask) -> int:
    """Outer iterations of a grid that begin with a coarse correction."""
    has_coarser = task.level < len(plan.tasks) and plan.tasks[task.level].sampled
    fitting = task.steps // (CORRECTION_EVALUATIONS + 1)
    return min(plan.settings.pnp_corrections, fitting) if has_coarser else 0


def grid_evaluations(plan: CascadePlan) -> dict[int, int]:
    """Network evaluations that happen on each grid."""
    counts = {task.level: task.steps if task.sampled else 0 for task in plan.tasks}
    for task in plan.tasks:
        if moved := COARSE_EVALUATIONS * corrections(plan, task):
            counts[task.level] -= moved
            counts[task.level + 1] += moved
    return counts


class _Watched:
    """The denoiser on one grid; counts its evaluations and tells the callback."""

    def __init__(
        self,
        conditioned: ConditionedLevel,
        task: LevelTask,
        made: dict[int, int],
        callback: Callback | None,
    ) -> None:
        self._conditioned, self._callback = conditioned, callback
        self._level, self._steps = task.level, made[task.level]
        self.calls = 0

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        denoised = self._conditioned.denoise(x, sigma)
        if self._callback is not None:
            self._callback(Progress(self._level, self.calls, self._steps, sigma, denoised))
        self.calls += 1
        return denoised


@dataclass(frozen=True)
class _Transfer:
    """R and P between the grids of a level and the next coarser one."""

    down: SeparableOperator

    @classmethod
    def between(cls, plan: CascadePlan, level: int) -> "_Transfer":
        shapes = plan.pyramid.shapes
        return cls(downsampler(plan.pyramid.kernel, shapes[level - 1], shapes[level]))

    def restrict(self, x: Tensor) -> Tensor:
        return self.down(x)

    def prolong(self, x: Tensor) -> Tensor:
        """A constant keeps its value, but for border effects of the kernel."""
        ratio = math.prod(self.down.in_shape) / math.prod(self.down.out_shape)
        return ratio * self.down.adjoint(x)


@dataclass(frozen=True)
class _Grid:
    """f, D and the proximal-gradient step on one grid.

    Attributes:
        operator: A.
        target: what A x is compared with, (N, C, *operator.out_shape).
        scale: 1 / ||A||^2.
        denoise: D.
        sigma: of D, image units.
        gamma: of the step.
    """

    operator: LinearOperator
    target: Tensor
    scale: float
    denoise: _Watched
    sigma: float
    gamma: float

    @classmethod
    def of(
        cls, plan: CascadePlan, task: LevelTask, level: LevelPrior, denoise: _Watched, y: Tensor
    ) -> "_Grid":
        data, settings = task.data, plan.settings
        target = data.target(y, None)
        scale = 1 / squared_norm(data.operator, target)
        if settings.pnp_sigma is not None:
            sigma = settings.pnp_sigma[task.level - 1] * level.std
        else:
            sigma = math.sqrt(settings.pnp_step * scale) * data.sigma
            sigma = max(sigma, LEAST_SIGMA * level.std)
        return cls(data.operator, target, scale, denoise, sigma, settings.pnp_step)

    def data_term(self, x: Tensor) -> Tensor:
        """f of each image, (N, 1, 1, 1)."""
        residual = self.operator(x) - self.target
        return (0.5 * self.scale) * residual.square().sum(dim=(1, 2, 3), keepdim=True)

    def data_gradient(self, x: Tensor) -> Tensor:
        return self.scale * self.operator.adjoint(self.operator(x) - self.target)

    def gradient(self, x: Tensor) -> Tensor:
        """grad F = grad f + x - D(x, sigma)."""
        return self.data_gradient(x) + x - self.denoise(x, self.sigma)

    def step(self, x: Tensor, coherence: Tensor | float = 0.0) -> Tensor:
        """D(x - gamma (grad f(x) + v), sigma)."""
        return self.denoise(x - self.gamma * (self.data_gradient(x) + coherence), self.sigma)


def _solve(x: Tensor, plan: CascadePlan, task: LevelTask, grids: dict[int, _Grid]) -> Tensor:
    """The iterations of one grid, as many as its share of T allows."""
    grid, corrected = grids[task.level], corrections(plan, task)
    for _ in range(corrected):
        transfer = _Transfer.between(plan, task.level)
        direction = _correction(x, grid, grids[task.level + 1], transfer)
        x = grid.step(_without_rise(x, direction, grid))
    for _ in range(task.steps - corrected * (CORRECTION_EVALUATIONS + 1)):
        x = grid.step(x)
    return x


def _correction(x: Tensor, grid: _Grid, coarse: _Grid, transfer: _Transfer) -> Tensor:
    """P (x_c - R x) after the coarse steps."""
    start = transfer.restrict(x)
    coherence = transfer.restrict(grid.gradient(x)) - coarse.gradient(start)
    moved = start
    for _ in range(COARSE_STEPS):
        moved = coarse.step(moved, coherence)
    return transfer.prolong(moved - start)


def _without_rise(x: Tensor, direction: Tensor, grid: _Grid) -> Tensor:
    """x + t direction with the largest t of 1, 1/2, ... at which f does not rise, else x."""
    before = grid.data_term(x)
    t = torch.ones_like(before)
    for _ in range(HALVINGS + 1):
        rising = grid.data_term(x + t * direction) > before
        if not bool(rising.any()):
            return x + t * direction
        t = torch.where(rising, t / 2, t)
    return x + torch.where(rising, 0.0, t) * direction
