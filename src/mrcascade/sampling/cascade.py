"""Scale-cascaded posterior sampling (Thaker et al., section 3.3): DiffPIR from coarse to fine."""

import torch
from torch import Tensor

from mrcascade.errors import MRCascadeError
from mrcascade.recipes.settings import SamplerSettings
from mrcascade.sampling.diffpir import Callback, diffpir
from mrcascade.sampling.dps import dps
from mrcascade.sampling.inputs import check_levels, check_sampler, check_seeds, check_shape
from mrcascade.sampling.level import (
    CascadeResult,
    ChainDenoiser,
    LevelPrior,
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
    check_sampler(plan, "diffpir", "dps")
    check_levels(prior, plan)
    check_shape(plan, y)
    if plan.settings.steps is None:
        raise MRCascadeError(
            f"settings '{plan.settings.name}' ask for the conditional mean; use cascade_mean"
        )
    check_seeds(noise, y)
    evaluations = {task.level: 0 for task in plan.tasks}
    image: Tensor | None = None
    for task in reversed(plan.tasks):
        if not task.sampled:
            image = task.data.target(y, image)
            continue
        problem = LevelProblem.at(plan, task, y, image)
        level = prior.levels[task.level - 1]
        error = condition_error(prior, plan, task.level)
        orientations = plan.settings.orientations_at(task.level)
        # Other chains meet the data in steps of their own, which would count them twice.
        informed = plan.settings.sampler == "diffpir" and not problem.observed
        known = problem.known(level) if informed else None
        denoise = ChainDenoiser(level, problem.context, error, orientations, known)
        last = _last_sigma(level, plan.settings, task)
        from_data = plan.settings.start_at_data and problem.observed
        if from_data and task.data.sigma > last:
            image = _diffuse_back(problem, denoise, last, noise, callback)
        else:
            sigmas = level_sigmas(level, plan.settings, task)
            image = _sample_level(problem, denoise, sigmas, noise, callback, known is not None)
        evaluations[task.level] = denoise.calls
    assert image is not None  # a pyramid has at least one level
    return CascadeResult(image, evaluations, plan.steps_nominal)


def _sample_level(
    problem: LevelProblem,
    denoise: ChainDenoiser,
    sigmas: tuple[float, ...],
    noise: NoiseSource,
    callback: Callback | None,
    informed: bool,
) -> Tensor:
    settings, y = problem.plan.settings, problem.target
    shape = (*y.shape[:2], *problem.task.data.operator.in_shape)
    start = noise.randn(shape, y.device, y.dtype) * sigmas[0]
    if problem.context is None or settings.start_at_mean:
        start = start + denoise.mean()
    level = problem.task.level
    if settings.sampler == "dps":
        # With the coarser image fixed, ||y - H (x_(i) + c)|| is the distance of x_(i) from y - H c.
        operator, context = problem.task.data.operator, problem.context
        rest = y if context is None else y - operator(context)
        band = dps(
            denoise,
            start,
            sigmas,
            operator,
            rest,
            scale=settings.step_size,
            noise=noise,
            callback=callback,
            level=level,
        )
    else:
        band = diffpir(
            denoise,
            start,
            sigmas,
            problem.known_step() if informed else problem.data_step(settings),
            zeta=settings.zeta,
            noise=noise,
            callback=callback,
            level=level,
        )
    return problem.finish(band)


def _diffuse_back(
    problem: LevelProblem,
    denoise: ChainDenoiser,
    sigma_min: float,
    noise: NoiseSource,
    callback: Callback | None,
) -> Tensor:
    """The image of an observed level, from noisy data as a state of the diffusion."""
    task, settings = problem.task, problem.plan.settings
    sigma = task.data.sigma
    zeta = settings.zeta if settings.observed_zeta is None else settings.observed_zeta
    band = diffpir(
        denoise,
        problem.band(problem.target),
        karras_sigmas(task.steps, sigma, sigma_min, settings.rho_at(task.level)),
        lambda x0, sigma: x0,
        zeta=zeta,
        noise=noise,
        ancestral=True,
        callback=callback,
        level=task.level,
    )
    return problem.finish(band)


def level_sigmas(
    level: LevelPrior,
    settings: SamplerSettings,
    task: LevelTask,
    start: float | None = None,
) -> tuple[float, ...]:
    """Noise levels of one level's chain in image units, as many as the task has steps.

    ``start`` is the first of them where the settings leave it open; None: the prior's largest.
    """
    start = level.sigma_max if start is None else start
    if settings.sigma_start is not None:
        start = settings.sigma_start[task.level - 1] * level.std
    end = _last_sigma(level, settings, task)
    return karras_sigmas(task.steps, start, end, settings.rho_at(task.level))


def _last_sigma(level: LevelPrior, settings: SamplerSettings, task: LevelTask) -> float:
    if settings.sigma_min is None:
        return level.sigma_min
    return settings.sigma_min[task.level - 1] * level.std
