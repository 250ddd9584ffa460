"""Noise levels and condition errors of training batches."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from mrcascade.training.config import TrainConfig


def largest_condition_error(level: int, config: TrainConfig) -> float:
    """Return the largest condition error of a level.

    It is small if the condition is the coarsest image.
    """
    coarsest = level + 1 == config.levels
    return config.coarse_condition_error if coarsest else config.condition_error


def draw_sigma(count: int, config: TrainConfig, generator: torch.Generator) -> Tensor:
    """Draw noise levels (count,): log-normal, with a fixed share of the batch at high noise.

    High levels are stratified over the batch, because a conditional network learns there to use
    its condition.
    """
    draw = partial(torch.rand, generator=generator, device="cpu")
    normal = torch.randn(count, generator=generator, device="cpu")
    log_sigma = config.noise_mean + config.noise_std * normal
    low, high = (math.log(v) for v in config.high_noise_range)
    uniform = low + (high - low) * draw(count)
    exact = count * config.high_noise_share
    number = int(exact) + int(draw(()) < exact - int(exact))
    return torch.cat([uniform[:number], log_sigma[number:]]).exp()


def draw_condition_error(
    count: int, largest: float, clean_share: float, generator: torch.Generator
) -> Tensor:
    """Draw error levels ``t`` (count,): 0 for ``clean_share``, else uniform up to ``largest``."""
    t = torch.rand(count, generator=generator, device="cpu") * largest
    keep = torch.rand(count, generator=generator, device="cpu") >= clean_share
    return t * keep
