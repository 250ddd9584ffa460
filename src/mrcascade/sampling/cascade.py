"""Scale-cascaded posterior sampling (Thaker et al., section 3.3): a chain per level."""

import torch
from torch import Tensor

from mrcascade.recipes.guidance import Proximal
from mrcascade.recipes.options import NoiseLevels
from mrcascade.recipes.samplers.diffpir import ReverseDiffusion
from mrcascade.recipes.traversals import Cascade
from mrcascade.sampling.chain import Callback, run_chain
from mrcascade.sampling.coarse_to_fine import coarse_to_fine
from mrcascade.sampling.guidance import guide, guide_informed, unguided
from mrcascade.sampling.inputs import check_levels, check_seeds, check_shape, traversal
from mrcascade.sampling.level import (
    BandPrior,
    CascadeResult,
    ChainDenoiser,
    LevelProblem,
    Prior,
    condition_error,
)
from mrcascade.sampling.noise import NoiseSource
from mrcascade.sampling.plan import CascadePlan, LevelTask
from mrcascade.sampling.schedule import karras_sigmas


@torch.no_grad()
def cascade_sample(
    prior: Prior,
    plan: CascadePlan,
    y: Tensor,
    noise: NoiseSource,
    *,
    callback: Callback | None = None,
) -> CascadeResult:
    """Draw one image per measurement, with one chain per level from coarse to fine.

    Each level sees its data by the plan and the finished image of the next coarser level. Finer
    data never correct a coarser level, so with noisy data level L knows only the part of y on its
    own grid. A level with exact data ends with the projection onto them, so the result fits a
    noise-free y up to rounding.

    Args:
        prior: prior with the plan's number of levels.
        plan: plan of a recipe that traverses a cascade.
        y: (N, C, h, w), image units; the result has its dtype and device.
        noise: one generator per image.
        callback: called after each network evaluation.

    Returns:
        Image (N, C, H, W), evaluations per level and nominal T.

    Raises:
        MRCascadeError: prior, plan, measurement and seeds do not fit together.
    """
    run = traversal(plan, Cascade)
    check_levels(prior, plan)
    check_shape(plan, y)
    check_seeds(noise, y)

    def restored(task: LevelTask, image: Tensor | None) -> tuple[Tensor, int]:
        problem = LevelProblem.at(plan, task, y, image)
        level = prior.levels[task.level - 1]
        error = condition_error(prior, plan, task.level)
        orientations = plan.settings.orientations_at(task.level)
        # Other guidance has data steps of its own; an informed denoiser would count data twice.
        informed = isinstance(run.guidance, Proximal) and not problem.observed
        known = problem.known(prior) if informed else None
        denoise = ChainDenoiser(level, problem.context, error, orientations, known)
        last = _last_sigma(level, run.noise_levels, task)
        from_data = run.observed is not None and run.observed.start_at_data and problem.observed
        if from_data and task.data.sigma > last:
            image = _diffuse_back(problem, run, denoise, last, noise, callback)
        else:
            sigmas = level_sigmas(level, run.noise_levels, task)
            image = _sample_level(problem, run, denoise, sigmas, noise, callback)
        return image, denoise.calls

    return coarse_to_fine(plan, lambda task, image: task.data.target(y, image), restored)


def _sample_level(
    problem: LevelProblem,
    run: Cascade,
    denoise: ChainDenoiser,
    sigmas: tuple[float, ...],
    noise: NoiseSource,
    callback: Callback | None,
) -> Tensor:
    y = problem.target
    shape = (*y.shape[:2], *problem.task.data.operator.in_shape)
    start = noise.randn(shape, y.device, y.dtype) * sigmas[0]
    if problem.context is None or run.start_at_mean:
        start = start + denoise.mean()
    band = run_chain(
        guide_informed(problem, denoise)
        if denoise.informed
        else guide(run.guidance, problem, denoise),
        run.sampler,
        start,
        sigmas,
        noise,
        callback=callback,
        level=problem.task.level,
    )
    return problem.finish(band)


def _diffuse_back(
    problem: LevelProblem,
    run: Cascade,
    denoise: ChainDenoiser,
    sigma_min: float,
    noise: NoiseSource,
    callback: Callback | None,
) -> Tensor:
    """Restore an observed level with its noisy data as the starting state of the diffusion."""
    task, zeta = problem.task, None if run.observed is None else run.observed.observed_zeta
    rho = run.noise_levels.rho_at(task.level)
    band = run_chain(
        unguided(denoise),
        run.sampler.unguided() if zeta is None else ReverseDiffusion(zeta),
        problem.band(problem.target),
        karras_sigmas(task.steps, task.data.sigma, sigma_min, rho),
        noise,
        callback=callback,
        level=task.level,
    )
    return problem.finish(band)


def level_sigmas(
    level: BandPrior,
    noise_levels: NoiseLevels,
    task: LevelTask,
    start: float | None = None,
) -> tuple[float, ...]:
    """Return the noise levels of a level's chain in image units, one per step of the task.

    start: first noise level if the options do not set it; None takes the prior's largest.
    """
    start = level.sigma_max if start is None else start
    if noise_levels.sigma_start is not None:
        start = noise_levels.sigma_start[task.level - 1] * level.std
    end = _last_sigma(level, noise_levels, task)
    return karras_sigmas(task.steps, start, end, noise_levels.rho_at(task.level))


def _last_sigma(level: BandPrior, noise_levels: NoiseLevels, task: LevelTask) -> float:
    if noise_levels.sigma_min is None:
        return level.sigma_min
    return noise_levels.sigma_min[task.level - 1] * level.std
