"""Acquired matrix of an image, estimated from the spectrum of its stored pixels.

Scanners often store more pixels than they acquired: k-space is apodised and zero-filled before the
transform. A prior was not trained to enlarge such interpolated pixels.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

# Shares of the Nyquist frequency. Edges above LAST are filters of fully acquired matrices. Below
# HALF_WAY anatomy makes ripple, so an edge must be twice as high. No edge is sought below FIRST.
FIRST, HALF_WAY, LAST = 0.22, 0.3, 0.885
STEP = 0.005
# Width of the window over which a level is averaged, as a share of the Nyquist frequency; two
# samples on short axes.
WINDOW = 0.05
# Distance, in windows, over which the trend on either side of an edge is measured.
REACH = 3.0
# Smallest fall at an edge beyond the trend on both sides (dB). It lies between full training
# images, which reach 3.1, and zero-filled ones, of which nine in ten exceed 4.1.
EDGE_DB = 4.0
# Few slices leave ripple from anatomy that more slices average out. The smallest fall is 1 dB more
# for each slice below this number; single full slices reach 5.7 dB.
ENOUGH_SLICES = 3
# Smallest fall at an edge, in standard deviations of a level's ripple. It is large because an edge
# compares four levels at about a hundred places.
RIPPLE = 14.0
# Frequencies of the other axis that count, as a share of its Nyquist frequency. Signal exceeds
# noise most there, and an elliptical k-space has nearly its full width.
CENTRAL = 0.25
# Shortest axis that is judged; shorter ones have too few frequencies per window.
SHORTEST = 64
_FLOOR = 1e-14


def matrix_with_signal(slices: Iterable[np.ndarray]) -> tuple[int, int]:
    """Return the part of the matrix (rows, columns) that carries signal.

    It is (H, W) where the slices' pooled spectrum has no edge. An edge is the steepest fall of the
    spectrum in decibels, beyond its trend on both sides. A sharp edge is found within some 3 % of
    the true matrix. The edge of apodised k-space lies on the slope, up to 15 % inside its end, or
    where the signal sinks into noise. The two ends of an axis of complex slices are judged
    separately and the farther one counts, so partial Fourier keeps the end that it sampled.

    Smoothing that leaves nothing at the border of k-space, such as a Gaussian of a pixel or more,
    looks like zero filling. The smaller matrix holds the whole image in either case. Axes below
    `SHORTEST` pixels are not judged, nor are edges below `FIRST` or above `LAST` of the Nyquist
    frequency.

    Args:
        slices: (H, W) each, real or complex, of one volume.
    """
    stack = np.stack(list(slices))
    rows, columns = stack.shape[1:]
    power = _power(_without_border(stack))
    least = EDGE_DB + max(0, ENOUGH_SLICES - len(stack))
    found = []
    for size, spectrum in ((rows, power), (columns, power.T)):
        other = 2 * np.abs(np.fft.fftfreq(spectrum.shape[1]))
        line = spectrum[:, other <= CENTRAL].sum(1)
        share = _share(line, least)
        found.append(size if share == 1 else 2 * round(share * size / 2))
    return found[0], found[1]


def _without_border(stack: np.ndarray) -> np.ndarray:
    """Crop a constant border off slices (S, H, W), as its step would hide the spectrum."""
    varies = (stack != stack[0, 0, 0]).any(0)
    if not varies.any():
        return stack
    inside = [np.flatnonzero(varies.any(1 - axis)) for axis in (0, 1)]
    rows, columns = (slice(found[0], found[-1] + 1) for found in inside)
    return stack[:, rows, columns]


def _power(stack: np.ndarray) -> np.ndarray:
    """Return the summed power spectrum (H, W) of slices (S, H, W).

    Hann windows suppress the jump between opposite borders.
    """
    height, width = stack.shape[1:]
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    total = np.zeros((height, width))
    for image in stack:
        values = image.astype(np.complex128 if np.iscomplexobj(image) else np.float64)
        total += np.abs(np.fft.fft2((values - values.mean()) * window)) ** 2
    return total


def _share(power: np.ndarray, least: float) -> float:
    """Return the share of the Nyquist frequency below which a spectrum carries signal.

    Args:
        power: (n,), in the order of the discrete Fourier transform.
        least: smallest fall of an edge in dB.
    """
    size = len(power)
    if size < SHORTEST or not power.any():
        return 1.0
    return max(_end(power, least), _end(power[-np.arange(size)], least))


def _end(power: np.ndarray, least: float) -> float:
    """Return the first edge above zero frequency, 1 without one.

    The first one counts, as the magnitude of a zero-filled image has another at twice its place.
    """
    places, score = _edges(power)
    needed = np.where(places < HALF_WAY, 2 * least, least)
    around = round(WINDOW / STEP)
    # The windows beside a sharp edge leave half a window of doubt about its place.
    for i in np.flatnonzero((score > needed) & (places < LAST + WINDOW / 2)):
        if score[i] == score[max(i - around, 0) : i + around + 1].max():
            place = _half_way_down(power, float(places[i]))
            return place if place < LAST else 1.0
    return 1.0


def _edges(power: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return places (shares of Nyquist) and the fall beyond the trend at each (dB).

    A fall within the ripple counts as 0. The spectrum (n,) is periodic, so the other end follows
    after the Nyquist frequency.
    """
    size, level, window = len(power), _decibels(power), _window(power)
    limits = (2 * np.arange(size + 1) - 1) / size
    integral = np.append(0, np.cumsum(level)) * 2 / size

    def mean(start: np.ndarray) -> np.ndarray:
        low, high = (np.interp(x, limits, integral) for x in (start, start + window))
        return np.asarray((high - low) / window)

    places = np.arange(FIRST, 1, STEP)
    left, right = places - 1.5 * window, places + 0.5 * window
    before, after = np.maximum(left - REACH * window, window / 2), right + REACH * window
    inner = (mean(before) - mean(left)) / (left - before)
    outer = (mean(right) - mean(after)) / (after - right)
    trend = np.maximum((inner + outer) / 2, 0)
    score = mean(left) - mean(right) - (right - left) * trend
    return places, np.where(score > RIPPLE * _ripple(level) / np.sqrt(window * size / 2), score, 0)


def _half_way_down(power: np.ndarray, place: float) -> float:
    """Refine the place of an edge in a spectrum (n,), which is known to a step of the window.

    Returns where the spectrum last crosses the mean of the levels inside and outside.
    """
    share = 2 * np.arange(len(power)) / len(power)
    level, window = _decibels(power), _window(power)
    offset = (share - place) / window
    inside, outside = (level[np.abs(offset - side) <= 0.5].mean() for side in (-1, 1))
    middle = (inside + outside) / 2
    last = np.flatnonzero((np.abs(offset) <= 1.5) & (level > middle))[-1]
    part = (level[last] - middle) / (level[last] - level[last + 1])
    return float(share[last] + part * 2 / len(power))


def _decibels(power: np.ndarray) -> np.ndarray:
    return np.asarray(10 * np.log10(power + _FLOOR * power.max()))


def _window(power: np.ndarray) -> float:
    return max(WINDOW, 4 / len(power))


def _ripple(level: np.ndarray) -> float:
    """Return the standard deviation of a spectrum (n,) about a smooth curve, in dB.

    It is estimated from second differences, without the steep part near zero frequency.
    """
    size = len(level)
    bends = np.diff(level[size // 20 : size // 2], 2)
    return float(1.4826 * np.median(np.abs(bends)) / np.sqrt(6))
