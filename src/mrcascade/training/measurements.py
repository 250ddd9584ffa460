"""Random measurements of training patches, for conditions that hold knowledge of data.

Each patch is measured like a whole image, axis by axis, so the measurement of N patches is a few
small matrix products. The matrices of the axes are decomposed once per run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mrcascade.operators import KERNELS, down_matrix, up_matrix
from mrcascade.operators.band import NOTHING, BandAxis, band_shares, noise_share
from mrcascade.operators.kernels import Matrix
from mrcascade.operators.profile import SliceProfile, profile_matrix
from mrcascade.operators.separable import spectral_gain
from mrcascade.prior.denoiser import known_channels
from mrcascade.sampling.noise import NoiseSource
from mrcascade.training.config import TrainConfig

# Factor per axis of the full-resolution grid -> weight. Whole numbers are most frequent in scans.
FACTORS = {1.5: 1.0, 1.75: 1.0, 2: 4.0, 2.5: 1.0, 3: 2.0, 3.5: 1.0, 4: 4.0, 5: 1.0, 6: 1.0}
# Kernels that users name most: the prior's own, blocks, and Gaussian slice profiles. Others have 1.
OWN_WEIGHT = 3.0
KERNEL_WEIGHTS = {"area": 3.0, "profile": 3.0}
ALIKE = 0.75  # share of measurements along two axes with one kernel and factor for both
LOWEST_NOISE = 1 / 50  # lowest noise level over the largest
# Thick slices: samples per slice -> weight, and (profile, thickness over distance) -> weight.
SLICE_FACTORS: dict[float, float] = {
    1.5: 1.0,
    2: 2.0,
    2.5: 1.0,
    3: 2.0,
    3.5: 1.0,
    4: 3.0,
    4.5: 1.0,
    5: 2.0,
    6: 2.0,
    7: 1.0,
    8: 1.0,
}
SLICE_PROFILES: dict[tuple[str, float], float] = {
    ("gaussian", 1.0): 4.0,
    ("gaussian", 0.8): 1.5,
    ("gaussian", 0.6): 0.5,
    ("gaussian", 1.25): 1.0,
    ("rect", 1.0): 2.0,
}


@dataclass(frozen=True)
class DrawnMeasurements:
    """Measurements of N patches.

    Attributes:
        rows, cols: (N,), index of the patch's axes in ``Measurements.axes``.
        sigma: (N,), standard deviation of the noise in units of the robust maximum.
    """

    rows: Tensor
    cols: Tensor
    sigma: Tensor

    def __getitem__(self, patches: slice) -> DrawnMeasurements:
        return DrawnMeasurements(self.rows[patches], self.cols[patches], self.sigma[patches])


@dataclass(frozen=True)
class Unknown:
    """Map to the part of bands that the data do not determine, ``m - B V G V^T m``, B = 1 - P.

    Attributes:
        weight: G, (N, 1, r, r).
        v_rows, v_cols: V of both axes, (N, 1, n, r).
        low_rows, low_cols: P V of both axes, (N, 1, n, r).

    All tensors lie on the device of the bands.
    """

    weight: Tensor
    v_rows: Tensor
    v_cols: Tensor
    low_rows: Tensor
    low_cols: Tensor

    def __call__(self, band: Tensor) -> Tensor:
        """Return the undetermined part of bands (N, C, n, n); differentiable."""
        with torch.autocast(band.device.type, enabled=False):
            return band - self.estimate(band)

    def estimate(self, band: Tensor, noise: Tensor | float = 0.0) -> Tensor:
        """Return the estimate of bands from their data, ``B V (G V^T m + noise)``."""
        seen = self.weight * (self.v_rows.mT @ band @ self.v_cols) + noise
        return self.v_rows @ seen @ self.v_cols.mT - self.low_rows @ seen @ self.low_cols.mT

    def to(self, where: torch.device | torch.dtype) -> Unknown:
        """Move to a device, or convert to a data type."""
        return self._of(lambda tensor: tensor.to(where))

    def __len__(self) -> int:
        return len(self.weight)

    def __getitem__(self, patches: slice) -> Unknown:
        return self._of(lambda tensor: tensor[patches])

    def _of(self, change: Callable[[Tensor], Tensor]) -> Unknown:
        tensors = (self.weight, self.v_rows, self.v_cols, self.low_rows, self.low_cols)
        return Unknown(*map(change, tensors))


class Measurements:
    """Random measurements for patches of one level.

    Level i sees the measurement ``A up...up`` of its own grid, as in a sampler. ``axes[0]`` is the
    full-resolution grid. Then come axes of the prior's kernel whose data contain nothing of the
    band, and then all others. The U-Net denoises data on the level's own grid, so there are none.

    Where ``config.slices`` asks for thick slices, all others are these. They are measured along the
    row index, and the coarser image of the condition then comes from the data, as in a sampler.
    """

    def __init__(self, level: int, side: int, config: TrainConfig) -> None:
        """Decompose the matrices of all axes.

        Args:
            level: level of the patches.
            side: side of the patches in pixels of the level's grid.
            config: settings of the run.
        """
        self.config, self.level = config, level
        low = up_matrix(config.kernel, side, -(-side // config.step)) @ down_matrix(
            config.kernel, side, -(-side // config.step)
        )
        full = side * config.step ** (level - 1)
        lift = up_matrix(config.kernel, full, side)
        largest = round(math.log(max(config.factors), config.step))
        steps = range(1, max(1, largest - (level - 1)) + 1)
        own = [down_matrix(config.kernel, side, side // config.step**k) for k in steps]
        others = _slices(full) if config.slices else _foreign(full, config.kernel)
        foreign = [(m @ lift, w) for m, w in others]
        matrices = [lift, *own, *(m for m, _ in foreign)]
        self.axes = [_decomposed(matrix, low) for matrix in matrices]
        self._own = 1, 1 + len(own)
        self._weights = torch.tensor([w for _, w in foreign], device="cpu")
        # Index of 4x by the prior's kernel, or by common slices, for validation.
        factors = SLICE_FACTORS if config.slices else FACTORS
        self._four = self._own[1] + list(factors).index(4)
        self._low_matrix = torch.tensor(low, dtype=torch.float32, device="cpu")
        stacked = zip(*(_padded(axis, low) for axis in self.axes), strict=True)
        s, v, shares, low_v = (torch.tensor(np.stack(a), device="cpu") for a in stacked)
        self._s, self._v, self._low_v = s.float(), v.float(), low_v.float()
        self._low = shares  # float64 separates zero knowledge from little

    def draw(self, count: int, generator: torch.Generator) -> DrawnMeasurements:
        """Draw ``count`` random measurements by the shares of the configuration."""
        config = self.config

        def uniform() -> Tensor:
            return torch.rand(count, generator=generator, device="cpu")

        def noise() -> Tensor:
            return config.largest_measurement_noise * LOWEST_NOISE ** uniform()

        pairs = torch.multinomial(
            self._weights, 2 * count, replacement=True, generator=generator
        ).view(2, count)
        rows, cols = self._own[1] + pairs
        rows = rows.where(uniform() < ALIKE, cols)
        sigma = noise() * (uniform() < config.measurement_noise_share)
        if config.slices:
            return DrawnMeasurements(rows, torch.zeros_like(cols), sigma)
        kind, turned = uniform(), uniform() < 0.5
        one = kind < config.own_kernel_share + config.one_axis_share
        rows, cols = rows.masked_fill(one & turned, 0), cols.masked_fill(one & ~turned, 0)
        own = kind < config.own_kernel_share
        steps = torch.randint(*self._own, (count,), generator=generator, device="cpu")
        rows, cols = steps.where(own, rows), steps.where(own, cols)
        return DrawnMeasurements(rows, cols, sigma.masked_fill(own, 0.0))

    def own_kernel(self, count: int) -> DrawnMeasurements:
        """Return noise-free 2x by the prior's kernel (4x and more at coarser levels)."""
        return self._same(count, self._own[0], self._own[0], 0.0)

    def thick_slices(self, count: int) -> DrawnMeasurements:
        """Return noise-free slices 4 samples apart and thick, with a Gaussian profile."""
        return self._same(count, self._four, 0, 0.0)

    def one_axis(self, count: int) -> DrawnMeasurements:
        """Return noise-free 4x by the prior's kernel along one axis, rows and columns in turn."""
        turned = torch.arange(count, device="cpu") % 2 == 0
        both = self._same(count, self._four, self._four, 0.0)
        rows, cols = both.rows.masked_fill(turned, 0), both.cols.masked_fill(~turned, 0)
        return DrawnMeasurements(rows, cols, both.sigma)

    def _same(self, count: int, rows: int, cols: int, sigma: float) -> DrawnMeasurements:
        return DrawnMeasurements(
            torch.full((count,), rows, device="cpu"),
            torch.full((count,), cols, device="cpu"),
            torch.full((count,), sigma, device="cpu"),
        )

    def known(
        self,
        image: Tensor,
        coarse: Tensor,
        measured: DrawnMeasurements,
        std: float,
        noise: NoiseSource,
    ) -> tuple[Tensor, Tensor, Unknown]:
        """Simulate measurements, and return the knowledge of their data.

        Args:
            image: (N, C, h, w).
            coarse: (N, C, h, w), the coarser image in the condition.
            measured: measurement of each patch.
            std: standard deviation of the band, in the units of ``image``.
            noise: noise of the N images.

        Returns:
            The coarser image, of the data where these are thick slices; the channels of the
            condition (`known_channels`), (N, C + KNOWLEDGE, h, w); and the map to the undetermined
            part of a band.
        """
        rows, cols = measured.rows, measured.cols
        s = self._s[rows][:, :, None] * self._s[cols][:, None, :]
        gain = spectral_gain(s, ((measured.sigma / std) ** 2)[:, None, None])
        weight = gain * s
        one = self.axes[0]
        shares = band_shares(
            weight.double(),
            self._low[rows],
            self._low[cols],
            (one.size, one.size),
            (one.low_size, one.low_size),
        )
        known = (shares.abs().amax(1) > NOTHING)[:, None, None]
        matrices = [m[i][:, None] for m in (self._v, self._low_v) for i in (rows, cols)]
        unknown = Unknown((weight * known)[:, None], *matrices)
        white = noise.randn(image.shape) * measured.sigma[:, None, None, None]
        if self.config.slices:
            coarse = coarse + self._coarse_error(image, s, unknown, white)
        added = white * (gain * known)[:, None]
        numbers = torch.cat([shares.float(), noise_share(measured.sigma, std)[:, None]], 1)
        channels = known_channels(
            unknown.estimate(image - coarse, added) / std, numbers.masked_fill(~known[:, 0], 0.0)
        )
        return coarse, channels, unknown

    def _coarse_error(self, image: Tensor, s: Tensor, axes: Unknown, white: Tensor) -> Tensor:
        """Return P (A^+ y - x), the error of the coarser part of the minimum-norm image.

        Args:
            image: x, (N, C, n, n).
            s: singular values, (N, r, r).
            axes: holds V of both axes.
            white: noise of the measured components, (N, C, r, r).
        """
        inverse = spectral_gain(s, torch.zeros_like(s[:, :1, :1]))[:, None]
        seen = s[:, None] * (axes.v_rows.mT @ image @ axes.v_cols) + white
        smallest = axes.v_rows @ (inverse * seen) @ axes.v_cols.mT
        return self._low_matrix @ (smallest - image) @ self._low_matrix.mT


def _slices(full: int) -> list[tuple[Matrix, float]]:
    """Return matrices of thick slices of ``full`` samples, with their weights.

    Common ones come first, in the order of ``SLICE_FACTORS``.
    """
    return [
        (SliceProfile(name).matrix(full, max(1, round(full / factor)), thickness), often * weight)
        for (name, thickness), often in SLICE_PROFILES.items()
        for factor, weight in SLICE_FACTORS.items()
    ]


def _foreign(full: int, kernel: str) -> list[tuple[Matrix, float]]:
    """Return measurement matrices of an axis of ``full`` samples, with their weights.

    Matrices of ``kernel`` come first, in the order of ``FACTORS``.
    """
    found = []
    for name in (kernel, *(k for k in KERNELS if k != kernel), "profile"):
        weight = OWN_WEIGHT if name == kernel else KERNEL_WEIGHTS.get(name, 1.0)
        for factor, often in FACTORS.items():
            samples = max(1, round(full / factor))
            matrix = (
                profile_matrix(full, samples)
                if name == "profile"
                else down_matrix(name, full, samples)
            )
            found.append((matrix, weight * often))
    return found


def _decomposed(matrix: Matrix, low: Matrix) -> BandAxis:
    _, s, vt = np.linalg.svd(matrix, full_matrices=False)
    return BandAxis.of(s, vt.T, low)


def _padded(axis: BandAxis, low: Matrix) -> tuple[Matrix, Matrix, Matrix, Matrix]:
    """Return s, v, low and P v of an axis, padded to one singular value per sample."""
    missing = axis.size - len(axis.s)
    s, share = (np.pad(values, (0, missing)) for values in (axis.s, axis.low))
    v = np.pad(axis.v, ((0, 0), (0, missing)))
    return s, v, share, low @ v
