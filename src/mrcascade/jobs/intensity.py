"""The intensity of a stored volume, which is never in memory as a whole."""

from __future__ import annotations

import math

from mrcascade.arrays.intensity import Intensity, RobustMaximum
from mrcascade.io import SliceStore
from mrcascade.measurement.noise import slices_for_noise, zero_level


def intensity_of(measured: SliceStore, maximum: float) -> Intensity:
    """The intensity of slices whose robust maximum, were 0 their zero level, is ``maximum``; for
    the zero level it looks at the slices that tell the noise."""
    chosen = slices_for_noise(len(measured))
    zero = zero_level([measured.read(i, i + 1)[0] for i in chosen])
    if not zero:
        return Intensity(maximum)
    above = RobustMaximum(math.prod(measured.order.shape))
    for number in range(len(measured)):
        above.add(measured.read(number, number + 1) - zero)
    return Intensity(above.value(), zero)


def describe_zero(intensity: Intensity) -> str:
    """Say that the value of no signal is not 0; empty where it is."""
    if not intensity.zero:
        return ""
    return (
        f"places without signal have the value {intensity.zero:.6g}, the zero level of the result;"
        " the maximum counts from there"
    )
