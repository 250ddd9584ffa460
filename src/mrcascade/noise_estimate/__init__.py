"""Standard deviation of the noise in an image that comes without one."""

from mrcascade.noise_estimate.estimate import (
    MOST_SLICES,
    NoiseEstimate,
    estimate_noise,
    slices_for_noise,
)

__all__ = ["MOST_SLICES", "NoiseEstimate", "estimate_noise", "slices_for_noise"]
