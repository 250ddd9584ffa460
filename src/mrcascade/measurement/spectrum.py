"""The matrix that was really acquired, seen in the spectra of the stored pixels.

Scanners often store more pixels than they acquired: k-space is apodised and filled up with zeros
before the transform. Enlarging such pixels is another task than the one that a prior was trained
for.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

# Shares of the Nyquist frequency. Filters of full matrices fall above LAST. Below HALF_WAY anatomy
# alone makes ripple, so an edge must be twice as high there; below FIRST none is looked for.
FIRST, HALF_WAY, LAST = 0.22, 0.3, 0.885
STEP = 0.005
# Levels are means over this share of the Nyquist frequency, or over two samples of short axes.
WINDOW = 0.05
# Distance, in windows, over which the trend on either side of an edge is measured.
REACH = 3.0
# By how much more than the trends beside it the spectrum falls at an edge (dB). Full training
# images of the project's collection reach 3.1; nine of ten zero-filled ones exceed 4.1.
EDGE_DB = 4.0
# The anatomy of few slices makes ripple that more slices average out: 1 dB more for each slice
# short of this number. Single full slices reach 5.7.
ENOUGH_SLICES = 3
# An edge also exceeds the ripple between neighbouring samples: this many standard deviations of
# one level. An edge compares four levels at some hundred places.
RIPPLE = 14.0
# Frequencies of the other axis, as a share of its Nyquist frequency. The signal stands highest
# above noise there, and a support without corners is as wide as it gets.
CENTRAL = 0.25
# Shorter axes have too few frequencies per window.
SHORTEST = 64
_FLOOR = 1e-14


def matrix_with_signal(slices: Iterable[np.ndarray]) -> tuple[int, int]:
    """The part of the matrix (rows, columns) of real or complex slices (H, W) that carries signal.

    Equal to (H, W) where no edge is found in their pooled spectrum. An edge is the steepest fall
    of the spectrum in decibels, beyond its trend on both sides. A sharp one is found within some
    3 % of the true matrix. Apodised k-space has its edge on the slope, up to 15 % inside its end,
    or where it sinks into noise. Of complex slices either end of an axis is judged by itself and
    the longer one counts, so that partial Fourier acquisitions keep the end that they sampled.

    Pixels cannot tell zero filling from smoothing that leaves nothing at the border of k-space,
    such as a Gaussian of a pixel or more: the smaller matrix holds all of either image.
    Axes below 64 pixels, matrices below 0.22 and above 0.885 of the stored one are not judged.
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
    """The slices (S, H, W) without a constant border, whose step would hide the spectrum."""
    varies = (stack != stack[0, 0, 0]).any(0)
    if not varies.any():
        return stack
    inside = [np.flatnonzero(varies.any(1 - axis)) for axis in (0, 1)]
    rows, columns = (slice(found[0], found[-1] + 1) for found in inside)
    return stack[:, rows, columns]


def _power(stack: np.ndarray) -> np.ndarray:
    """Power spectrum (H, W) of all slices together. Hann windows keep the jump between opposite
    borders out of it."""
    height, width = stack.shape[1:]
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    total = np.zeros((height, width))
    for image in stack:
        values = image.astype(np.complex128 if np.iscomplexobj(image) else np.float64)
        total += np.abs(np.fft.fft2((values - values.mean()) * window)) ** 2
    return total


def _share(power: np.ndarray, least: float) -> float:
    """Share of the Nyquist frequency up to which a spectrum (n,) carries signal; 1 if to its end.

    The order of the spectrum is that of the discrete Fourier transform. least: fall (dB) of an
    edge.
    """
    size = len(power)
    if size < SHORTEST or not power.any():
        return 1.0
    return max(_end(power, least), _end(power[-np.arange(size)], least))


def _end(power: np.ndarray, least: float) -> float:
    """The first edge above zero frequency, 1 without one. The magnitude of a zero-filled image has
    a second edge at twice the first."""
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
    """(share of Nyquist, fall in dB beyond the trend) of places in a spectrum (n,); no fall counts
    that drowns in ripple. Past the Nyquist frequency the spectrum goes on with its other end."""
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
    """Where a spectrum (n,) that falls about ``place`` last crosses the mean of the levels inside
    and outside. A place is a step of windows; this is finer."""
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
    """Standard deviation of the samples of a spectrum (n,) about a smooth course, from their
    second differences; the steep part at its centre is left out."""
    size = len(level)
    bends = np.diff(level[size // 20 : size // 2], 2)
    return float(1.4826 * np.median(np.abs(bends)) / np.sqrt(6))
