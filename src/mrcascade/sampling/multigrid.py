"""Multi-Grid PnP, diffusion form: a chain of the image itself on finer and finer grids.

The baseline of Thaker et al. ("upsampling x_(i) and retaining the same H"), after the multi-grid
idea of Laurent et al. 2025. Its prior knows images of one scale and is used on all of them: on
a coarser grid the denoiser sees images that it was not trained on, whose structures are smaller
in pixels. That is the point of the comparison, and a reason not to blame the method for all of
its error.
"""

import torch
from torch import Tensor

from mrcascade.recipes.traversals import Multigrid
from mrcascade.sampling.cascade import level_sigmas
from mrcascade.sampling.chain import Callback, run_chain
from mrcascade.sampling.guidance import guide
from mrcascade.sampling.inputs import check_seeds, check_shape, single_scale, traversal
from mrcascade.sampling.level import BandPrior, CascadeResult, ChainDenoiser, LevelProblem, Prior
from mrcascade.sampling.noise import NoiseSource
from mrcascade.sampling.plan import CascadePlan, LevelTask

#: First noise level of a grid that starts from a finished coarser one, in units of the standard
#: deviation of the prior's images. The prolonged image lacks a band of 0.10 (finest grid) to 0.17
#: of it, as far as the spectrum of MR images goes; at 1 that changes the variance of the noisy
#: start by 1 to 3 %, so that the denoiser sees what it knows, while two thirds of the schedule,
#: from 80 down to 1, are free for lower noise. For Gaussian images of that spectrum (of
#: mr-small-baselines/single-scale; 4x, noise-free, T = 45) the Wasserstein distance between the
#: sampled and the true bands was 0.23, 0.12, 0.13 and 0.21 of their size at 0.3, 1, 3 and 80.
RESTART = 1.0


@torch.no_grad()
def multigrid_sample(
    prior: Prior,
    plan: CascadePlan,
    y: Tensor,
    noise: NoiseSource,
    *,
    callback: Callback | None = None,
) -> CascadeResult:
    """Draw one image per measurement: one chain per grid, from coarse to fine.

    On grid i the unknown is the image x_i, compared through ``||y - H P_i x_i||^2`` with P_i =
    up...up to the full grid. Where y is of the prior's kernel and down(up(z)) = z (``fourier``),
    H P_i is exactly the 2x steps that remain, and the plan's comparison is taken from a cascade's
    (for the other kernels too, whose H P_i is close to those steps); an operator of another kind
    is composed with P_i and the error of ignoring finer bands is added to sigma_y, again as in a
    cascade. So is the split of the T steps and the skipping of grids that noise-free data fix. A
    grid whose data are exact ends with the projection onto them.

    The result of a grid, brought up, plus noise of the next one's first level starts the next
    one. ``sigma_start`` and ``sigma_min`` are in units of the prior's standard deviation, finest
    grid first; without them the coarsest grid that is sampled starts at the prior's largest noise
    level, each finer one at ``RESTART``.

    Args:
        prior: one level, of whole images.
        plan: of ``plan_cascade`` for ``settings.grids`` levels.
        y: (N, C, h, w), image units; its dtype and device are those of the result.
        noise: one generator per image.
        callback: called after each network evaluation.

    Returns image (N, C, H, W), evaluations per grid, nominal T. Raises MRCascadeError where
    prior, plan, measurement and seeds do not fit together.
    """
    run = traversal(plan, Multigrid)
    check_shape(plan, y)
    check_seeds(noise, y)
    level = single_scale(prior)
    evaluations = {task.level: 0 for task in plan.tasks}
    image: Tensor | None = None
    for task in reversed(plan.tasks):
        target = task.data.target(y, None)
        if not task.sampled:
            image = target
            continue
        denoise = ChainDenoiser(level, None, 0.0, plan.settings.orientations_at(task.level))
        centre = denoise.mean() if image is None else plan.pyramid.up(image, task.level)
        problem = LevelProblem(plan, task, target, None)  # no context: the band is the image
        sigmas = grid_sigmas(level, plan, run, task)
        image = _sample_grid(problem, run, denoise, centre, sigmas, noise, callback)
        evaluations[task.level] = denoise.calls
    assert image is not None  # a plan has at least one grid
    return CascadeResult(image, evaluations, plan.steps_nominal)


def grid_sigmas(
    level: BandPrior, plan: CascadePlan, run: Multigrid, task: LevelTask
) -> tuple[float, ...]:
    """Noise levels of one grid's chain in image units, as many as the task has steps."""
    coarsest = max(t.level for t in plan.tasks if t.sampled)
    start = None
    if task.level < coarsest:
        start = min(RESTART * level.std, level.sigma_max)
    return level_sigmas(level, run.noise_levels, task, start)


def _sample_grid(
    problem: LevelProblem,
    run: Multigrid,
    denoise: ChainDenoiser,
    centre: Tensor,
    sigmas: tuple[float, ...],
    noise: NoiseSource,
    callback: Callback | None,
) -> Tensor:
    y = problem.target
    shape = (*y.shape[:2], *problem.task.data.operator.in_shape)
    image = run_chain(
        guide(run.guidance, problem, denoise),
        run.sampler,
        centre + noise.randn(shape, y.device, y.dtype) * sigmas[0],
        sigmas,
        noise,
        callback=callback,
        level=problem.task.level,
    )
    return problem.finish(image)
