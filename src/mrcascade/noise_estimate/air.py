"""Where the air is in a stack of slices, and how the noise shows there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Side of the square over which intensities are averaged before air is told from the body.
SMOOTHED = 5
# The body is what exceeds this share of the way from the darkest to the brightest places, with
# `MARGIN` pixels around it, where the body's edges ring.
BODY, MARGIN = 0.15, 3
DARKEST, BRIGHTEST = 0.02, 0.99
# Fewer pixels of air give a median absolute deviation that is off by more than some 10 %.
FEWEST = 300
# Darker than this share of the brightest places is air; what is not may be faint tissue.
DARK = 0.03
# Magnitudes have next to no values below zero; noise of a signed image has them everywhere.
NEGATIVE = 1e-3
# Air this many noise deviations from zero is no noise around zero: the image has an offset.
OFFSET = 6.0
MAD_TO_STD = 0.6744897501960817  # the standard normal's 75 % quantile
# A second difference along both axes (Immerkaer 1996). It removes planes, and edges that run
# along an axis with all of their ringing; white noise keeps its standard deviation.
DIFFERENCE = np.array([1.0, -2.0, 1.0])
# From this ratio of mean to standard deviation on, a Rician distribution is a normal one to 6 %.
NORMAL_RATIO = 3.0


@dataclass(frozen=True)
class Air:
    """What the air around the body says.

    Attributes:
        zero: the value that stands for no signal; 0 but for images with an offset.
        noise: standard deviation of the noise in the body, in the units of the image, by magnitudes
            of noise alone; None where there are none.
        share: of the pixels that are air; 0 where they are too few, or too bright, to tell much.
        usable: masks (H, W) per slice of all pixels that were measured, not filled in.
    """

    zero: float
    noise: float | None
    share: float
    usable: list[np.ndarray]


def survey_air(slices: Sequence[np.ndarray]) -> Air:
    """Find the air of real or complex slices (H, W) and read the noise off it.

    Constant patches (padding, a masked background) were not measured and do not count. Noise of
    magnitude images follows a Rayleigh distribution where there is no signal; the ratio of mean
    to standard deviation tells how much signal there is, and the noise of the two parts with it
    (Koay and Basser 2006). Where that ratio is as in a normal distribution, and in signed and
    complex images, noise is the same in air and body, and ``noise`` is left to others.
    """
    usable = [~_constant(image) for image in slices]
    smooth = [_smoothed(np.abs(s) if np.iscomplexobj(s) else s) for s in slices]
    known = np.concatenate([s[u] for s, u in zip(smooth, usable, strict=True)])
    if not known.size:
        return Air(0.0, None, 0.0, usable)
    dark, bright = np.quantile(known, [DARKEST, BRIGHTEST])
    masks = [
        u & ~_grown(s > dark + BODY * (bright - dark), MARGIN) & _inside(s.shape)
        for s, u in zip(smooth, usable, strict=True)
    ]
    pairs = list(zip(slices, masks, strict=True))
    values = np.concatenate([image[mask] for image, mask in pairs])
    zero = 0.0 if np.iscomplexobj(values) else _zero(values, known, (dark, bright))
    if values.size < FEWEST:
        return Air(zero, None, 0.0, usable)
    level = float(np.median(np.abs(values - zero)))
    dim = level < DARK * float(bright - zero)
    share = values.size / sum(image.size for image in slices) if dim else 0.0
    if np.iscomplexobj(values):
        return Air(zero, None, share, usable)
    differences = np.concatenate([_difference(image)[mask] for image, mask in pairs])
    spread = float(np.median(np.abs(differences))) / MAD_TO_STD
    if (values < zero).mean() > NEGATIVE or spread == 0:
        return Air(zero, None, share, usable)
    ratio = float(np.median(values) - zero) / spread
    noise = spread / rician_spread(ratio) if ratio < NORMAL_RATIO else None
    return Air(zero, noise, share, usable)


def rician_spread(ratio: float) -> float:
    """Standard deviation of a Rician magnitude in units of that of the noise in each part, by the
    ratio of its mean to its standard deviation; that of a Rayleigh distribution where the ratio
    is smaller than there (Koay and Basser 2006, J. Magn. Reson. 179, 317)."""
    from scipy.stats import rice

    signal = np.linspace(0.0, 8.0, 161)
    mean, variance = rice.stats(signal)
    std = np.sqrt(variance)
    return float(np.interp(ratio, mean / std, std))


def _zero(air: np.ndarray, known: np.ndarray, ends: tuple[float, float]) -> float:
    """The value of no signal: 0, unless the air lies far below it or the whole image above it."""
    if not air.size:
        return 0.0
    level, spread = np.median(air), np.median(np.abs(air - np.median(air))) / MAD_TO_STD
    dark, bright = ends
    below = level < -OFFSET * spread
    above = dark > BODY * bright and known.min() > BODY * bright
    return float(air.min()) if below or above else 0.0


def _difference(image: np.ndarray) -> np.ndarray:
    from scipy.ndimage import convolve1d

    rows = convolve1d(image, DIFFERENCE, axis=0)
    return convolve1d(rows, DIFFERENCE, axis=1) / (DIFFERENCE**2).sum()


def _smoothed(image: np.ndarray) -> np.ndarray:
    from scipy.ndimage import uniform_filter

    result: np.ndarray = uniform_filter(image.astype(np.float64), SMOOTHED)
    return result


def _constant(image: np.ndarray) -> np.ndarray:
    """Patches of 3 x 3 equal values, and the pixels that see them when they are smoothed."""
    from scipy.ndimage import maximum_filter, minimum_filter

    real = np.abs(image) if np.iscomplexobj(image) else image
    return _grown(maximum_filter(real, 3) == minimum_filter(real, 3), 1 + SMOOTHED // 2)


def _grown(mask: np.ndarray, pixels: int) -> np.ndarray:
    from scipy.ndimage import maximum_filter

    result: np.ndarray = maximum_filter(mask, 2 * pixels + 1)
    return result


def _inside(shape: tuple[int, ...]) -> np.ndarray:
    """All but the outermost pixels, whose differences see a mirrored image."""
    mask = np.zeros(shape, bool)
    mask[1:-1, 1:-1] = True
    return mask
