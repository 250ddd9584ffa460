"""Noise level at which a measured image is most likely under a learned prior."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mrcascade.prior.level import LevelPrior
from mrcascade.prior.named import as_prior

# Noise levels that are tried, as shares of the maximum: FIRST, then up or down by RATIO each.
FIRST, RATIO = 0.01, 1.6
LARGEST, SMALLEST = 0.3, 0.0008
# Step of the finite difference for the denoiser's divergence, in units of the noise.
PROBE = 0.1
TINY = 1e-9  # keeps the logarithm finite
#: Prior whose coarsest level judges every image, at any resolution, as it models whole images and
#: not bands. The noise is a fact about the image, so it must not depend on the prior that restores.
JUDGE = "mr-small"


def most_likely_noise(slices: Sequence[np.ndarray], usable: Sequence[np.ndarray]) -> float:
    """Return the noise standard deviation of the largest likelihood.

    Let p_s be the density of clean images with noise of standard deviation s. By the heat
    equation and Tweedie's formula

        d log p_s(y) / d log s = ||y - D||^2 / s^2 - (N - div D),    D = D(y; s),

    with the denoiser D of the prior's coarsest level. The likelihood is largest where the
    derivative falls through zero, so anatomy that the prior knows does not count as noise. Both
    sides are sums over pixels, so pixels that were not measured can be left out. The divergence
    is Hutchinson's estimate with one probe of random signs.

    Args:
        slices: (H, W) each, real, with 0 for no signal and 1 for the maximum.
        usable: mask (H, W) per slice of the pixels that count.

    Returns:
        The standard deviation as a share of the maximum; 0 where even `SMALLEST` is too large.
    """
    images = [torch.from_numpy(image.astype(np.float32))[None, None] for image in slices]
    level = as_prior(JUDGE).levels[-1]
    masks = [torch.from_numpy(np.asarray(mask)) for mask in usable]
    sigma, excess = FIRST, _excess(images, masks, level, FIRST)
    rising = excess > 0  # the noise is larger than the level tried
    while SMALLEST < sigma < LARGEST:
        last, before = sigma, excess
        sigma = last * RATIO if rising else last / RATIO
        excess = _excess(images, masks, level, sigma)
        if (excess > 0) != rising:
            return float(last * (sigma / last) ** (before / (before - excess)))
    return LARGEST if rising else 0.0


@torch.no_grad()
def _excess(
    images: Sequence[Tensor], masks: Sequence[Tensor], level: LevelPrior, sigma: float
) -> float:
    """Return log(||y - D||^2 / (sigma^2 (N - div D))), which has the sign of the derivative.

    As a function of log sigma it is nearly a line, so it interpolates well: its slope is -2 where
    the prior knows the image exactly, and flatter elsewhere.
    """
    conditioned = level.condition(None, 0.0)
    signs = torch.Generator().manual_seed(0)
    removed, free = 0.0, 0.0
    for image, mask in zip(images, masks, strict=True):
        probe = torch.randint(2, image.shape, generator=signs, device="cpu") * 2.0 - 1.0
        step = PROBE * sigma
        here, there = conditioned.denoise(torch.cat([image, image + step * probe]), sigma).chunk(2)
        divergence = probe * (there - here) / step
        removed += float((image - here).square()[:, :, mask].sum()) / sigma**2
        free += float((1 - divergence)[:, :, mask].sum())
    # Where little is removed, a probe's divergence may exceed the number of pixels.
    return math.log(max(removed, TINY) / max(free, TINY))
