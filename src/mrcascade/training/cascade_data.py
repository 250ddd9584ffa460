"""Volumes of a training run, and the data of its levels."""

from __future__ import annotations

import hashlib

import numpy as np

from mrcascade.prior.cascade import CascadePrior
from mrcascade.prior.level import LevelStatistics
from mrcascade.training.augment import is_on
from mrcascade.training.bands import (
    SLICE_MEMORY,
    BandMemory,
    BandSlices,
    ChangedSlices,
    coarser_copies,
    level_patch,
)
from mrcascade.training.config import TrainConfig
from mrcascade.training.level_data import LevelData
from mrcascade.training.measurements import Measurements
from mrcascade.training.patches import PatchSource
from mrcascade.training.selection import slice_weights
from mrcascade.training.volume import Volume

SPECTRUM_BINS = 48


class CascadeData:
    """Volumes of a run, and the training data of every level."""

    def __init__(
        self,
        volumes: list[Volume],
        config: TrainConfig,
        start: CascadePrior | None = None,
        slice_memory: int = SLICE_MEMORY,
    ) -> None:
        """Split the volumes and add coarser copies.

        Args:
            volumes: training and validation volumes.
            config: settings of the run.
            start: prior with the initial weights; its networks require its statistics.
            slice_memory: bytes of bands that a source of patches keeps in memory.
        """
        self.config = config
        self._slice_memory = slice_memory
        self.train = [v for v in volumes if v.split == "train" and len(v.slices)]
        self.shown = self.train + coarser_copies(self.train, config)
        self.validation = [v for v in volumes if v.split == "val" and len(v.slices)]
        levels = enumerate(start.levels if start else [], start=1)
        self._statistics = {i: level.spec.statistics for i, level in levels}

    def source(self, volumes: list[Volume], level: int, changing: bool = False) -> PatchSource:
        """Return the source of patches on the grid of ``level``.

        changing: whether slices are changed at random, as set by ``config``.
        """
        config, memory = self.config, BandMemory(self._slice_memory)
        given = volumes, level, config, memory
        changed = ChangedSlices(*given) if changing and is_on(config) else None
        weights = slice_weights(volumes, config.anatomy_balance, config.contrast_balance)
        return PatchSource(BandSlices(*given), weights, level, config, changed)

    def statistics(self, level: int, source: PatchSource | None = None) -> LevelStatistics:
        """Return statistics of ``level`` over random training patches, the same in every run."""
        if level not in self._statistics:
            source = source or self.source(self.shown, level, changing=True)
            rng = np.random.default_rng([self.config.seed, level, 1])
            self._statistics[level] = source.statistics(rng)
        return self._statistics[level]

    def level(self, level: int) -> LevelData:
        """Return the training data of ``level``."""
        train = self.source(self.shown, level, changing=True)
        coarser = self.statistics(level + 1) if level < self.config.levels else None
        validation = self.source(self.validation, level) if self.validation else None
        measurements = None
        if self.config.networks[level - 1].data:
            measurements = Measurements(level, level_patch(level, self.config), self.config)
        own = self.statistics(level, train)
        return LevelData(train, validation, own, coarser, measurements)

    def identity(self) -> str:
        """Return a digest of the settings and of the names and sizes of all images."""
        images = [(v.file, v.split, v.sha256, v.slices.shape) for v in self.shown + self.validation]
        return hashlib.sha256(repr((self.config, images)).encode()).hexdigest()

    def spectrum(self) -> list[float]:
        """Return the radial power spectral density of the training slices, see ``CascadePrior``.

        For complex slices it is the mean over real and imaginary parts.
        """
        total, count = np.zeros(SPECTRUM_BINS), np.zeros(SPECTRUM_BINS)
        for volume in self.train:
            reference = next(iter(volume.scales.values()))
            weight = 1 / np.sqrt(len(volume.slices))
            for image in volume.slices:
                power = np.abs(np.fft.fft2(image / reference)) ** 2 / (image.size * volume.channels)
                fr, fc = (np.fft.fftfreq(n) for n in image.shape)
                radius = np.hypot(fr[:, None], fc[None]) / np.sqrt(0.5)
                bins = np.minimum((radius * SPECTRUM_BINS).astype(int), SPECTRUM_BINS - 1).ravel()
                total += weight * np.bincount(bins, power.ravel(), SPECTRUM_BINS)
                count += weight * np.bincount(bins, minlength=SPECTRUM_BINS)
        known = np.flatnonzero(count)  # small images leave bins empty
        return list(np.interp(np.arange(SPECTRUM_BINS), known, total[known] / count[known]))
