"""Random patches of the bands of training slices, with conditioning augmentation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mrcascade.errors import MRCascadeError
from mrcascade.operators import kernel_named, upsampler
from mrcascade.prior.denoiser import condition_channels
from mrcascade.prior.level import LevelStatistics
from mrcascade.sampling.noise import NoiseSource
from mrcascade.training.bands import BandSlice, ChangedSlices, level_patch
from mrcascade.training.config import TrainConfig
from mrcascade.training.measurements import Unknown

CONTENT = 0.06  # a patch whose mean magnitude is below this is mostly air
RETRIES = 4
STATISTICS_PATCHES = 4096


@dataclass(frozen=True)
class Batch:
    """Standardised training batch.

    Attributes:
        band: (N, C, H, W).
        condition: (N, C + 1, H, W), or more channels with knowledge of data; None for the
            unconditional level.
        unknown: map to the undetermined part of a band; None for conditions without data.
    """

    band: Tensor
    condition: Tensor | None
    unknown: Unknown | None = None

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        condition = None if self.condition is None else self.condition.to(device)
        unknown = None if self.unknown is None else self.unknown.to(device)
        return Batch(self.band.to(device), condition, unknown)


class PatchSource:
    """Source of random augmented patches; all randomness comes from the generators passed in."""

    def __init__(
        self,
        slices: Sequence[BandSlice],
        weights: np.ndarray,
        level: int,
        config: TrainConfig,
        changed: ChangedSlices | None = None,
    ) -> None:
        """Prepare drawing.

        Args:
            slices: slices on the level's grid.
            weights: probability of each slice.
            level: the level.
            config: settings of the run.
            changed: random changes of the slices, if any.
        """
        if len(slices) != len(weights):
            raise MRCascadeError("every slice needs a sampling weight")
        self.level = level
        self.config = config
        self.patch = level_patch(level, config)
        self._slices = slices
        self._cumulative = np.cumsum(weights)
        self._changed = changed
        # If coarse samples lie between pixels, bands depend on whether the grid begins at an even
        # or an odd pixel: an odd offset changes a tenth of a band's energy per axis.
        between = kernel_named(config.kernel).origin == "edges"
        blocks = between and level < config.levels
        self._grid = config.step if blocks else 1

    def raw(self, count: int, rng: np.random.Generator, drawn: int = 0) -> np.ndarray:
        """Draw patches with random flips, rotations, intensity jitter and (if complex) phase.

        Args:
            count: number of patches.
            rng: random generator.
            drawn: number of patches drawn before.

        Returns:
            (count, 3, C, patch, patch).
        """
        return np.stack([self.draw(rng, drawn + n) for n in range(count)])

    def draw(self, rng: np.random.Generator, number: int) -> np.ndarray:
        """Draw one patch, (3, C, patch, patch); ``number`` patches were drawn before."""
        for _ in range(RETRIES):
            index = int(np.searchsorted(self._cumulative, rng.random() * self._cumulative[-1]))
            item = self._slice(min(index, len(self._slices) - 1), number)
            i, j = (self._offset(n, rng) for n in item.stack.shape[-2:])
            patch = item.stack[..., i : i + self.patch, j : j + self.patch]
            coarse = patch[0] if self.level == self.config.levels else patch[1] + patch[2]
            if np.linalg.norm(coarse, axis=0).mean() > CONTENT:
                break
        turns, flip = int(rng.integers(4)), bool(rng.integers(2))
        patch = np.rot90(patch, turns, (-2, -1))
        patch = patch[..., ::-1] if flip else patch
        if patch.shape[1] == 2:
            patch = _with_other_phase(patch, rng.uniform(0, 2 * np.pi), bool(rng.integers(2)))
        jitter = np.exp(rng.uniform(-1, 1) * self.config.scale_jitter)
        return patch * np.float32(item.scales[rng.integers(len(item.scales))] * jitter)

    def _slice(self, index: int, number: int) -> BandSlice:
        changed = None if self._changed is None else self._changed.at(index, number)
        return self._slices[index] if changed is None else changed

    def _offset(self, side: int, rng: np.random.Generator) -> int:
        """Draw the start of a patch on an axis, at a block of the coarser grid if it has blocks."""
        return self._grid * int(rng.integers((side - self.patch) // self._grid + 1))

    def statistics(self, rng: np.random.Generator) -> LevelStatistics:
        """Return mean and standard deviation of band and condition over random patches."""
        raw = self.raw(STATISTICS_PATCHES, rng)
        band, condition = raw[:, 0], raw[:, 1] + raw[:, 2]
        means = float(band.mean()), float(condition.mean())
        if raw.shape[2] == 2:
            means = 0.0, 0.0  # with arbitrary phase, a sample mean is only noise
        if self.level == self.config.levels:
            return LevelStatistics(means[0], float(band.std()))
        # Bands have mean 0 by construction, for every kernel.
        return LevelStatistics(0.0, float(band.std()), means[1], float(condition.std()))


def _with_other_phase(patch: np.ndarray, angle: float, conjugate: bool) -> np.ndarray:
    """Multiply a complex patch (3, 2, h, w) by ``exp(i angle)``, optionally conjugated before.

    The phase of an MR image is arbitrary up to a constant, and its sign is a convention. Bands and
    conditions follow their image, because the pyramid treats both parts alike.
    """
    values = patch[:, 0] + (-1j if conjugate else 1j) * patch[:, 1]
    values = values * np.complex64(np.exp(1j * angle))
    return np.stack([values.real, values.imag], 1)


def make_batch(
    raw: np.ndarray,
    error: Tensor,
    own: LevelStatistics,
    coarser: LevelStatistics | None,
    config: TrainConfig,
    noise: NoiseSource,
    known: Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Unknown]] | None = None,
) -> Batch:
    """Standardise patches and degrade their conditions by the error levels ``error`` (N,).

    The degraded condition imitates the result of a coarser level. Noise of standard deviation
    ``s = coarse_std t / sqrt(1 - t^2)`` is added to the next coarser band *before* ``up``
    (conditioning augmentation, Ho et al. 2022), and the noisy band is shrunk by its Wiener factor
    ``1 - t^2``. The condition thus ranges from the true band (t = 0) to none of it (t = 1). In
    between it resembles a posterior mean: too smooth, and partly wrong. ``t^2`` is the missing
    share of the band's energy, and the networks get ``t``.

    Args:
        raw: (N, 3, C, h, w), patches.
        error: (N,), error levels t.
        own: statistics of the level.
        coarser: statistics of the next coarser level; None for the unconditional level.
        config: settings of the run.
        noise: noise of the N images.
        known: maps the image and the coarser image (N, C, h, w) to the knowledge of the data
            (`Measurements.known`); None for conditions without data.
    """
    patches = torch.from_numpy(np.ascontiguousarray(raw))
    band = (patches[:, 0] - own.mean) / own.std
    if coarser is None:
        return Batch(band, None)
    t = error[:, None, None, None]
    n, c, h, w = band.shape
    coarse_shape = (-(-h // config.step), -(-w // config.step))
    up = upsampler(config.kernel, (h, w), coarse_shape)
    coarse_noise = up(noise.randn((n, c, *coarse_shape)))
    deviation = coarser.std * t / (1 - t**2).sqrt()
    noisy = patches[:, 2] - coarser.mean + deviation * coarse_noise
    condition = patches[:, 1] + coarser.mean + (1 - t**2) * noisy
    data, unknown = None, None
    if known is not None:
        condition, data, unknown = known(patches.sum(1), condition)
    condition = (condition - own.condition_mean) / own.condition_std
    return Batch(band, condition_channels(condition, error, data), unknown)
