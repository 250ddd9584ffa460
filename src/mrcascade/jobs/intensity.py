"""Intensity of a stored volume, which is never in memory as a whole."""

from __future__ import annotations

import math

from mrcascade.arrays.intensity import Intensity, RobustMaximum
from mrcascade.io import SliceStore
from mrcascade.measurement.noise import slices_for_noise, zero_level


def intensity_of(measured: SliceStore, maximum: float) -> Intensity:
    """Return the intensity of stored slices.

    Args:
        measured: the slices. Those that serve the noise estimate also give the zero level.
        maximum: robust maximum of the slices for a zero level of 0.
    """
    chosen = slices_for_noise(len(measured))
    zero = zero_level([measured.read(i, i + 1)[0] for i in chosen])
    if not zero:
        return Intensity(maximum)
    above = RobustMaximum(math.prod(measured.order.shape))
    for number in range(len(measured)):
        above.add(measured.read(number, number + 1) - zero)
    return Intensity(above.value(), zero)


def describe_zero(intensity: Intensity) -> str:
    """Return a line about a value of no signal other than 0; empty if it is 0."""
    if not intensity.zero:
        return ""
    return (
        f"places without signal have the value {intensity.zero:.6g}, the zero level of the result;"
        " the maximum counts from there"
    )
