"""Formulas of the four kernels: one-dimensional down- and upsampling matrices, in float64.

Each function takes ``n`` fine and ``m < n`` coarse samples; factors need not be whole. Every row
sums to one, so that a constant keeps its value. `kernels` assigns the formulas to kernels.

Sources: Keys, "Cubic convolution interpolation for digital image processing", IEEE TASSP 1981,
eq. 15; Burt and Adelson, "The Laplacian pyramid as a compact image code", IEEE TCOM 1983.
"""

import math

import numpy as np
from numpy.typing import NDArray

_KEYS_A = -0.5
_BURT_ADELSON_TAPS = np.array([6.0, 4.0, 1.0, 0.0])  # weights at distances 0, 1, 2 and beyond
_GAUSSIAN_REACH = 6.0  # in standard deviations; weights beyond (1.5e-8) count as zero

Matrix = NDArray[np.float64]


def _normalised(weights: Matrix) -> Matrix:
    return weights / weights.sum(axis=1, keepdims=True)


# ---- fourier: crop of k-space and zero filling ----


def fourier_down(n: int, m: int) -> Matrix:
    """Return the (m, n) matrix that crops k-space.

    Row j is (1/n) sum_k w_k exp(2 pi i k (j/m - i/n)) over the m frequencies kept. For even m the
    coarse Nyquist sample is (X_{-m/2} + X_{m/2}) / sqrt(2): its two exponentials add to a cosine
    of weight sqrt(2). With that weight the matrix is real, and its rows are orthogonal and of equal
    norm: D D^T = (m/n) I. Phases are reduced in whole numbers first.
    """
    # Lags repeat: sizes with a common divisor g have only n m / g different ones.
    g = math.gcd(n, m)
    period = n * m // g
    weights = _kept_frequencies(g * np.arange(period), n, m) / n
    steps = np.arange(n) * (m // g)
    rows = [weights[(j * (n // g) - steps) % period] for j in range(m)]
    return np.stack(rows)


def _kept_frequencies(lag: NDArray[np.int64], n: int, m: int) -> Matrix:
    """Sum of w_k exp(2 pi i k lag / (n m)) over the m frequencies kept, for lags from 0 to n m.

    The sum over k = -K, ..., K is sin((2 K + 1) x) / sin(x) with x = pi lag / (n m).
    """
    folded = np.minimum(lag, n * m - lag)  # the sum is even, and small angles keep their digits
    odd = 2 * ((m - 1) // 2) + 1
    unit = np.pi / (n * m)
    below = np.sin(unit * folded)
    above = np.sin(unit * (odd * folded % (2 * n * m)))
    total = np.where(folded == 0, odd, above / np.where(folded == 0, 1.0, below))
    if m % 2 == 0:
        total += np.sqrt(2.0) * np.cos(2.0 * unit * (m // 2 * lag % (n * m)))
    return total


def fourier_up(n: int, m: int) -> Matrix:
    """Return the (n, m) matrix of zero filling: (n/m) D^T, the pseudo-inverse of D."""
    return (n / m) * fourier_down(n, m).T


# ---- area: mean over the interval that a coarse pixel covers, and bilinear interpolation ----


def area_down(n: int, m: int) -> Matrix:
    """Return the (m, n) matrix of means over the interval that each coarse pixel covers.

    The overlap of fine pixel [i, i+1] with coarse pixel [j, j+1] n/m is taken in units of 1/m.
    """
    j, i = np.arange(m)[:, None], np.arange(n)[None, :]
    overlap = np.minimum((i + 1) * m, (j + 1) * n) - np.maximum(i * m, j * n)
    return np.maximum(overlap, 0) / n


def bilinear_up(n: int, m: int) -> Matrix:
    """Return the (n, m) matrix of bilinear interpolation, clamped at the border."""
    position = np.clip((np.arange(n)[:, None] + 0.5) * m / n - 0.5, 0, m - 1)
    return np.maximum(1.0 - np.abs(np.arange(m)[None, :] - position), 0.0)


# ---- bicubic: Keys cubic on the shared-edge grid, widened by the factor on the way down ----


def bicubic_down(n: int, m: int) -> Matrix:
    """Return the (m, n) matrix of Keys's cubic, widened by the factor against aliasing."""
    factor = n / m
    centre = (np.arange(m)[:, None] + 0.5) * factor - 0.5
    return _normalised(keys_cubic((np.arange(n)[None, :] - centre) / factor))


def bicubic_up(n: int, m: int) -> Matrix:
    """Return the (n, m) matrix of Keys's cubic interpolation, renormalised at the border."""
    centre = (np.arange(n)[:, None] + 0.5) * m / n - 0.5
    return _normalised(keys_cubic(np.arange(m)[None, :] - centre))


def keys_cubic(distance: Matrix) -> Matrix:
    """Keys's cubic (1981) with a = -1/2 at the given distances, in samples."""
    d, a = np.abs(distance), _KEYS_A
    near = ((a + 2) * d - (a + 3)) * d**2 + 1
    far = a * (((d - 5) * d + 8) * d - 4)
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


# ---- gaussian: Burt-Adelson at factor 2, a sampled Gaussian of matching width elsewhere ----


def gaussian_down(n: int, m: int) -> Matrix:
    """Return the (m, n) matrix of Gaussian smoothing and decimation, which keeps sample 0."""
    coarse, fine = np.arange(m)[:, None] * (n / m), np.arange(n)[None, :]
    return _normalised(_mirrored(coarse, fine, n, n / m))


def gaussian_up(n: int, m: int) -> Matrix:
    """Return the (n, m) matrix of the Gaussian expansion of Burt and Adelson."""
    coarse, fine = np.arange(m)[None, :] * (n / m), np.arange(n)[:, None]
    return _normalised(_mirrored(fine, coarse, n, n / m))


def _mirrored(fixed: NDArray, moving: NDArray, n: int, factor: float) -> Matrix:
    """Weights between positions, summed over the copies of `moving` mirrored at 0 and n - 1."""
    period = 2 * (n - 1)
    reach = _GAUSSIAN_REACH * _gaussian_sigma(factor)
    distinct = (moving != 0) & (moving != n - 1)  # an edge sample is its own mirror image
    total = np.zeros(np.broadcast_shapes(fixed.shape, moving.shape))
    for shift in period * np.arange(-1 - reach // period, 2 + reach // period):
        total += _gaussian_weight(fixed - moving - shift, factor)
        total += distinct * _gaussian_weight(fixed + moving - shift, factor)
    return total


def _gaussian_weight(distance: NDArray, factor: float) -> Matrix:
    if factor == 2:
        return _BURT_ADELSON_TAPS[np.minimum(np.abs(distance), 3).astype(int)]
    scaled = np.abs(distance) / _gaussian_sigma(factor)
    return np.where(scaled <= _GAUSSIAN_REACH, np.exp(-0.5 * scaled**2), 0.0)


def _gaussian_sigma(factor: float) -> float:
    """Standard deviation at factor f, in fine samples: sqrt((f^2 - 1) / 3), at least 1/2.

    The variances of k two-fold steps add to 1 + 4 + ... + 4^(k-1) = (4^k - 1) / 3. The same law
    is used between powers of two. The floor keeps factors close to 1 from becoming nearest-sample
    interpolation.
    """
    return max(float(np.sqrt((factor**2 - 1) / 3)), 0.5)
