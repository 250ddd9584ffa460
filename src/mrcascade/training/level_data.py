"""Training data of one level, and the batches made of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from torch import Tensor

from mrcascade.prior.level import LevelStatistics
from mrcascade.sampling.noise import NoiseSource
from mrcascade.training.config import TrainConfig
from mrcascade.training.measurements import DrawnMeasurements, Measurements
from mrcascade.training.patches import Batch, PatchSource, make_batch


@dataclass(frozen=True)
class LevelData:
    """Training data of one level.

    Attributes:
        train, validation: sources of patches.
        own, coarser: statistics of this level and of the next coarser one, for standardisation.
        measurements: random measurements, if conditions hold knowledge of data.
    """

    train: PatchSource
    validation: PatchSource | None
    own: LevelStatistics
    coarser: LevelStatistics | None
    measurements: Measurements | None = None

    def batch(
        self,
        raw: np.ndarray,
        error: Tensor,
        config: TrainConfig,
        noise: NoiseSource,
        measured: DrawnMeasurements | None = None,
    ) -> Batch:
        """Make a standardised batch of raw patches.

        Args:
            raw: (N, 3, C, h, w), as from ``PatchSource.raw``.
            error: (N,), error levels of the conditions.
            config: settings of the run.
            noise: noise of the N images.
            measured: measurement of each patch, if conditions hold knowledge of data.
        """
        known = None
        if self.measurements is not None:
            assert measured is not None
            known = partial(
                self.measurements.known, measured=measured, std=self.own.std, noise=noise
            )
        return make_batch(raw, error, self.own, self.coarser, config, noise, known)
