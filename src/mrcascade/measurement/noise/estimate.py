"""Noise estimate of an image: from the air around the body, or else by likelihood."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mrcascade.arrays.intensity import robust_maximum
from mrcascade.errors import MRCascadeError
from mrcascade.measurement.noise.air import survey_air
from mrcascade.measurement.noise.likelihood import most_likely_noise
from mrcascade.measurement.noise.zero import zero_level

# About how many pixels the networks see: the slices with the most signal, or a band of rows through
# the middle of a large one.
LIKELIHOOD_PIXELS = 50_000
# Shortest side that the networks accept.
SHORTEST = 8
# Standard deviation of the Gaussian that smooths the phase, in pixels.
PHASE_PIXELS = 2.0
# Share of air below which an estimate is uncertain, as fine anatomy may look like noise.
LITTLE_AIR = 0.03
# Percent of the maximum; smaller estimates are only named as such, as their digits mean nothing.
LEAST_PERCENT = 0.001


@dataclass(frozen=True)
class NoiseEstimate:
    """Estimate of an image's noise.

    Attributes:
        sigma: standard deviation in the units of the image, for each part of a complex one; 0
            where no noise was found.
        source: "air" (statistics of the air around the body) or "likelihood" (the noise level
            with the largest likelihood under a learned prior).
        certain: False where little air is in view, so that fine anatomy may count as noise.
    """

    sigma: float
    source: str
    certain: bool

    def describe(self, scale: float) -> str:
        """Return the noise and its source: "1.2 % of the maximum (from the air around the body)".

        scale: robust maximum of the image.
        """
        percent = 100 * self.sigma / scale
        share = f"{percent:.2g}" if percent >= LEAST_PERCENT else f"less than {LEAST_PERCENT:g}"
        return f"{share} % of the maximum ({self})"

    def __str__(self) -> str:
        how = {
            "air": "from the air around the body",
            "likelihood": "by its likelihood under a prior of MR images",
        }[self.source]
        return how if self.certain else f"{how}; uncertain, as there is little air in view"


def estimate_noise(slices: Iterable[np.ndarray], zero: float | None = None) -> NoiseEstimate:
    """Estimate the noise of slices of one volume.

    Magnitude images with signal-free air show their noise there (`survey_air`). For others the
    estimate is the noise level at which the image is most likely (`most_likely_noise`).

    Args:
        slices: (H, W) each, real or complex.
        zero: value of no signal; by default `zero_level` finds it.

    Raises:
        MRCascadeError: the image is too small, or empty.
    """
    stack = list(slices)
    if not stack or min(stack[0].shape) < SHORTEST:
        raise MRCascadeError(
            f"an image of fewer than {SHORTEST} pixels per side is too small to estimate its noise;"
            " give it with --noise"
        )
    zero = zero_level(stack) if zero is None else zero
    stack = [image - zero for image in stack] if zero else stack
    air = survey_air(stack)
    if air.noise is not None:
        return NoiseEstimate(air.noise, "air", True)
    real = [_in_phase(image) if np.iscomplexobj(image) else image - air.floor for image in stack]
    maximum = robust_maximum(np.stack(real))
    if not maximum > 0 or not any(mask.any() for mask in air.usable):
        raise MRCascadeError("the image is too empty to estimate its noise; give it with --noise")
    chosen = _with_most_signal(real)
    rows = _middle_rows(real[0].shape)
    found = most_likely_noise(
        [real[i][rows] / maximum for i in chosen], [air.usable[i][rows] for i in chosen]
    )
    return NoiseEstimate(found * maximum, "likelihood", air.share >= LITTLE_AIR)


def _in_phase(image: np.ndarray) -> np.ndarray:
    """Return the part of a complex image (H, W) that is in phase with its surroundings.

    It looks like a magnitude image, and its noise is normal, with the deviation of each part.
    """
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(image.real, PHASE_PIXELS) + 1j * gaussian_filter(
        image.imag, PHASE_PIXELS
    )
    return np.asarray((image * np.exp(-1j * np.angle(smooth))).real)


def _with_most_signal(stack: Sequence[np.ndarray]) -> list[int]:
    count = max(1, round(LIKELIHOOD_PIXELS / stack[0].size))
    energy = [float(np.square(np.abs(image)).sum()) for image in stack]
    return sorted(np.argsort(energy)[::-1][:count].tolist())


def _middle_rows(shape: tuple[int, ...]) -> slice:
    height = min(shape[0], max(SHORTEST, LIKELIHOOD_PIXELS // shape[1]))
    start = (shape[0] - height) // 2
    return slice(start, start + height)
