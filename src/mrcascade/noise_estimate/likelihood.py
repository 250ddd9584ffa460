"""The noise level at which a measured image is most likely under a learned prior."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mrcascade.named_prior import as_prior
from mrcascade.prior import LevelPrior

# Fractions of the maximum that are tried, from the largest down.
LARGEST, SMALLEST, RATIO = 0.16, 0.0008, 1.6
# Step of the finite difference that takes the denoiser's divergence, in units of the noise.
PROBE = 0.1
#: The prior whose coarsest level stands for what images look like, at any resolution. It models
#: whole images, unlike finer levels. One judge for all: noise belongs to the image, whichever
#: prior restores it.
JUDGE = "mr-small"


def most_likely_noise(slices: Sequence[np.ndarray], usable: Sequence[np.ndarray]) -> float:
    """Noise standard deviation of real slices (H, W) with 0 for no signal and 1 for the maximum;
    0 where even the smallest noise level is too large.

    Let p_s be the density of clean images with noise of standard deviation s. By the heat
    equation and Tweedie's formula

        d log p_s(y) / d log s = ||y - D||^2 / s^2 - (N - div D),    D = D(y; s),

    with the denoiser D of the prior's coarsest level. Both sides are sums over pixels, so that
    pixels which were not measured can be left out. The divergence is Hutchinson's estimate with
    one probe of random signs. Found is the largest root, which is the noise level of greatest
    likelihood: anatomy that the prior knows does not count as noise.

    Args:
        usable: (H, W) per slice, the pixels that count.
    """
    images = [torch.from_numpy(image.astype(np.float32))[None, None] for image in slices]
    level = as_prior(JUDGE).levels[-1]
    masks = [torch.from_numpy(np.asarray(mask)) for mask in usable]
    sigma, before = LARGEST, (0.0, 0.0)
    while sigma > SMALLEST:
        slope = _slope(images, masks, level, sigma)
        if slope > 0:
            above, negative = before
            if not above:
                return sigma
            share = slope / (slope - negative)
            return float(sigma * (above / sigma) ** share)
        before = sigma, slope
        sigma /= RATIO
    return 0.0


@torch.no_grad()
def _slope(
    images: Sequence[Tensor], masks: Sequence[Tensor], level: LevelPrior, sigma: float
) -> float:
    """d log p / d log sigma per value, over the pixels that count."""
    conditioned = level.condition(None, 0.0)
    signs = torch.Generator().manual_seed(0)
    total, count = 0.0, 0
    for image, mask in zip(images, masks, strict=True):
        probe = torch.randint(2, image.shape, generator=signs) * 2.0 - 1.0
        step = PROBE * sigma
        here, there = conditioned.denoise(torch.cat([image, image + step * probe]), sigma).chunk(2)
        divergence = probe * (there - here) / step
        local = (image - here).square() / sigma**2 - 1 + divergence
        total += float(local[:, :, mask].sum())
        count += int(mask.sum())
    return total / max(count, 1)
