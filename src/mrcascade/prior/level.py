"""One level of a cascaded prior: its statistics, its networks and the units in between."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mrcascade.networks import LevelConfig
from mrcascade.operators.band import KnownBand
from mrcascade.prior.denoiser import (
    LevelNetworks,
    condition_channels,
    known_channels,
    nothing_known,
)


@dataclass(frozen=True)
class LevelStatistics:
    """Training-set statistics of one level, in units of the robust maximum.

    ``mean`` and ``std`` of the band; ``condition_mean`` and ``condition_std`` of the coarser
    image brought to this grid (zero and one for the unconditional level).
    """

    mean: float
    std: float
    condition_mean: float = 0.0
    condition_std: float = 1.0


@dataclass(frozen=True)
class LevelSpec:
    """What ``prior.json`` says about one level. Noise levels are in units of the band's std.

    ``condition_error`` is the largest error level of a condition that the training showed.
    """

    networks: LevelConfig
    statistics: LevelStatistics
    sigma_min: float = 0.02
    sigma_max: float = 80.0
    condition_error: float = 0.0
    training: Mapping[str, Any] = field(default_factory=dict)


class ConditionedLevel:
    """A level with its condition fixed; the regression branch has run once. Image units."""

    def __init__(
        self,
        level: LevelPrior,
        condition: Tensor | None,
        unknown: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self._level = level
        self._condition = condition
        with torch.no_grad(), level.autocast():
            mean = level.networks.conditional_mean(condition, unknown)
        self._mean = None if mean is None else mean.float()

    def mean(self) -> Tensor:
        """Conditional mean of the band, (N, C, H, W); () on the CPU for the unconditional level."""
        stats = self._level.spec.statistics
        if self._mean is None:
            return torch.tensor(stats.mean, device="cpu")
        return self._mean * stats.std + stats.mean

    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        """``E[band | band + sigma noise = x, condition]`` for (N, C, H, W)."""
        stats = self._level.spec.statistics
        labels = x.new_full((x.shape[0],), sigma / stats.std)
        with self._level.autocast():  # differentiable, for samplers that follow a gradient
            out = self._level.networks(
                (x - stats.mean) / stats.std, labels, self._condition, self._mean
            )
        return out.float() * stats.std + stats.mean


class LevelPrior:
    """One level ready for sampling: folded networks, statistics, noise range. Image units.

    ``precision`` is that of the networks' convolutions, "float32" or "bfloat16".
    """

    def __init__(
        self, spec: LevelSpec, networks: LevelNetworks, precision: str = "float32"
    ) -> None:
        self.spec = spec
        self.networks = networks
        self.precision = precision

    def autocast(self) -> torch.autocast:
        """The context in which the networks run."""
        device = next((p.device.type for p in self.networks.parameters()), "cpu")
        return torch.autocast(device, torch.bfloat16, enabled=self.precision == "bfloat16")

    @property
    def std(self) -> float:
        """Standard deviation of the band in the training data."""
        return self.spec.statistics.std

    @property
    def sigma_max(self) -> float:
        return self.spec.sigma_max * self.std

    @property
    def sigma_min(self) -> float:
        return self.spec.sigma_min * self.std

    @property
    def conditional(self) -> bool:
        return self.spec.networks.mean is not None

    @property
    def informed(self) -> bool:
        """Whether the condition takes what data know of the band."""
        return self.spec.networks.data

    def condition(
        self, coarse: Tensor | None, error: float = 0.0, known: KnownBand | None = None
    ) -> ConditionedLevel:
        """Fix the condition: the coarser image on this level's grid, (N, C, H, W).

        ``error`` is the share ``t`` in [0, 1) of the next coarser band that the image lacks
        (0 for a sample, larger for a mean), at most what the training showed; the unconditional
        level takes None. ``known`` is what data know of the band, for an informed level alone;
        None where that is nothing.
        """
        if (coarse is not None) != self.conditional:
            raise ValueError("a condition is given exactly where the level is conditional")
        if known is not None and not self.informed:
            raise ValueError("data are given to informed levels alone")
        if coarse is None:
            return ConditionedLevel(self, None)
        stats = self.spec.statistics
        standard = (coarse - stats.condition_mean) / stats.condition_std
        with torch.no_grad():
            error = min(error, self.spec.condition_error)
            if known is not None:
                channels = known_channels(known.band / stats.std, coarse.new_tensor(known.numbers))
                condition = condition_channels(standard, error, channels)
                return ConditionedLevel(self, condition, known.unknown)
            nothing = nothing_known(coarse) if self.informed else None
            return ConditionedLevel(self, condition_channels(standard, error, nothing))
