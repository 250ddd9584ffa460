"""Standard deviation of the noise, and value of no signal, of an image that comes without them."""

from mrcascade.noise_estimate.estimate import NoiseEstimate, estimate_noise
from mrcascade.noise_estimate.places import MOST_SLICES, slices_for_noise
from mrcascade.noise_estimate.zero import zero_level

__all__ = ["MOST_SLICES", "NoiseEstimate", "estimate_noise", "slices_for_noise", "zero_level"]
