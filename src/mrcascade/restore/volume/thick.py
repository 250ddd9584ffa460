"""Thick slices: what they see of a volume, and the volumes that meet them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mrcascade.arrays.factors import MOST_RATIO
from mrcascade.errors import MRCascadeError
from mrcascade.operators.kernels import Matrix
from mrcascade.operators.profile import GAUSSIAN, SliceProfile

#: Thick slices that are added at each end, so that the prior's periodic pyramid does not bring the
#: anatomy of one end into the other.
ENDS = 2
#: Weight of the second differences in `least_squares`.
SMOOTHNESS = 1e-3


@dataclass(frozen=True)
class ThickSlices:
    """How ``slices`` thick slices see ``samples`` positions along the slice axis.

    Attributes:
        slices: S.
        samples: n, samples of the result within the same field of view, ``S <= n <= 8 S``.
        profile: profile of a slice.
        thickness: slice thickness over slice distance.

    Raises:
        MRCascadeError: the numbers do not fit.
    """

    slices: int
    samples: int
    profile: SliceProfile = GAUSSIAN
    thickness: float = 1.0

    MOST = MOST_RATIO  # samples per slice

    def __post_init__(self) -> None:
        if not self.slices <= self.samples <= self.MOST * self.slices:
            raise MRCascadeError(
                f"{self.slices} slices to {self.samples}: the result must have as many slices or"
                f" up to {self.MOST} times as many"
            )
        self.matrix()

    def matrix(self) -> Matrix:
        """Return A of ``y = A x`` along the slice axis, (S, n)."""
        return self.profile.matrix(self.samples, self.slices, self.thickness)

    @property
    def margin(self) -> int:
        """Samples that `extended` adds at each end."""
        return math.ceil(ENDS * self.samples / self.slices)

    def extended(self) -> Matrix:
        """Return A with ``ENDS`` more slices and ``margin`` more samples at each end."""
        f, margin = self.samples / self.slices, self.margin
        centres = np.asarray((np.arange(-ENDS, self.slices + ENDS) + 0.5) * f - 0.5, np.float64)
        return self.profile.rows(centres + margin, self.samples + 2 * margin, self.thickness * f)


def least_squares(
    measurement: np.ndarray, thick: ThickSlices, smoothness: float = SMOOTHNESS
) -> np.ndarray:
    """Return the smoothest volume that explains thick slices: linear, and done in an instant.

    It minimises ``||y - A x||^2 + smoothness ||D x||^2`` with second differences D along the slice
    axis, and then meets the slices exactly.

    Args:
        measurement: (S, h, w).
        thick: how the slices see the result.
        smoothness: weight of the second differences.

    Returns:
        (n, h, w), of the type of the measurement.
    """
    check_volume(measurement, thick)
    a = thick.matrix()
    second = np.diff(np.eye(thick.samples), 2, axis=0)
    inverse = np.linalg.solve(a.T @ a + smoothness * second.T @ second, a.T)
    return projected(along(np.asarray(inverse, np.float64), measurement), measurement, a)


def along(matrix: Matrix, volume: np.ndarray) -> np.ndarray:
    """Return ``matrix`` (m, n) times the first axis of a volume (n, h, w), of its type."""
    flat = volume.reshape(len(volume), -1)
    return (matrix.astype(volume.real.dtype) @ flat).reshape(len(matrix), *volume.shape[1:])


def projected(volume: np.ndarray, measurement: np.ndarray, matrix: Matrix) -> np.ndarray:
    """Return the closest volume (n, h, w) with ``A x = y`` along the first axis.

    Residuals of slices that no volume explains stay as small as they can.
    """
    inverse = np.asarray(np.linalg.pinv(matrix), np.float64)
    return np.asarray(volume + along(inverse, measurement - along(matrix, volume)))


def check_volume(measurement: np.ndarray, thick: ThickSlices) -> None:
    """Raise MRCascadeError unless a measurement is (S, h, w) with the slices of ``thick``."""
    if measurement.ndim != 3 or len(measurement) != thick.slices:
        raise MRCascadeError(
            f"measurement of {thick.slices} thick slices: expected ({thick.slices}, h, w), got"
            f" {measurement.shape}"
        )
