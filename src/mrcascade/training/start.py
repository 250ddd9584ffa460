"""The prior that a training begins with."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from mrcascade.errors import MRCascadeError
from mrcascade.networks import LevelConfig
from mrcascade.prior.cascade import CascadePrior, read_prior
from mrcascade.prior.denoiser import LevelNetworks
from mrcascade.training.config import TrainConfig


def start_of(config: TrainConfig) -> tuple[CascadePrior, list[dict[str, Tensor]]]:
    """The prior ``config.start`` and the weights of its levels for the networks of ``config``.

    Where only those have data in their conditions, they begin as the prior's, which no data move.
    Raises MRCascadeError for a prior of other networks or of another kernel.
    """
    found, weights = read_prior(config.start)
    own = tuple(level.spec.networks for level in found.levels)
    if [_plain(level) for level in own] != [_plain(level) for level in config.networks]:
        raise MRCascadeError(_unfit(config, f"not made of {config.network!r} networks"))
    if found.channels != config.channels:
        raise MRCascadeError(_unfit(config, f"not made for {config.channels} channel(s)"))
    if any(a.data and not b.data for a, b in zip(own, config.networks, strict=True)):
        raise MRCascadeError(
            _unfit(config, "conditioned on data, and data_condition is false in this run")
        )
    if found.kernel != config.kernel:
        raise MRCascadeError(
            f"{config.start}: made for kernel {found.kernel!r}, but this run has {config.kernel!r}"
        )
    widened = [
        state if level == wanted else _with_data(state, wanted, config.channels)
        for state, level, wanted in zip(weights, own, config.networks, strict=True)
    ]
    return found, widened


def _unfit(config: TrainConfig, reason: str) -> str:
    return f"{config.start}: {reason}, so the training cannot start from it"


def _plain(level: LevelConfig) -> LevelConfig:
    return replace(level, data=False)


def _with_data(state: dict[str, Tensor], level: LevelConfig, channels: int) -> dict[str, Tensor]:
    """Weights of a level without data in its condition, for networks that have them: their first
    layers get weights of zero for the new inputs."""
    with torch.device("meta"):
        networks = LevelNetworks(level, channels)
    kept = channels + 1  # of a condition, before the data
    result = dict(state)
    # The branch sees the condition alone, the U-Net the noisy image before it.
    for name, before in (("mean.head.weight", kept), ("unet.stem.weight", channels + kept)):
        wanted = networks.state_dict().get(name)
        if wanted is None:
            continue
        old = state[name]
        new = wanted.shape[1] - old.shape[1]
        added = networks.condition_channels - kept
        place = before * new // added  # each channel is as many as the stem makes of it
        zeros = old.new_zeros((old.shape[0], new, *old.shape[2:]))
        result[name] = torch.cat([old[:, :place], zeros, old[:, place:]], 1)
    return result
