"""What a separable measurement says of one band of a Laplacian pyramid.

A band is ``x - U D x`` on a grid, with ``P = U D = P_rows (x) P_cols`` the part that the next
coarser image holds. The best linear estimate of a white image of variance v from
``y = A x + sigma n`` is ``K x`` plus noise, with the SVD ``A = U_A S V^T`` and

    K = V G V^T ,   G = S^2 / (S^2 + tau) ,   tau = sigma^2 / v .

The trace of K on a subspace over its dimension is the share of the subspace's variance that the
measurement tells: 1 where it is known, 0 where nothing is. It is taken on the three parts of a
band: ``(1 - P_rows) (x) P_cols``, ``P_rows (x) (1 - P_cols)``, ``(1 - P_rows) (x) (1 - P_cols)``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from mrcascade.operators.kernels import Matrix

#: Shares below this are rounding errors: nothing of the band is known.
NOTHING = 1e-6

Noise = TypeVar("Noise", float, Tensor)


@dataclass(frozen=True)
class KnownBand:
    """What data know of a band.

    Attributes:
        band: (N, C, H, W) its best linear estimate, in image units.
        numbers: its ``band_shares``, then its ``noise_share``.
        unknown: what the data leave open of a band m of this shape, m less the estimate from
            ``A m``; linear, float32 or more. ``band + unknown(m)`` is m after a data step.
    """

    band: Tensor
    numbers: tuple[float, ...]
    unknown: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class BandAxis:
    """One axis of a measurement, seen from a band.

    Attributes:
        s: (r,) singular values of the measurement's matrix.
        v: (n, r) its right singular vectors.
        low: (r,) share ``v^T P v`` of each vector that the next coarser image holds.
        size: n, samples of the grid.
        low_size: trace of P, samples of the next coarser grid where P is a projection.
    """

    s: Matrix
    v: Matrix
    low: Matrix
    size: int
    low_size: float

    @classmethod
    def of(cls, s: Matrix, v: Matrix, p: Matrix | None) -> BandAxis:
        """From the singular values and vectors of a matrix, and P (n, n), None for zero."""
        if p is None:
            return cls(s, v, np.zeros(len(s)), len(v), 0.0)
        low = np.einsum("ia,ia->a", v, p @ v)
        return cls(s, v, low, len(p), float(np.trace(p)))


def band_shares(
    weight: Tensor,
    low_rows: Tensor,
    low_cols: Tensor,
    sizes: tuple[float, float],
    low_sizes: tuple[float, float],
) -> Tensor:
    """Known shares (..., 3) of the parts of a band that are fine along rows' index only, along
    columns' only, and along both.

    Args:
        weight: G, (..., r_rows, r_cols).
        low_rows, low_cols: (..., r) as ``BandAxis.low``.
        sizes, low_sizes: of both axes.
    """
    high_rows, high_cols = 1 - low_rows, 1 - low_cols
    high_sizes = sizes[0] - low_sizes[0], sizes[1] - low_sizes[1]
    parts = (
        (high_rows, low_cols, high_sizes[0] * low_sizes[1]),
        (low_rows, high_cols, low_sizes[0] * high_sizes[1]),
        (high_rows, high_cols, high_sizes[0] * high_sizes[1]),
    )
    traces = [
        torch.einsum("...a,...ab,...b->...", rows, weight, cols) / size
        for rows, cols, size in parts
    ]
    return torch.stack(traces, -1)


def whole_share(
    weight: Tensor,
    low_rows: Tensor,
    low_cols: Tensor,
    sizes: tuple[float, float],
    low_sizes: tuple[float, float],
) -> Tensor:
    """Known share of the whole band, of the white image where P is zero; as `band_shares`."""
    coarse = torch.einsum("...a,...ab,...b->...", low_rows, weight, low_cols)
    dimension = sizes[0] * sizes[1] - low_sizes[0] * low_sizes[1]
    return (weight.sum((-2, -1)) - coarse) / dimension


def noise_share(sigma: Noise, std: float) -> Noise:
    """``sigma / sqrt(sigma^2 + std^2)`` in [0, 1): noise of a measured sample of the band, whose
    standard deviation is ``std``, as a share of all that is measured."""
    ratio = sigma / std
    return ratio / (1 + ratio**2) ** 0.5
