"""Slice profiles: how a thick slice weighs the positions along the slice axis."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.operators.kernels import Matrix

FWHM = 2 * math.sqrt(2 * math.log(2))  # of a Gaussian, in standard deviations
#: Where a Gaussian profile ends, in standard deviations.
CUT = 3.0
#: Largest distance of a measured profile's centre of mass from 0, in slice thicknesses.
OFF_CENTRE = 0.05
#: Least and largest area of a measured profile over its largest weight, in slice thicknesses.
NARROWEST, WIDEST = 0.5, 2.0


@dataclass(frozen=True)
class SliceProfile:
    """Profile of a slice, as a function of the distance from its centre.

    Attributes:
        name: "gaussian" (full width at half maximum = thickness), "rect" (constant within the
            thickness), or another name of a measured profile.
        positions: distances of a measured profile from the centre, rising, in units of the
            thickness; between them the profile is linear, beyond them it is zero. None for the two
            named ones.
        weights: weights of a measured profile at ``positions``, at least 0, with a positive sum.

    Raises:
        MRCascadeError: an unknown name, or a measured profile that is none.

    Example:
        >>> from mrcascade.operators.profile import SliceProfile
        >>> SliceProfile("rect").matrix(6, 2).round(2)
        array([[0.33, 0.33, 0.33, 0.  , 0.  , 0.  ],
               [0.  , 0.  , 0.  , 0.33, 0.33, 0.33]])
    """

    name: str = "gaussian"
    positions: tuple[float, ...] | None = None
    weights: tuple[float, ...] = ()

    NAMED: ClassVar[tuple[str, ...]] = ("gaussian", "rect")

    def __post_init__(self) -> None:
        if self.positions is None:
            if self.name not in self.NAMED or self.weights:
                raise MRCascadeError(
                    f"slice profile {self.name!r}: choose {' or '.join(self.NAMED)}, or give the"
                    " positions and weights of a measured one"
                )
            return
        x, w = np.asarray(self.positions), np.asarray(self.weights)
        if len(x) < 2 or x.shape != w.shape or not (np.diff(x) > 0).all():
            raise MRCascadeError(
                f"slice profile {self.name!r}: needs as many weights as positions, at least two,"
                " and positions that rise"
            )
        if not np.isfinite([x, w]).all() or (w < 0).any() or not w.any():
            raise MRCascadeError(
                f"slice profile {self.name!r}: weights must be finite, at least 0, and not all 0"
            )
        self._check_place(x, w / w.max())

    def _check_place(self, x: Matrix, w: Matrix) -> None:
        """Raise MRCascadeError for a polygon that is not centred, or whose unit is another."""
        step, both = np.diff(x), w[:-1] + w[1:]
        area = float((step * both).sum() / 2)
        moment = step * (x[:-1] * (both + w[:-1]) + x[1:] * (both + w[1:])) / 6
        centre = float(moment.sum()) / area
        if not (abs(centre) <= OFF_CENTRE):
            raise MRCascadeError(
                f"slice profile {self.name!r}: its centre of mass lies at {centre:.3g} thicknesses,"
                " which would move the anatomy; positions count from the slice's centre"
            )
        if not (NARROWEST <= area <= WIDEST):
            raise MRCascadeError(
                f"slice profile {self.name!r}: it is {area:.3g} thicknesses wide (its area over its"
                " largest weight); positions are in slice thicknesses, not in mm"
            )

    def matrix(self, n: int, m: int, thickness: float = 1.0) -> Matrix:
        """Return the matrix (m, n) of ``m`` slices of ``n`` samples, with rows that sum to one.

        Slice ``k`` lies at ``(k + 1/2) f - 1/2`` with ``f = n / m``: both grids span the same
        interval. Beyond it the first and last sample go on. A profile narrower than a sample is
        taken as wide as one, because a sample is not finer.

        Args:
            n: samples along the slice axis.
            m: slices, ``1 <= m <= n``.
            thickness: slice thickness over slice distance: below 1 there are gaps, above 1 the
                slices overlap.

        Raises:
            MRCascadeError: the numbers do not fit.
        """
        if not 1 <= m <= n:
            raise MRCascadeError(f"{m} slices of {n} samples: give at least one and at most {n}")
        if not (0 < thickness < math.inf):
            raise MRCascadeError(f"slice thickness {thickness:g} of the distance: must be above 0")
        f = n / m
        centres = np.asarray((np.arange(m) + 0.5) * f - 0.5, np.float64)
        return self.rows(centres, n, thickness * f)

    def rows(self, centres: Matrix, n: int, width: float) -> Matrix:
        """Return the weights (m, n) of slices at any places, as for `matrix`.

        Args:
            centres: (m,), places of the slices in samples.
            n: number of samples.
            width: slice thickness in samples.
        """
        width = max(width, 1.0)
        reach = math.ceil(self._reach * width + max(0.0, -min(centres), max(centres) - n + 1)) + 1
        samples = np.arange(-reach, n + reach)
        weights = self._weights(width)(samples[None, :] - centres[:, None])
        weights /= weights.sum(1, keepdims=True)
        result = weights[:, reach : reach + n].copy()
        result[:, 0] += weights[:, :reach].sum(1)
        result[:, -1] += weights[:, reach + n :].sum(1)
        return np.asarray(result)

    @property
    def _reach(self) -> float:
        """Largest distance with a weight, in units of the thickness."""
        if self.positions is not None:
            return max(abs(self.positions[0]), abs(self.positions[-1]))
        return CUT / FWHM if self.name == "gaussian" else 0.5

    def _weights(self, width: float) -> Callable[[Matrix], Matrix]:
        """Return the weight of samples at a distance, for a slice ``width`` samples thick."""
        if self.positions is not None:
            x, w = np.asarray(self.positions) * width, np.asarray(self.weights)
            area = np.concatenate([[0.0], np.cumsum(np.diff(x) * (w[1:] + w[:-1]) / 2)])
            return lambda t: _integral(t + 0.5, x, w, area) - _integral(t - 0.5, x, w, area)
        if self.name == "rect":
            half = width / 2
            return lambda t: np.clip(t + 0.5, -half, half) - np.clip(t - 0.5, -half, half)
        sigma = width / FWHM
        inside = CUT * sigma * (1 + 1e-12)
        return lambda t: np.where(abs(t) <= inside, np.exp(-0.5 * (t / sigma) ** 2), 0.0)


#: As wide at half maximum as the slice is thick; what is assumed where nothing is known.
GAUSSIAN = SliceProfile()


def _integral(t: Matrix, x: Matrix, w: Matrix, area: Matrix) -> Matrix:
    """Return the integral up to ``t`` of the polygon through (x, w); ``area`` has it up to x."""
    t = np.clip(t, x[0], x[-1])
    i = np.clip(np.searchsorted(x, t, side="right") - 1, 0, len(x) - 2)
    step = t - x[i]
    slope = (w[i + 1] - w[i]) / (x[i + 1] - x[i])
    return np.asarray(area[i] + step * (w[i] + slope * step / 2))


def profile_matrix(n: int, m: int) -> Matrix:
    """Return the matrix (m, n) of contiguous slices with a Gaussian profile (`SliceProfile`)."""
    return GAUSSIAN.matrix(n, m)
