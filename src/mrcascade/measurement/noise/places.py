"""Where slices were measured, and which of those places are dark: the air around the body."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# More slices than these sharpen an estimate no further, and take time.
MOST_SLICES = 32
# Side of the square over which intensities are averaged before air is told from the body.
SMOOTHED = 5
# The body is what exceeds this share of the way from the darkest to the brightest places, with
# `MARGIN` pixels around it, where the body's edges ring.
BODY, MARGIN = 0.15, 3
DARKEST, BRIGHTEST = 0.02, 0.99
# A second difference along both axes (Immerkaer 1996). It removes planes, and edges that run
# along an axis with all of their ringing; white noise keeps its standard deviation.
DIFFERENCE = np.array([1.0, -2.0, 1.0])
MAD_TO_STD = 0.6744897501960817  # the standard normal's 75 % quantile


@dataclass(frozen=True)
class Places:
    """The air of slices, if they have any.

    Attributes:
        usable: masks (H, W) per slice of all pixels that were measured, not filled in.
        air: masks (H, W) per slice of the air.
        dark, bright: values of the darkest and brightest places; 0 where nothing was measured.
        least: value of the very darkest place.
    """

    usable: list[np.ndarray]
    air: list[np.ndarray]
    dark: float
    bright: float
    least: float


def slices_for_noise(count: int) -> list[int]:
    """Which of ``count`` slices an estimate looks at: all, or `MOST_SLICES` evenly spread ones."""
    chosen = np.linspace(0, count - 1, min(count, MOST_SLICES))
    return [int(i) for i in chosen.round()]


def find_places(slices: Sequence[np.ndarray]) -> Places:
    """Find the air of real or complex slices (H, W).

    Constant patches (padding, a masked background) were not measured and do not count.
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
    """The magnitude of a complex image; a real one as it is."""
    return np.abs(image) if np.iscomplexobj(image) else image


def white_noise(slices: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> float:
    """Standard deviation of white noise in masked pixels of real slices, by their second
    differences, which anatomy hardly has; robust against some that are large."""
    pairs = zip(slices, masks, strict=True)
    differences = np.concatenate([_difference(image)[mask] for image, mask in pairs])
    return float(np.median(np.abs(differences))) / MAD_TO_STD


def constant_patches(image: np.ndarray) -> np.ndarray:
    """Mask (H, W) of the centres of 3 x 3 equal values."""
    from scipy.ndimage import maximum_filter, minimum_filter

    real = magnitude(image)
    return np.asarray(maximum_filter(real, 3) == minimum_filter(real, 3))


def _near_constant(image: np.ndarray) -> np.ndarray:
    """Constant patches, and the pixels that see them when they are smoothed."""
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
    """All but the outermost pixels, whose differences see a mirrored image."""
    mask = np.zeros(shape, bool)
    mask[1:-1, 1:-1] = True
    return mask
