"""Scale-cascaded posterior sampling (Thaker et al., section 3.3): a chain per level."""

import torch
from torch import Tensor

from mrcascade.recipes.options import NoiseLevels
from mrcascade.recipes.samplers.diffpir import ReverseDiffusion
from mrcascade.recipes.traversals import Cascade
from mrcascade.sampling.chain import Callback, run_chain
from mrcascade.sampling.guidance import guide, unguided
from mrcascade.sampling.inputs import check_levels, check_seeds, check_shape, traversal
from mrcascade.sampling.level import BandPrior, CascadeResult, ChainDenoiser, LevelProblem, Prior
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
    """Draw one image per measurement: one chain per level, from coarse to fine.

    Each level sees the data that the plan gives it and the finished image of the next coarser
    level; finer data never correct a coarser level, so that with noisy data level L knows only
    the part of y that lies on its own grid. A level whose data are exact ends with the projection
    onto them: the result then fits a noise-free y to rounding.

    Args:
        prior: as many levels as the plan.
        y: (N, C, h, w), image units; its dtype and device are those of the result.
        noise: one generator per image.
        callback: called after each network evaluation.

    Returns image (N, C, H, W), evaluations per level, nominal T. Raises MRCascadeError where
    prior, plan, measurement and seeds do not fit together.
    """
    run = traversal(plan, Cascade)
    check_levels(prior, plan)
    check_shape(plan, y)
    check_seeds(noise, y)
    evaluations = {task.level: 0 for task in plan.tasks}
    image: Tensor | None = None
    for task in reversed(plan.tasks):
        if not task.sampled:
            image = task.data.target(y, image)
            continue
        problem = LevelProblem.at(plan, task, y, image)
        level = prior.levels[task.level - 1]
        error = plan.condition_error(task.level)
        orientations = plan.settings.orientations_at(task.level)
        denoise = ChainDenoiser(level, problem.context, error, orientations)
        last = _last_sigma(level, run.noise_levels, task)
        from_data = run.observed is not None and run.observed.start_at_data and problem.observed
        if from_data and task.data.sigma > last:
            image = _diffuse_back(problem, run, denoise, last, noise, callback)
        else:
            sigmas = level_sigmas(level, run.noise_levels, task)
            image = _sample_level(problem, run, denoise, sigmas, noise, callback)
        evaluations[task.level] = denoise.calls
    assert image is not None  # a pyramid has at least one level
    return CascadeResult(image, evaluations, plan.steps_nominal)


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
        guide(run.guidance, problem, denoise),
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
    """The image of an observed level, from noisy data as a state of the diffusion."""
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
    """Noise levels of one level's chain in image units, as many as the task has steps.

    ``start`` is the first of them where the options leave it open; None: the prior's largest.
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
