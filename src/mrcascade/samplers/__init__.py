"""Samplers: plain functions of a denoiser or prior, an operator, a schedule and a generator."""

from mrcascade.samplers.cascade import cascade_sample, level_sigmas
from mrcascade.samplers.comparison import Comparison, MissingError, measurement_level
from mrcascade.samplers.detail import finest_mean, keep_detail
from mrcascade.samplers.diffpir import Progress, diffpir, proximal_step
from mrcascade.samplers.dps import dps
from mrcascade.samplers.inputs import single_scale
from mrcascade.samplers.level import CascadeResult, ConditionedLevel, LevelPrior, Prior
from mrcascade.samplers.mean import cascade_mean
from mrcascade.samplers.multigrid import multigrid_sample
from mrcascade.samplers.multigrid_pnp import multigrid_pnp
from mrcascade.samplers.noise import NoiseSource, image_seed
from mrcascade.samplers.plan import CascadePlan, LevelTask, plan_cascade
from mrcascade.samplers.reconstruct import reconstruct
from mrcascade.samplers.schedule import karras_sigmas, split_steps
from mrcascade.settings import RECIPES, SamplerSettings, parse_changes, same_record

__all__ = [
    "RECIPES",
    "CascadePlan",
    "CascadeResult",
    "Comparison",
    "ConditionedLevel",
    "LevelPrior",
    "LevelTask",
    "MissingError",
    "NoiseSource",
    "Prior",
    "Progress",
    "SamplerSettings",
    "cascade_mean",
    "cascade_sample",
    "diffpir",
    "dps",
    "finest_mean",
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
    "same_record",
    "single_scale",
    "split_steps",
]
