"""Random numbers of training batches, which depend on the number of an image in its run."""

from __future__ import annotations

import numpy as np
import torch

from mrcascade.sampling.noise import NoiseSource, image_seed
from mrcascade.training.config import TrainConfig
from mrcascade.training.patches import PatchSource


class StepDraws:
    """Random numbers of one step, for a part of its batch.

    The patch and the noise of an image depend on seed, level and the number of the image. Numbers
    of which a batch has fixed shares (noise levels, condition errors, measurements) are drawn for
    the whole batch, from ``generator``, and depend on the number of its first image. So the parts
    of a batch are the same, however many processes share it.

    Attributes:
        generator: generator of the whole batch.
        noise: noise of the images of the part.
        part: images of the batch that are drawn.
    """

    def __init__(self, level: int, config: TrainConfig, first: int, part: slice) -> None:
        """Make the generators.

        Args:
            level: level in training.
            config: settings of the run.
            first: number of the batch's first image.
            part: see the attributes.
        """
        self._key, self.part = (config.seed, level), part
        self._images = range(first + part.start, first + part.stop)
        self.generator = torch.Generator().manual_seed(image_seed(config.seed, level, first, 1))
        self.noise = NoiseSource([image_seed(config.seed, level, i) for i in self._images])

    def patches(self, source: PatchSource) -> np.ndarray:
        """Return a patch for each image of the part, (N, 3, C, patch, patch)."""
        seed, level = self._key
        keys = [np.random.SeedSequence(seed, spawn_key=(level, i)) for i in self._images]
        pairs = zip(keys, self._images, strict=True)
        return np.stack([source.draw(np.random.default_rng(key), i) for key, i in pairs])
