"""Knowledge of a level's data about its band, for priors that are conditioned on it.

The contribution of the coarser image, which is part of the condition anyway, is subtracted from the
data first. Data of kernel ``fourier`` coarser than a level then contain nothing of its band. Data
on the level's own grid, coarser along one axis only, or of another kernel contain a part of it.
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

#: Index of images, channels, rows and columns.
Index = tuple[list[int], slice, slice, slice]

_EXACT = 1e-6  # noise below this share of the robust maximum is a rounding error


class BandView:
    """A level's band as its data see it, computed on demand.

    Args:
        pyramid: pyramid of the prior.
        level: level of the band.
        data: comparison of the level.
        measurement: H, its noise and the error of ignored finer bands, if ``data`` compares y with
            H up...up; None for data on a grid of the pyramid.
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
        """Noise standard deviation of a measured component of the band; 0 for exact data.

        ``Comparison.sigma`` counts the finer bands in all of y. Here they count only in the
        components of y that the level's operator produces (``aliased``).
        """
        noise = self._data.sigma if self._measurement is None else self._measurement[1]
        sigma = math.hypot(noise, self.aliased)
        return sigma if sigma > _EXACT else 0.0

    @cached_property
    def aliased(self) -> float:
        """Root mean square of what the finer bands add to a measured component of the band."""
        if self._measurement is None or self._level == 1:
            return 0.0
        operator, _, missing = self._measurement
        return self._overlap(operator, missing)

    def numbers(self, std: float) -> tuple[float, ...] | None:
        """Return the numbers of ``KnownBand`` for a band of standard deviation ``std``.

        Returns None if nothing is known, and for operators that are not separable.
        """
        weight = self._weight(std)
        if weight is None or self._level == self._pyramid.levels:
            return None
        shares = band_shares(weight, *self._lows, *self._sizes).tolist()
        if max(map(abs, shares)) <= NOTHING:
            return None
        return (*shares, noise_share(self.sigma, std))

    def share(self, std: float) -> float | None:
        """Return the known share of the whole band; None for operators that are not separable."""
        weight = self._weight(std)
        if weight is None:
            return None
        return min(max(float(whole_share(weight, *self._lows, *self._sizes)), 0.0), 1.0)

    def band(self, context: Tensor, target: Tensor, std: float) -> KnownBand | None:
        """Return what the data know about the band; None for nothing.

        Args:
            context: (N, C, H, W), coarser image on the level's grid, which is subtracted.
            target: data, as returned by ``Comparison.target``.
            std: standard deviation of the band.
        """
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
        """Return G of ``operators.band`` for a band of standard deviation ``std``, on the CPU."""
        if self._axes is None:
            return None
        rows, cols = (torch.tensor(axis.s, device="cpu") for axis in self._axes)
        s = rows[:, None] * cols
        tau = torch.tensor((self.sigma / std) ** 2, dtype=s.dtype, device="cpu")
        return s * spectral_gain(s, tau)

    def _overlap(self, measurement: SeparableOperator, missing: MissingError | None) -> float:
        """Return the rms contribution of finer bands to the components that the level sees."""
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
    """Return orthonormal columns that span the range of a matrix."""
    return svd.u[:, svd.s > NOTHING * svd.s.max()]


def turned(known: KnownBand | None, turn: Orientation) -> KnownBand | None:
    """Return the knowledge about the image in another orientation."""
    if known is None:
        return None
    rows, cols, both, noise = known.numbers
    numbers = (cols, rows, both, noise) if turn.transposed else known.numbers

    def unknown(band: Tensor) -> Tensor:
        return turn.apply(known.unknown(turn.undo(band)))

    return KnownBand(turn.apply(known.band), numbers, unknown)


def within(known: KnownBand | None, inside: Index) -> KnownBand | None:
    """Return the knowledge about a part of the images.

    Outside the part, the band is taken as zero apart from its known component.
    """
    if known is None:
        return None

    def unknown(band: Tensor) -> Tensor:
        whole = torch.zeros_like(known.band)
        whole[inside] = band
        return known.unknown(whole)[inside]

    return KnownBand(known.band[inside], known.numbers, unknown)
