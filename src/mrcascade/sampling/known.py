"""What the data of a level of a cascade know of its band, for priors whose conditions hold that.

The coarser image, which the condition holds too, is taken off the data first. Data of the prior's
kernel ``fourier`` that are coarser than a level then know nothing of its band; data on the level's
grid, along one axis or of another kernel know a part.
"""

from __future__ import annotations

import math
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from mrcascade.operators import SeparableOperator, downsampler, upsampler
from mrcascade.operators.band import (
    NOTHING,
    BandAxis,
    KnownBand,
    band_shares,
    noise_share,
    whole_share,
)
from mrcascade.operators.kernels import Matrix
from mrcascade.operators.pyramid import LaplacianPyramid
from mrcascade.operators.separable import SVD, spectral_gain
from mrcascade.sampling.comparison import Comparison, MissingError
from mrcascade.sampling.orientations import Orientation

#: Images, channels, rows and columns.
Index = tuple[list[int], slice, slice, slice]

_EXACT = 1e-6  # noise below this, in units of the robust maximum, is a rounding error


class BandView:
    """A level's band as its data see it; computed when it is first asked for.

    Args:
        pyramid, level: of the band.
        data: what the level compares its image with.
        measurement: H with its noise and what is known of the bands that H sees besides, where
            ``data`` compares y with H up...up; None for data on a grid of the pyramid.
    """

    def __init__(
        self,
        pyramid: LaplacianPyramid,
        level: int,
        data: Comparison,
        measurement: tuple[SeparableOperator, float, MissingError | None] | None = None,
    ) -> None:
        self._pyramid, self._level, self._data = pyramid, level, data
        self._measurement = measurement

    @cached_property
    def sigma(self) -> float:
        """Noise of a measured component of the band; 0 where it is exact.

        ``Comparison.sigma`` counts all that y holds besides; here only what lies where the level's
        operator sees the band.
        """
        if self._measurement is None or self._level == 1:
            sigma = self._data.sigma if self._measurement is None else self._measurement[1]
        else:
            operator, noise, missing = self._measurement
            sigma = math.hypot(noise, self._overlap(operator, missing))
        return sigma if sigma > _EXACT else 0.0

    def numbers(self, std: float) -> tuple[float, ...] | None:
        """Those of ``KnownBand`` for a band of this standard deviation; None where nothing is
        known, as of operators that are not separable."""
        weight = self._weight(std)
        if weight is None or self._level == self._pyramid.levels:
            return None
        shares = band_shares(weight, *self._lows, *self._sizes).tolist()
        if max(map(abs, shares)) <= NOTHING:
            return None
        return (*shares, noise_share(self.sigma, std))

    def share(self, std: float) -> float | None:
        """Known share of the whole band; None for operators that are not separable."""
        weight = self._weight(std)
        if weight is None:
            return None
        return min(max(float(whole_share(weight, *self._lows, *self._sizes)), 0.0), 1.0)

    def band(self, context: Tensor, target: Tensor, std: float) -> KnownBand | None:
        """What y knows besides the coarser image ``context`` on the level's grid (N, C, H, W);
        None where that is nothing. ``target`` as ``Comparison.target``."""
        numbers = self.numbers(std)
        if numbers is None:
            return None
        operator, pyramid, level = self._data.operator, self._pyramid, self._level
        tau = (self.sigma / std) ** 2

        def estimate(measured: Tensor) -> Tensor:
            start = measured.new_zeros((*measured.shape[:-2], *operator.in_shape))
            image = operator.prox(start, measured, tau)
            return image - pyramid.up(pyramid.down(image, level), level)

        def unknown(band: Tensor) -> Tensor:
            return band - estimate(operator(band))

        return KnownBand(estimate(target - operator(context)), numbers, unknown)

    @cached_property
    def _axes(self) -> tuple[BandAxis, BandAxis] | None:
        operator, pyramid, level = self._data.operator, self._pyramid, self._level
        if not isinstance(operator, SeparableOperator):
            return None
        fine = pyramid.shapes[level - 1]
        if level == pyramid.levels:
            low = None
        else:
            up = upsampler(pyramid.kernel, fine, pyramid.shapes[level])
            low = up.compose(downsampler(pyramid.kernel, fine, pyramid.shapes[level]))
        rows, cols = operator.svds
        return (
            BandAxis.of(rows.s, rows.v, None if low is None else low.rows),
            BandAxis.of(cols.s, cols.v, None if low is None else low.cols),
        )

    @property
    def _lows(self) -> tuple[Tensor, Tensor]:
        assert self._axes is not None
        rows, cols = (torch.tensor(axis.low, device="cpu") for axis in self._axes)
        return rows, cols

    @property
    def _sizes(self) -> tuple[tuple[float, float], tuple[float, float]]:
        assert self._axes is not None
        rows, cols = self._axes
        return (rows.size, cols.size), (rows.low_size, cols.low_size)

    def _weight(self, std: float) -> Tensor | None:
        """G of ``operators.band`` for a band of this standard deviation, on the CPU."""
        if self._axes is None:
            return None
        rows, cols = (torch.tensor(axis.s, device="cpu") for axis in self._axes)
        s = rows[:, None] * cols
        tau = torch.tensor((self.sigma / std) ** 2, dtype=s.dtype, device="cpu")
        return s * spectral_gain(s, tau)

    def _overlap(self, measurement: SeparableOperator, missing: MissingError | None) -> float:
        """What finer bands add to a component of y that the level's operator makes, rms."""
        if not callable(missing):
            return 0.0 if missing is None else float(missing[self._level - 1])
        operator, pyramid = self._data.operator, self._pyramid
        assert isinstance(operator, SeparableOperator)
        seen = [_range(svd) for svd in operator.svds]
        reduction = None
        for fine, coarse in pairwise(pyramid.shapes[: self._level]):
            down = downsampler(pyramid.kernel, fine, coarse)
            reduction = down if reduction is None else down.compose(reduction)
        assert reduction is not None
        onto = SeparableOperator(seen[0].T, seen[1].T, f"components of {measurement.name}")
        return float(missing(onto.compose(measurement), onto.compose(operator).compose(reduction)))


def _range(svd: SVD) -> Matrix:
    """Orthonormal columns that span what a matrix makes."""
    return svd.u[:, svd.s > NOTHING * svd.s.max()]


def turned(known: KnownBand | None, turn: Orientation) -> KnownBand | None:
    """The same of the image in another orientation."""
    if known is None:
        return None
    rows, cols, both, noise = known.numbers
    numbers = (cols, rows, both, noise) if turn.transposed else known.numbers

    def unknown(band: Tensor) -> Tensor:
        return turn.apply(known.unknown(turn.undo(band)))

    return KnownBand(turn.apply(known.band), numbers, unknown)


def within(known: KnownBand | None, inside: Index) -> KnownBand | None:
    """The same of a part of the images, beyond which the band is zero but for what is known."""
    if known is None:
        return None

    def unknown(band: Tensor) -> Tensor:
        whole = torch.zeros_like(known.band)
        whole[inside] = band
        return known.unknown(whole)[inside]

    return KnownBand(known.band[inside], known.numbers, unknown)
