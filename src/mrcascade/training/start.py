"""Prior with the initial weights of a training."""

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
    """Return the prior ``config.start`` and the weights of its levels for the run's networks.

    If only the run's networks have data in their conditions, they start as the prior's networks
    and ignore the data. Raises MRCascadeError for a prior with other networks or another kernel.
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
    """Adapt weights of a level without data in its condition to networks with data.

    The first layers get zero weights for the new inputs.
    """
    with torch.device("meta"):
        networks = LevelNetworks(level, channels)
    kept = channels + 1  # channels of a condition before those of the data
    result = dict(state)
    # The branch sees the condition only; for the U-Net the noisy image comes before it.
    for name, before in (("mean.head.weight", kept), ("unet.stem.weight", channels + kept)):
        wanted = networks.state_dict().get(name)
        if wanted is None:
            continue
        old = state[name]
        new = wanted.shape[1] - old.shape[1]
        added = networks.condition_channels - kept
        place = before * new // added  # the stem makes several channels of each
        zeros = old.new_zeros((old.shape[0], new, *old.shape[2:]))
        result[name] = torch.cat([old[:, :place], zeros, old[:, place:]], 1)
    return result
