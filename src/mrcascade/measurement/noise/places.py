"""Masks of the pixels that were measured, and of the air around the body."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Largest number of slices that an estimate reads; more take time and hardly improve it.
MOST_SLICES = 32
# Side in pixels of the square over which intensities are averaged before air is separated.
SMOOTHED = 5
# The body exceeds this share of the way from the darkest to the brightest places. MARGIN pixels
# around it belong to it, as its edges ring there.
BODY, MARGIN = 0.15, 3
DARKEST, BRIGHTEST = 0.02, 0.99  # quantiles
# Second difference, taken along both axes (Immerkaer 1996). It removes planes, and edges along an
# axis with their ringing. Divided by its norm it keeps the deviation of white noise.
DIFFERENCE = np.array([1.0, -2.0, 1.0])
MAD_TO_STD = 0.6744897501960817  # the standard normal's 75 % quantile


@dataclass(frozen=True)
class Places:
    """Measured pixels and air of some slices.

    Attributes:
        usable: mask (H, W) per slice of the pixels that were measured, not filled in.
        air: mask (H, W) per slice of the air; it may be empty.
        dark, bright: `DARKEST` and `BRIGHTEST` quantile of the smoothed slices, by magnitude if
            complex; 0 if nothing was measured.
        least: smallest value of the smoothed slices.
    """

    usable: list[np.ndarray]
    air: list[np.ndarray]
    dark: float
    bright: float
    least: float


def slices_for_noise(count: int) -> list[int]:
    """Return the indices of slices that an estimate reads: all, or `MOST_SLICES` evenly spread."""
    chosen = np.linspace(0, count - 1, min(count, MOST_SLICES))
    return [int(i) for i in chosen.round()]


def find_places(slices: Sequence[np.ndarray]) -> Places:
    """Find the measured pixels and the air of real or complex slices (H, W).

    Constant patches (padding, a masked background) count as not measured.
    """
    usable = [~_near_constant(image) for image in slices]
    smooth = [_smoothed(magnitude(image)) for image in slices]
    known = np.concatenate([s[u] for s, u in zip(smooth, usable, strict=True)])
    if not known.size:
        return Places(usable, usable, 0.0, 0.0, 0.0)
    dark, bright = (float(v) for v in np.quantile(known, [DARKEST, BRIGHTEST]))
    air = [
        u & ~_grown(s > dark + BODY * (bright - dark), MARGIN) & _inside(s.shape)
        for s, u in zip(smooth, usable, strict=True)
    ]
    return Places(usable, air, dark, bright, float(known.min()))


def magnitude(image: np.ndarray) -> np.ndarray:
    """Return the magnitude of a complex image, and a real one unchanged."""
    return np.abs(image) if np.iscomplexobj(image) else image


def white_noise(slices: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> float:
    """Return the standard deviation of white noise in masked pixels of real slices (H, W).

    It is the median absolute second difference, which anatomy hardly affects.
    """
    pairs = zip(slices, masks, strict=True)
    differences = np.concatenate([_difference(image)[mask] for image, mask in pairs])
    return float(np.median(np.abs(differences))) / MAD_TO_STD


def constant_patches(image: np.ndarray) -> np.ndarray:
    """Return a mask (H, W) of the centres of 3 x 3 patches with equal values."""
    from scipy.ndimage import maximum_filter, minimum_filter

    real = magnitude(image)
    return np.asarray(maximum_filter(real, 3) == minimum_filter(real, 3))


def _near_constant(image: np.ndarray) -> np.ndarray:
    """Return a mask of constant patches and of the pixels that smoothing mixes with them."""
    return _grown(constant_patches(image), 1 + SMOOTHED // 2)


def _difference(image: np.ndarray) -> np.ndarray:
    from scipy.ndimage import convolve1d

    rows = convolve1d(image, DIFFERENCE, axis=0)
    return convolve1d(rows, DIFFERENCE, axis=1) / (DIFFERENCE**2).sum()


def _smoothed(image: np.ndarray) -> np.ndarray:
    from scipy.ndimage import uniform_filter

    result: np.ndarray = uniform_filter(image.astype(np.float64), SMOOTHED)
    return result


def _grown(mask: np.ndarray, pixels: int) -> np.ndarray:
    from scipy.ndimage import maximum_filter

    result: np.ndarray = maximum_filter(mask, 2 * pixels + 1)
    return result


def _inside(shape: tuple[int, ...]) -> np.ndarray:
    """Return a mask of all but the outermost pixels, whose differences use mirrored values."""
    mask = np.zeros(shape, bool)
    mask[1:-1, 1:-1] = True
    return mask
