"""Value of no signal in an image: 0, except in images that were shifted or standardised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mrcascade.measurement.noise.places import (
    BODY,
    MAD_TO_STD,
    Places,
    constant_patches,
    find_places,
    slices_for_noise,
    white_noise,
)

# Fewest pixels of a background of equal values, or of air above 0: a number, or a share of a small
# image.
BACKGROUND, BACKGROUND_SHARE = 300, 0.01
# A background nearer to 0 than this share of the image's range counts as 0.
NEGLIGIBLE = 0.005
# Magnitudes of noise begin at most NEARLY deviations below 0, and their median is at most OFFSET
# deviations above 0.
NEARLY, OFFSET = 0.5, 6.0
# Largest deviation of air in units of its white noise; tissue varies more.
FLAT = 3.0
# Quantiles at the ends of the air's distribution, and how many deviations the true low end lies
# below the low quantile.
LOW, HIGH, BEYOND = 1e-3, 0.9, 0.2
# Deviations from the low quantile to the median that separate magnitudes of noise, which have 1.7,
# from normal noise, which has 3.1.
NORMAL = 2.4
# Largest share of pixels darker than a value of no signal above 0, by more than BODY of the
# image's contrast (ringing makes less). A value below 0 needs no such check: magnitudes have none.
DARKER = 0.005
# Side of the squares in the corners of a slice, as a share of its sides.
CORNER = 1 / 16


def zero_level(stack: Sequence[np.ndarray] | np.ndarray) -> float:
    """Return the value of no signal in a volume.

    It is 0 unless the image shows another value in one of two ways. Masked air is a background of
    one value that nothing falls below. Other air may lie far from 0, all on one side: magnitudes
    of noise begin at the value of no signal, and normal noise is centred on it. A background of
    zeros, or noise that begins or is centred at 0, shows that 0 is the value. Values below it then
    have a meaning, as in phase-sensitive images. Complex images always have 0.

    Args:
        stack: slices (H, W) of one volume, of which `slices_for_noise` are read.
    """
    slices = [np.asarray(stack[i]) for i in slices_for_noise(len(stack))]
    if any(np.iscomplexobj(image) for image in slices) or _is_background(slices, 0.0):
        return 0.0
    places = find_places(slices)
    air = np.concatenate([i[m] for i, m in zip(slices, places.air, strict=True)])
    least = min(float(image.min()) for image in slices)
    span = max(float(image.max()) for image in slices) - least
    background = _is_background(slices, least)
    if background and abs(least) <= NEGLIGIBLE * span:
        return 0.0
    if not air.size:
        return least if background else 0.0
    if _noise_around_zero(slices, places):
        return 0.0
    low, middle, high = (float(v) for v in np.quantile(air, [LOW, 0.5, HIGH]))
    spread = _deviation(air)
    flat = bool(spread) and spread <= FLAT * white_noise(slices, places.air)
    begins = low >= -NEARLY * spread and middle <= OFFSET * spread
    if flat and (begins or abs(middle) <= spread):
        return 0.0
    if background:
        return least
    contrast = flat and places.bright - middle > OFFSET * spread
    above = places.dark > BODY * places.bright and places.least > BODY * places.bright
    if not (high < 0 or (above and contrast and air.size >= _enough(slices))):
        return 0.0
    normal = middle - low > NORMAL * spread
    found = middle if normal else max(float(air.min()), low - BEYOND * spread)
    darkest = found - BODY * (places.bright - found)
    darker = sum(int((image < darkest).sum()) for image in slices)
    if found > 0 and darker > DARKER * sum(image.size for image in slices):
        return 0.0
    return found


def _is_background(slices: Sequence[np.ndarray], value: float) -> bool:
    """Return whether constant patches of this value are large enough for a background."""
    count = sum(int((constant_patches(i) & (i == value)).sum()) for i in slices)
    return count >= _enough(slices)


def _enough(slices: Sequence[np.ndarray]) -> float:
    """Return the fewest pixels that can show a value of no signal."""
    return min(BACKGROUND, BACKGROUND_SHARE * sum(image.size for image in slices))


def _noise_around_zero(slices: Sequence[np.ndarray], places: Places) -> bool:
    """Return whether the corners of the slices hold only noise, of both signs."""
    masks = [u & _corners(u.shape) for u in places.usable]
    values = np.concatenate([i[m] for i, m in zip(slices, masks, strict=True)])
    if not values.size or not 0.2 < float((values < 0).mean()) < 0.8:
        return False
    return _deviation(values) <= FLAT * white_noise(slices, masks)


def _corners(shape: tuple[int, ...]) -> np.ndarray:
    rows, columns = (
        np.minimum(np.arange(n), np.arange(n)[::-1]) < max(2, round(CORNER * n)) for n in shape
    )
    return np.asarray(rows[:, None] & columns)


def _deviation(values: np.ndarray) -> float:
    return float(np.median(np.abs(values - np.median(values)))) / MAD_TO_STD
