"""Noise estimated from the air around the body."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mrcascade.measurement.noise.places import BODY, MAD_TO_STD, Places, find_places, white_noise

# Smallest number of pixels of air; with fewer, the median absolute deviation errs by over 10 %.
FEWEST = 300
# Largest level of air as a share of the brightest places; what exceeds it may be faint tissue.
DARK = 0.03
# Largest share of values below no signal in a magnitude image; signed noise has them everywhere.
NEGATIVE = 1e-3
# Places more than this many noise deviations below 0 are dark tissue of a signed image.
FAR = 6.0
# Above this ratio of mean to standard deviation, Rician and normal spread agree to 6 %.
NORMAL_RATIO = 3.0


@dataclass(frozen=True)
class Air:
    """Facts from the air around the body.

    Attributes:
        floor: value of the darkest places where these are far from 0, as without air; else 0.
            The prior that judges the noise knows images whose darkest places are 0.
        noise: standard deviation of the noise in the body, in the units of the image; None where
            no magnitudes of pure noise show it.
        share: share of the pixels that are air; 0 where these are too few or too bright.
        usable: mask (H, W) per slice of the pixels that were measured, not filled in.
    """

    floor: float
    noise: float | None
    share: float
    usable: list[np.ndarray]


def survey_air(slices: Sequence[np.ndarray]) -> Air:
    """Find the air in slices (H, W) with 0 for no signal, and estimate the noise from it.

    The noise of a magnitude image follows a Rayleigh distribution where there is no signal. With
    some signal it is Rician, and the ratio of mean to standard deviation gives the noise of the
    real and imaginary parts (Koay and Basser 2006). ``noise`` is None where that ratio is large,
    and for signed and complex images. Their noise is the same in air and body.

    Args:
        slices: (H, W) each, real or complex, of one volume.
    """
    places = find_places(slices)
    values = np.concatenate([i[m] for i, m in zip(slices, places.air, strict=True)])
    floor = 0.0 if np.iscomplexobj(values) else _floor(values, places)
    if values.size < FEWEST:
        return Air(floor, None, 0.0, places.usable)
    level = float(np.median(np.abs(values - floor)))
    dim = level < DARK * (places.bright - floor)
    share = values.size / sum(image.size for image in slices) if dim else 0.0
    if np.iscomplexobj(values):
        return Air(floor, None, share, places.usable)
    spread = white_noise(slices, places.air)
    if (values < floor).mean() > NEGATIVE or spread == 0:
        return Air(floor, None, share, places.usable)
    ratio = float(np.median(values) - floor) / spread
    noise = spread / rician_spread(ratio) if ratio < NORMAL_RATIO else None
    return Air(floor, noise, share, places.usable)


def _floor(air: np.ndarray, places: Places) -> float:
    if not air.size:
        return 0.0
    level, spread = np.median(air), np.median(np.abs(air - np.median(air))) / MAD_TO_STD
    above = places.dark > BODY * places.bright and places.least > BODY * places.bright
    return float(air.min()) if level < -FAR * spread or above else 0.0


def rician_spread(ratio: float) -> float:
    """Return the standard deviation of a Rician magnitude, in units of the noise of each part.

    Koay and Basser 2006, J. Magn. Reson. 179, 317.

    Args:
        ratio: mean of the magnitude over its standard deviation. Values below that of a Rayleigh
            distribution count as that one.
    """
    from scipy.stats import rice

    signal = np.linspace(0.0, 8.0, 161)
    mean, variance = rice.stats(signal)
    std = np.sqrt(variance)
    return float(np.interp(ratio, mean / std, std))
