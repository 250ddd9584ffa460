"""Multi-Grid PnP, diffusion form: a chain of the whole image on finer and finer grids.

This is the baseline of Thaker et al. ("upsampling x_(i) and retaining the same H"), after the
multi-grid idea of Laurent et al. 2025. Its prior was trained at one scale and runs at all scales.
On coarser grids structures are smaller in pixels than in the training images. The comparison shows
the effect of that, so not all of the error is the method's.
"""

import torch
from torch import Tensor

from mrcascade.recipes.traversals import Multigrid
from mrcascade.sampling.cascade import level_sigmas
from mrcascade.sampling.chain import Callback, run_chain
from mrcascade.sampling.coarse_to_fine import coarse_to_fine
from mrcascade.sampling.guidance import guide
from mrcascade.sampling.inputs import check_seeds, check_shape, single_scale, traversal
from mrcascade.sampling.level import BandPrior, CascadeResult, ChainDenoiser, LevelProblem, Prior
from mrcascade.sampling.noise import NoiseSource
from mrcascade.sampling.plan import CascadePlan, LevelTask

#: First noise level of a grid that starts from a finished coarser one, in units of the standard
#: deviation of the prior's images. The prolonged image lacks a band with 0.10 to 0.17 of that
#: deviation. At noise level 1 this changes the variance by 1 to 3 % only, so the denoiser sees
#: nearly its training distribution. A higher start would leave fewer steps for low noise.
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
    """Draw one image per measurement, with one chain per grid from coarse to fine.

    On grid i the unknown is the image x_i, with data term ``||y - H P_i x_i||^2`` and P_i =
    up...up to the full grid. For y of kernel ``fourier``, down(up(z)) = z and H P_i is exactly the
    remaining 2x steps; other kernels come close. So the plan takes comparisons from a cascade. Any
    other operator is composed with P_i, and the error of ignoring finer bands adds to sigma_y. The
    T steps are split as in a cascade, and grids that noise-free data determine are skipped. A grid
    with exact data ends with the projection onto them.

    The upsampled result of a grid plus noise starts the next one. ``sigma_start`` and ``sigma_min``
    are in units of the prior's standard deviation, finest grid first. By default the coarsest
    sampled grid starts at the prior's largest noise level, and finer ones at ``RESTART``.

    Args:
        prior: single-scale prior.
        plan: result of ``plan_cascade`` for ``settings.grids`` levels.
        y: (N, C, h, w), image units; the result has its dtype and device.
        noise: one generator per image.
        callback: called after each network evaluation.

    Returns:
        Image (N, C, H, W), evaluations per grid and nominal T.

    Raises:
        MRCascadeError: prior, plan, measurement and seeds do not fit together.
    """
    run = traversal(plan, Multigrid)
    check_shape(plan, y)
    check_seeds(noise, y)
    level = single_scale(prior)

    def restored(task: LevelTask, image: Tensor | None) -> tuple[Tensor, int]:
        denoise = ChainDenoiser(level, None, 0.0, plan.settings.orientations_at(task.level))
        centre = denoise.mean() if image is None else plan.pyramid.up(image, task.level)
        problem = LevelProblem.at(plan, task, y, None)  # no context: the band is the image
        sigmas = grid_sigmas(level, plan, run, task)
        return _sample_grid(problem, run, denoise, centre, sigmas, noise, callback), denoise.calls

    return coarse_to_fine(plan, lambda task, _: task.data.target(y, None), restored)


def grid_sigmas(
    level: BandPrior, plan: CascadePlan, run: Multigrid, task: LevelTask
) -> tuple[float, ...]:
    """Return the noise levels of a grid's chain in image units, one per step of the task."""
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
