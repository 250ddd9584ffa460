"""The value that stands for no signal: 0, but for images that were shifted or standardised."""

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

# A background of equal values, and air above 0, count from so many pixels on, or from this share of
# small images on.
BACKGROUND, BACKGROUND_SHARE = 300, 0.01
# A background this near to 0, as a share of the image's range, is 0 for all that follows.
NEGLIGIBLE = 0.005
# Noise around 0 begins, or has its middle, nearer to it than these shares of its deviation; its
# middle is no further above than so many deviations.
NEARLY, OFFSET = 0.5, 6.0
# What is air varies by no more than its noise, up to this factor; tissue has shades.
FLAT = 3.0
# The ends of a distribution without its outliers, and by how many deviations they exceed the low
# one.
LOW, HIGH, BEYOND = 1e-3, 0.9, 0.2
# The median of magnitudes of noise lies 1.7 deviations above their low end, that of normal noise
# 3.1.
NORMAL = 2.4
# Hardly anything is darker than no signal above 0: less than this share of the pixels lies below it
# by more than `BODY` of the image's contrast, which is more than ringing makes. Values below 0 need
# no such proof, as magnitudes have none.
DARKER = 0.005
# Side of the squares in the corners of a slice, as a share of its sides.
CORNER = 1 / 16


def zero_level(stack: Sequence[np.ndarray] | np.ndarray) -> float:
    """Find the value of no signal in slices (H, W) of one volume, of which it looks at some
    (`slices_for_noise`).

    It is 0 unless the image says otherwise: by a background of one value that nothing falls below
    (masked air), or by air that lies far from 0, all of it on one side. Magnitudes of noise begin
    at the value of no signal, normal noise has it in its middle. A background of zeros, or noise
    that begins or is centred there, tells that 0 is the value and what is below it has a meaning,
    as in phase-sensitive images. Complex images always have 0.
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
    """Whether constant patches have this value."""
    count = sum(int((constant_patches(i) & (i == value)).sum()) for i in slices)
    return count >= _enough(slices)


def _enough(slices: Sequence[np.ndarray]) -> float:
    """The fewest pixels that tell a value of no signal."""
    return min(BACKGROUND, BACKGROUND_SHARE * sum(image.size for image in slices))


def _noise_around_zero(slices: Sequence[np.ndarray], places: Places) -> bool:
    """Whether the corners of a signed image hold noise of both signs, and nothing else."""
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
