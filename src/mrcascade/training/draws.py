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
        images: their numbers in the run.
        key: seed and level, which with the number of an image determine its patch.
    """

    def __init__(self, level: int, config: TrainConfig, first: int, part: slice) -> None:
        """Make the generators.

        Args:
            level: level in training.
            config: settings of the run.
            first: number of the batch's first image.
            part: see the attributes.
        """
        self.key, self.part = (config.seed, level), part
        self.images = range(first + part.start, first + part.stop)
        self.generator = torch.Generator().manual_seed(image_seed(config.seed, level, first, 1))
        self.noise = NoiseSource([image_seed(config.seed, level, i) for i in self.images])

    def patch(self, source: PatchSource, image: int) -> np.ndarray:
        """Draw the patch of an image of the run, (3, C, patch, patch)."""
        seed, level = self.key
        key = np.random.SeedSequence(seed, spawn_key=(level, image))
        return source.draw(np.random.default_rng(key), image)
