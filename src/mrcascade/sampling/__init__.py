"""Samplers: functions of a denoiser or prior, an operator, a noise schedule and a generator."""

from mrcascade.recipes.settings import (
    RECIPES,
    Recipe,
    parse_changes,
    same_record,
)
from mrcascade.sampling.cascade import cascade_sample, level_sigmas
from mrcascade.sampling.chain import Progress, run_chain
from mrcascade.sampling.comparison import Comparison, MissingError, measurement_level
from mrcascade.sampling.detail import finest_mean, keep_detail
from mrcascade.sampling.guidance import (
    guide,
    proximal_step,
    unguided,
    with_data_step,
    with_gradient,
)
from mrcascade.sampling.inputs import single_scale
from mrcascade.sampling.level import BandDenoiser, BandPrior, CascadeResult, Prior
from mrcascade.sampling.mean import cascade_mean
from mrcascade.sampling.multigrid import multigrid_sample
from mrcascade.sampling.multigrid_pnp import multigrid_pnp
from mrcascade.sampling.noise import NoiseSource, image_seed
from mrcascade.sampling.plan import CascadePlan, LevelTask, plan_cascade
from mrcascade.sampling.reconstruct import reconstruct
from mrcascade.sampling.schedule import karras_sigmas, split_steps

__all__ = [
    "RECIPES",
    "BandDenoiser",
    "BandPrior",
    "CascadePlan",
    "CascadeResult",
    "Comparison",
    "LevelTask",
    "MissingError",
    "NoiseSource",
    "Prior",
    "Progress",
    "Recipe",
    "cascade_mean",
    "cascade_sample",
    "finest_mean",
    "guide",
    "image_seed",
    "karras_sigmas",
    "keep_detail",
    "level_sigmas",
    "measurement_level",
    "multigrid_pnp",
    "multigrid_sample",
    "parse_changes",
    "plan_cascade",
    "proximal_step",
    "reconstruct",
    "run_chain",
    "same_record",
    "single_scale",
    "split_steps",
    "unguided",
    "with_data_step",
    "with_gradient",
]
