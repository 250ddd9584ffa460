"""The Gaussian slice profile of a scan with thick slices."""

from __future__ import annotations

import math

import numpy as np

from mrcascade.operators.kernels import Matrix

FWHM = 2 * math.sqrt(2 * math.log(2))  # of a Gaussian, in standard deviations


def profile_matrix(n: int, m: int) -> Matrix:
    """Matrix (m, n) of ``m`` contiguous slices over ``n`` samples, ``1 <= m <= n``.

    Slice ``k`` lies at ``(k + 1/2) f - 1/2`` with ``f = n / m``: both grids span the same
    interval. Its profile is a Gaussian of full width ``f`` at half maximum; rows sum to one.
    """
    f = n / m
    centres = (np.arange(m)[:, None] + 0.5) * f - 0.5
    weights = np.exp(-0.5 * ((np.arange(n)[None, :] - centres) * FWHM / f) ** 2)
    return np.asarray(weights / weights.sum(1, keepdims=True))
