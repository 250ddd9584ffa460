"""What the slices of a volume say about their restoration: how noisy they are, where they are cut.

The one place that decides it, for slices in memory, in a file and in an evaluation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mrcascade.arrays.intensity import Intensity
from mrcascade.measurement.border import Margins, find_margins
from mrcascade.measurement.noise import NoiseEstimate, estimate_noise, slices_for_noise
from mrcascade.operators import LinearOperator


@dataclass(frozen=True)
class Examination:
    """What is known of a volume's slices before they are restored.

    Attributes:
        noise: standard deviation of the noise as a fraction of the robust maximum.
        margins: samples to add where the field of view was cut.
        estimate: how the noise is known; None where it was given.
        looked_at: number of slices that were looked at.
    """

    noise: float
    margins: Margins
    estimate: NoiseEstimate | None
    looked_at: int


def examine(
    read: Callable[[int], np.ndarray],
    slices: int,
    operator: LinearOperator,
    intensity: Intensity,
    noise: float | None = None,
) -> Examination:
    """Examine the slices of a volume that ``operator`` measured.

    Args:
        read: gives slice i (h, w), real or complex, in the volume's own values.
        slices: number of slices in the volume.
        intensity: of the volume.
        noise: standard deviation as a fraction of the robust maximum, where it is known.

    Raises MRCascadeError where the noise is not known and cannot be estimated.
    """
    chosen = slices_for_noise(slices)
    estimate = None
    if noise is None:
        estimate = estimate_noise((read(i) for i in chosen), zero=intensity.zero)
        noise = estimate.sigma / intensity.scale
    margins = find_margins((read(i) for i in chosen), operator, intensity.scale)
    return Examination(noise, margins, estimate, len(chosen))
