"""Standard deviation of the noise, and value of no signal, of an image that comes without them."""

from mrcascade.measurement.noise.estimate import NoiseEstimate, estimate_noise
from mrcascade.measurement.noise.places import MOST_SLICES, slices_for_noise
from mrcascade.measurement.noise.zero import zero_level

__all__ = ["MOST_SLICES", "NoiseEstimate", "estimate_noise", "slices_for_noise", "zero_level"]
