"""Volumes of thick slices, restored with a prior of planes that contain the slice axis.

A scan with thick slices measures everything in plane and little along the slice axis. The prior
knows planes. Both kinds of planes that contain the slice axis are restored, one by one, and their
mean meets the slices by one projection along that axis.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mrcascade.arrays.intensity import Intensity
from mrcascade.errors import MRCascadeError
from mrcascade.measurement.border import Margins
from mrcascade.operators import SeparableOperator
from mrcascade.operators.kernels import Matrix
from mrcascade.operators.profile import GAUSSIAN, SliceProfile
from mrcascade.prior.cascade import CascadePrior
from mrcascade.restore.plan import Plan
from mrcascade.restore.restorer import Restorer
from mrcascade.sampling import Recipe

#: Thick slices that are added at each end, so that the prior's periodic pyramid does not bring the
#: anatomy of one end into the other.
ENDS = 2
#: Number of planes that are restored at a time.
PLANES = 32


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

    MOST = 8  # samples per slice

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


@dataclass(frozen=True)
class VolumePlan:
    """Plan by which a volume of thick slices (S, h, w) is restored to (n, h, w).

    Attributes:
        thick: how the slices see the result.
        planes: plans of the planes (slices, rows) and (slices, columns).
    """

    thick: ThickSlices
    planes: tuple[Plan, Plan]

    @classmethod
    def of(
        cls,
        prior: CascadePrior,
        thick: ThickSlices,
        shape: tuple[int, int],
        noise: float,
        settings: Recipe,
    ) -> VolumePlan:
        """Make the plan.

        Args:
            prior: prior that will restore the volume.
            thick: how the slices see the result.
            shape: (h, w) of the slices.
            noise: sigma_y as a fraction of the measurement's robust maximum, >= 0.
            settings: sampler settings, as `resolve_settings` returns them. Only mode "mean" has no
                draws, which differ from plane to plane.

        Raises:
            MRCascadeError: the settings do not fit, or a grid is too small for the prior.
        """
        if settings.draws:
            raise MRCascadeError(
                f"mode {settings.name!r} draws each plane by itself, so that neighbouring planes"
                " would not agree; use mode 'mean' for thick slices"
            )
        along = thick.extended()
        operators = (SeparableOperator(along, np.eye(n), "thick slices") for n in shape)
        rows, columns = (Plan.of(prior, one, noise, settings) for one in operators)
        return cls(thick, (rows, columns))

    @property
    def noise(self) -> float:
        """Standard deviation of the noise as a fraction of the robust maximum."""
        return self.planes[0].noise

    @property
    def exact(self) -> bool:
        """Whether results meet their measurement up to rounding."""
        return self.planes[0].exact


@dataclass(frozen=True)
class RestoredVolume:
    """A volume with thin slices, in the intensities of the measurement.

    Attributes:
        mean: (n, h, w).
        residual: ``||y - A x|| / ||y||`` of values above the zero level.
        evaluations: level -> network evaluations per plane.
        seconds: wall time.
    """

    mean: np.ndarray
    residual: float
    evaluations: dict[int, int]
    seconds: float


class VolumeRestorer:
    """Restores volumes of thick slices with a prior, by a plan that `VolumePlan.of` made for it.

    Example:
        >>> import numpy as np, mrcascade
        >>> from mrcascade.restore import resolve_settings
        >>> from mrcascade.restore.volume import ThickSlices, VolumePlan, VolumeRestorer
        >>> y = np.random.default_rng(0).random((8, 20, 16), np.float32)
        >>> prior = mrcascade.CascadePrior.from_pretrained("mr-small")
        >>> settings = resolve_settings(prior, "mean")
        >>> plan = VolumePlan.of(prior, ThickSlices(8, 24), (20, 16), 0.0, settings)
        >>> VolumeRestorer(prior, plan)(y, mrcascade.Intensity.of(y)).mean.shape
        (24, 20, 16)
    """

    def __init__(self, prior: CascadePrior, plan: VolumePlan) -> None:
        self.prior, self.plan = prior, plan

    def __call__(
        self,
        measurement: np.ndarray,
        intensity: Intensity,
        *,
        batch_size: int = 1,
        progress: Callable[[int], None] = lambda done: None,
    ) -> RestoredVolume:
        """Restore a volume.

        Args:
            measurement: (S, h, w), real; complex for a prior with two channels.
            intensity: intensity of the volume.
            batch_size: number of planes that pass through the networks together.
            progress: called with the number of planes that are done, of ``h + w``.

        Raises:
            MRCascadeError: the measurement does not fit the plan, or is not finite.
        """
        started = time.perf_counter()
        thick, margin = self.plan.thick, self.plan.thick.margin
        check_volume(measurement, thick)
        unit = Intensity(1.0)
        y = intensity.above_zero(measurement) / intensity.scale
        whole = Margins(rows=(ENDS, ENDS)).extend(y.reshape(1, len(y), -1))
        whole = whole.reshape(-1, *y.shape[1:])
        total = np.zeros((thick.samples, *y.shape[1:]), y.dtype)
        evaluations: dict[int, int] = {}
        done = 0
        for plan, axis in zip(self.plan.planes, (2, 1), strict=True):
            restorer = Restorer(self.prior, plan)
            for start in range(0, y.shape[axis], PLANES):
                some = [slice(None)] * 3
                some[axis] = slice(start, start + PLANES)
                planes = np.moveaxis(whole[tuple(some)], axis, 0)
                result = restorer(np.ascontiguousarray(planes), unit, batch_size=batch_size)
                inside = result.mean[:, margin : margin + thick.samples]
                total[tuple(some)] += np.moveaxis(inside, 0, axis) / len(self.plan.planes)
                evaluations = result.evaluations
                done += len(planes)
                progress(done)
        matrix = thick.matrix()
        if self.plan.exact:
            total = projected(total, y, matrix)
        missed = np.linalg.norm(y - along(matrix, total)) / np.linalg.norm(y)
        return RestoredVolume(
            intensity.restored(total), float(missed), evaluations, time.perf_counter() - started
        )


def least_squares(
    measurement: np.ndarray, thick: ThickSlices, smoothness: float = 1e-3
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
