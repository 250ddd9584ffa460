"""Estimates of an image's noise standard deviation and of its value of no signal."""

from mrcascade.measurement.noise.estimate import NoiseEstimate, estimate_noise
from mrcascade.measurement.noise.places import MOST_SLICES, slices_for_noise
from mrcascade.measurement.noise.zero import zero_level

__all__ = ["MOST_SLICES", "NoiseEstimate", "estimate_noise", "slices_for_noise", "zero_level"]
