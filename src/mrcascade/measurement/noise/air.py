"""How the noise shows in the air around the body."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mrcascade.measurement.noise.places import BODY, MAD_TO_STD, Places, find_places, white_noise

# Fewer pixels of air give a median absolute deviation that is off by more than some 10 %.
FEWEST = 300
# Darker than this share of the brightest places is air; what is not may be faint tissue.
DARK = 0.03
# Magnitudes have next to no values below zero; noise of a signed image has them everywhere.
NEGATIVE = 1e-3
# Places this many noise deviations below 0 are dark tissue of a signed image.
FAR = 6.0
# From this ratio of mean to standard deviation on, a Rician distribution is a normal one to 6 %.
NORMAL_RATIO = 3.0


@dataclass(frozen=True)
class Air:
    """What the air around the body says.

    Attributes:
        floor: value of the darkest places where these are far from 0, as they are without air; else
            0. A judge of what images look like knows those that begin there.
        noise: standard deviation of the noise in the body, in the units of the image, by magnitudes
            of noise alone; None where there are none.
        share: of the pixels that are air; 0 where they are too few, or too bright, to tell much.
        usable: masks (H, W) per slice of all pixels that were measured, not filled in.
    """

    floor: float
    noise: float | None
    share: float
    usable: list[np.ndarray]


def survey_air(slices: Sequence[np.ndarray]) -> Air:
    """Find the air of real or complex slices (H, W) with 0 for no signal, and read the noise off
    it.

    Noise of magnitude images follows a Rayleigh distribution where there is no signal; the ratio of
    mean to standard deviation tells how much signal there is, and the noise of the two parts with
    it (Koay and Basser 2006). Where that ratio is as in a normal distribution, and in signed and
    complex images, noise is the same in air and body, and ``noise`` is left to others.
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
    """Standard deviation of a Rician magnitude in units of that of the noise in each part, by the
    ratio of its mean to its standard deviation; that of a Rayleigh distribution where the ratio
    is smaller than there (Koay and Basser 2006, J. Magn. Reson. 179, 317)."""
    from scipy.stats import rice

    signal = np.linspace(0.0, 8.0, 161)
    mean, variance = rice.stats(signal)
    std = np.sqrt(variance)
    return float(np.interp(ratio, mean / std, std))
