"""What one level trains on, and the batches that come of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from mrcascade.prior.level import LevelStatistics
from mrcascade.training.config import TrainConfig
from mrcascade.training.measurements import DrawnMeasurements, Measurements
from mrcascade.training.patches import Batch, PatchSource, make_batch


@dataclass(frozen=True)
class LevelData:
    """What one level trains on: patch sources, the statistics that standardise them, and the
    measurements that conditions tell of, if they do."""

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
        generator: torch.Generator,
        measured: DrawnMeasurements | None = None,
    ) -> Batch:
        """Standardised patches; ``measured`` at random where it is not given."""
        known = None
        if self.measurements is not None:
            known = partial(
                self.measurements.known,
                measured=measured or self.measurements.draw(len(raw), generator),
                std=self.own.std,
                generator=generator,
            )
        return make_batch(raw, error, self.own, self.coarser, config, generator, known)
