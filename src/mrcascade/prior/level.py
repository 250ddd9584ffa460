"""Level of a cascaded prior: statistics, networks, and conversion of units."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mrcascade.networks import LevelConfig, MeanConfig, UNetConfig
from mrcascade.operators.band import KnownBand
from mrcascade.prior.denoiser import (
    ChainFeatures,
    LevelNetworks,
    condition_channels,
    known_channels,
    nothing_known,
)
from mrcascade.prior.format import number_of

# Range of statistics and noise levels, whose products and squares must fit float32.
_SMALLEST, _LARGEST = 1e-8, 1e8


@dataclass(frozen=True)
class LevelStatistics:
    """Training-set statistics of one level, in units of the robust maximum.

    ``mean`` and ``std`` belong to the band. ``condition_mean`` and ``condition_std`` belong to the
    coarser image on this grid; they are zero and one for the unconditional level.
    """

    mean: float
    std: float
    condition_mean: float = 0.0
    condition_std: float = 1.0


@dataclass(frozen=True)
class LevelSpec:
    """Entries of ``prior.json`` about one level. Noise levels are in units of the band's std.

    ``condition_error`` is the largest error level of a condition in training.
    """

    networks: LevelConfig
    statistics: LevelStatistics
    sigma_min: float = 0.02
    sigma_max: float = 80.0
    condition_error: float = 0.0
    training: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_entry(cls, entry: Mapping[str, Any]) -> LevelSpec:
        """Read an entry of ``levels`` in ``prior.json``.

        Raises AttributeError, LookupError, TypeError or ValueError for a malformed entry.
        """
        unet, mean = entry["networks"]["unet"], entry["networks"]["mean"]
        if unet is not None:
            unet = {**unet, **{key: tuple(unet[key]) for key in ("multipliers", "attention")}}
        networks = LevelConfig(
            None if unet is None else UNetConfig(**unet),
            None if mean is None else MeanConfig(**mean),
            **{key: entry["networks"].get(key, False) for key in ("data", "demodulated")},
        )
        values = {key: number_of(value) for key, value in entry["statistics"].items()}
        statistics = LevelStatistics(**values)
        if (
            not all(-_LARGEST <= value <= _LARGEST for value in values.values())
            or min(statistics.std, statistics.condition_std) < _SMALLEST
        ):
            raise ValueError(f"statistics out of range: {values}")
        spec = cls(
            networks=networks,
            statistics=statistics,
            training=dict(entry["training"]),
            **{key: number_of(entry[key]) for key in ("sigma_min", "sigma_max", "condition_error")},
        )
        if not (
            _SMALLEST <= spec.sigma_min < spec.sigma_max <= _LARGEST
            and 0 <= spec.condition_error < 1
        ):
            raise ValueError("noise levels or condition error out of range")
        return spec


@dataclass(frozen=True)
class WeightFile:
    """File of a level's weights, and its SHA-256."""

    path: Path
    sha256: str


class ConditionedLevel:
    """A level with its condition fixed, in image units.

    The regression branch has run once, unless its ``mean`` was given.
    """

    def __init__(
        self,
        level: LevelPrior,
        condition: Tensor | None,
        unknown: Callable[[Tensor], Tensor] | None = None,
        mean: Tensor | None = None,
    ) -> None:
        self._level = level
        self._condition = condition
        if mean is None:
            with torch.no_grad(), level.autocast():
                found = level.networks.conditional_mean(condition, unknown)
            self._mean = None if found is None else found.float()
        else:
            self._mean = (mean - level.spec.statistics.mean) / level.spec.statistics.std
        self._features: ChainFeatures | None = None  # until the first evaluation asks for them

    def mean(self) -> Tensor:
        """Conditional mean of the band, (N, C, H, W); a CPU scalar for the unconditional level."""
        stats = self._level.spec.statistics
        if self._mean is None:
            return torch.tensor(stats.mean, device="cpu")
        return self._mean * stats.std + stats.mean

    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        """Return ``E[band | band + sigma noise = x, condition]``, (N, C, H, W)."""
        stats = self._level.spec.statistics
        labels = x.new_full((x.shape[0],), sigma / stats.std)
        with self._level.autocast():  # differentiable, for samplers that follow a gradient
            if self._features is None:
                self._features = self._level.networks.features(self._condition, self._mean)
            out = self._level.networks.denoise((x - stats.mean) / stats.std, labels, self._features)
        return out.float() * stats.std + stats.mean


class LevelPrior:
    """A level ready for sampling, in image units: networks, statistics and noise range.

    ``precision`` of the networks' convolutions is "float32" or "bfloat16". ``stored`` is the file
    of the weights; None where they were not read from one.
    """

    def __init__(
        self,
        spec: LevelSpec,
        networks: LevelNetworks,
        precision: str = "float32",
        stored: WeightFile | None = None,
    ) -> None:
        self.spec = spec
        self.networks = networks
        self.precision = precision
        self.stored = stored

    def autocast(self) -> torch.autocast:
        """Return the context in which the networks run."""
        device = next((p.device.type for p in self.networks.parameters()), "cpu")
        return torch.autocast(device, torch.bfloat16, enabled=self.precision == "bfloat16")

    @property
    def std(self) -> float:
        """Standard deviation of the band in the training data."""
        return self.spec.statistics.std

    @property
    def sigma_max(self) -> float:
        """Largest noise level that the denoiser was trained for."""
        return self.spec.sigma_max * self.std

    @property
    def sigma_min(self) -> float:
        """Smallest noise level that the denoiser was trained for."""
        return self.spec.sigma_min * self.std

    @property
    def conditional(self) -> bool:
        """Whether the level is conditioned on a coarser image."""
        return self.spec.networks.mean is not None

    @property
    def informed(self) -> bool:
        """Whether the level is conditioned on the data's knowledge about the band."""
        return self.spec.networks.data

    def condition(
        self,
        coarse: Tensor | None,
        error: float = 0.0,
        known: KnownBand | None = None,
        mean: Tensor | None = None,
    ) -> ConditionedLevel:
        """Fix the condition.

        Args:
            coarse: coarser image on this level's grid, (N, C, H, W); None for the unconditional
                level.
            error: share ``t`` in [0, 1) of the next coarser band that the image lacks: 0 for a
                sample, larger for a mean. Values above the largest one in training are clamped.
            known: knowledge of the data about the band, for informed levels; None for nothing.
            mean: conditional mean of the band, (N, C, H, W), if it is known already. The branch
                does not run then.
        """
        if (coarse is not None) != self.conditional:
            raise ValueError("conditional levels need a condition, and others take none")
        if known is not None and not self.informed:
            raise ValueError("only informed levels take knowledge of data")
        if coarse is None:
            return ConditionedLevel(self, None)
        stats = self.spec.statistics
        standard = (coarse - stats.condition_mean) / stats.condition_std
        with torch.no_grad():
            error = min(error, self.spec.condition_error)
            if known is not None:
                channels = known_channels(known.band / stats.std, coarse.new_tensor(known.numbers))
                condition = condition_channels(standard, error, channels)
                return ConditionedLevel(self, condition, known.unknown, mean)
            nothing = nothing_known(coarse) if self.informed else None
            condition = condition_channels(standard, error, nothing)
            return ConditionedLevel(self, condition, mean=mean)
