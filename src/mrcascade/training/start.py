"""Prior with the initial weights of a training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from mrcascade.errors import MRCascadeError
from mrcascade.networks import LevelConfig
from mrcascade.prior.cascade import CascadePrior, read_prior
from mrcascade.prior.denoiser import KNOWLEDGE, LevelNetworks
from mrcascade.prior.level import LevelPrior, LevelStatistics
from mrcascade.training.config import TrainConfig

#: Weights of a branch's new imaginary inputs, as a share of those of the real ones.
IMAGINARY_SHARE = 0.5


def start_of(config: TrainConfig) -> tuple[CascadePrior, list[dict[str, Tensor]]]:
    """Return the prior ``config.start`` and the weights of its levels for the run's networks.

    If only the run's networks have data in their conditions, they start as the prior's networks
    and ignore the data. For complex images the prior may be one of magnitudes: its levels then have
    the statistics of complex images, and real parts start as magnitudes (`_as_complex`). Raises
    MRCascadeError for a prior with other networks or another kernel.
    """
    found, weights = read_prior(config.start)
    own = tuple(level.spec.networks for level in found.levels)
    if [_plain(level) for level in own] != [_plain(level) for level in config.networks]:
        raise MRCascadeError(_unfit(config, f"not made of {config.network!r} networks"))
    if found.kernel != config.kernel:
        raise MRCascadeError(
            f"{config.start}: made for kernel {found.kernel!r}, but this run has {config.kernel!r}"
        )
    if any(a.data and not b.data for a, b in zip(own, config.networks, strict=True)):
        raise MRCascadeError(
            _unfit(config, "conditioned on data, and data_condition is false in this run")
        )
    if (found.channels, config.channels) == (1, 2):
        if not config.demodulate:
            raise MRCascadeError(
                _unfit(config, "made for magnitudes, and demodulate is false in this run")
            )
        pairs = zip(weights, found.levels, strict=True)
        weights = [_as_complex(state, level.spec.statistics, level) for state, level in pairs]
        found = replace(found, channels=2, levels=[_of_complex(level) for level in found.levels])
    elif found.channels != config.channels:
        raise MRCascadeError(_unfit(config, f"not made for {config.channels} channel(s)"))
    elif any(a.demodulated != b.demodulated for a, b in zip(own, config.networks, strict=True)):
        made = str(not config.demodulate).lower()
        raise MRCascadeError(
            _unfit(config, f"made with another demodulate; add --set demodulate={made}")
        )
    widened = [
        _with_data(state, wanted, config.channels) if wanted.data and not level.data else state
        for state, level, wanted in zip(weights, own, config.networks, strict=True)
    ]
    return found, widened


def _unfit(config: TrainConfig, reason: str) -> str:
    return f"{config.start}: {reason}, so the training cannot start from it"


def _plain(level: LevelConfig) -> LevelConfig:
    return replace(level, data=False, demodulated=False)


def _of_complex(level: LevelPrior) -> LevelPrior:
    """Return a level of magnitudes with the statistics of complex images.

    A conditional level keeps the unit of its band and its condition, which are those of the real
    part without the local phase; means are zero, as of any part of an image with arbitrary phase.
    Each part of such an image has half of its mean square.
    """
    own = level.spec.statistics
    if level.conditional:
        statistics = LevelStatistics(0.0, own.std, 0.0, own.condition_std)
    else:
        statistics = LevelStatistics(0.0, float(np.sqrt((own.mean**2 + own.std**2) / 2)))
    return LevelPrior(replace(level.spec, statistics=statistics), level.networks)


def _as_complex(
    state: dict[str, Tensor], own: LevelStatistics, level: LevelPrior
) -> dict[str, Tensor]:
    """Adapt weights of a level of magnitudes to two channels.

    The real part gets the weights of the magnitude, and ``offset`` the mean of the condition, so
    that an image of phase 0 gives the magnitude's prediction as its real part, exactly. The
    regression branch begins with an imaginary part of zero. Its imaginary inputs get the real ones'
    weights with alternating signs: with weights of zero, the gradients of both would vanish on
    average, as the sign of an imaginary part is arbitrary. The U-Net ignores imaginary inputs at
    first. Its normalised layers have no zero output, so the imaginary one gets random weights.
    """
    config = level.spec.networks
    result = dict(state)
    condition = [True, False, *([True] + [False] * KNOWLEDGE if config.data else [])]
    if config.mean is not None:
        result["offset"] = torch.tensor(own.condition_mean / own.condition_std)
        signs = IMAGINARY_SHARE * (1 - 2.0 * (torch.arange(config.mean.channels) % 2))
        head = state["mean.head.weight"]
        result["mean.head.weight"] = _with_imaginary(head, condition, signs[:, None, None, None])
        for name in ("mean.tail.weight", "mean.tail.bias"):
            result[name] = torch.cat([state[name], torch.zeros_like(state[name])])
    if config.unet is not None:
        images = [True, *([*condition, True] if config.mean else []), False]
        stem, out = state["unet.stem.weight"], state["unet.out.weight"]
        result["unet.stem.weight"] = _with_imaginary(stem, images, torch.zeros(()))
        rows = torch.randn(out.shape, generator=torch.Generator().manual_seed(0))
        result["unet.out.weight"] = torch.cat([out, rows])
    return result


def _with_imaginary(weight: Tensor, images: Sequence[bool], share: Tensor) -> Tensor:
    """Add inputs of imaginary parts behind those of real parts.

    Args:
        weight: (out, inputs, 3, 3), each channel as several inputs behind a stem.
        images: whether a channel is an image, which has an imaginary part.
        share: factor of the real part's weights; broadcasts to those of one channel.
    """
    parts = []
    for part, image in zip(weight.chunk(len(images), 1), images, strict=True):
        parts += [part, share * part] if image else [part]
    return torch.cat(parts, 1)


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
