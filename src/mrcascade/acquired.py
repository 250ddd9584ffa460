"""The matrix that was really acquired, seen in the spectra of the stored pixels.

Scanners often store more pixels than they acquired: k-space is filled up with zeros before the
transform. Enlarging such pixels is another task than the one that a prior was trained for.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

# Shares of the Nyquist frequency. An edge nearer to it than LAST is a few pixels, and filters of
# full matrices look the same; below FIRST, anatomy alone makes the spectrum fall that steeply.
FIRST, LAST = 0.45, 0.88
WINDOW = 0.05
# By how much more than the trend inside the spectrum falls at the edge (dB). Of the real images in
# the project's collection, those with an empty band reach 5.7 to 10.0, full ones at most 4.9.
EDGE_DB = 5.3
# Shorter axes have too few frequencies per window.
SHORTEST = 64
_FLOOR = 1e-14


def matrix_with_signal(slices: Iterable[np.ndarray]) -> tuple[int, int]:
    """The part of the matrix (rows, columns) of slices (H, W) that carries signal.

    Equal to (H, W) where no edge is found in the spectra. The magnitude of a zero-filled image
    leaks over the edge, so that it is found within some 6 % (of the matrix), on the large side
    more often than on the small one.
    """
    total: np.ndarray | None = None
    for image in slices:
        power = np.abs(np.fft.fft2(image.astype(np.complex128))) ** 2
        total = power if total is None else total + power
    if total is None:
        raise ValueError("no slices")
    rows, columns = (_extent(total.sum(1 - axis)) for axis in (0, 1))
    return rows, columns


def _extent(power: np.ndarray) -> int:
    """Samples inside the edge of a spectrum (n,) over the frequencies of one axis; n if none."""
    size = len(power)
    score, edge = _edge(power) if size >= SHORTEST else (0.0, 1.0)
    return min(size, 2 * round(edge * size / 2)) if score > EDGE_DB else size


def _edge(power: np.ndarray) -> tuple[float, float]:
    """(excess fall in dB, share of Nyquist) of the steepest place of a spectrum.

    The fall across an edge from the mean over [e - 2w, e - w] to that over [e, e + w], less what
    the trend from 0.25 on would give over the same distance.
    """
    half = len(power) // 2
    folded = (power[: half + 1] + power[-np.arange(half + 1)]) / 2
    folded = folded + _FLOOR * folded.max()
    share = np.arange(half + 1) / (len(power) / 2)

    def level(low: float) -> float:
        return 10 * float(np.log10(folded[(share >= low) & (share < low + WINDOW)].mean()))

    start = level(0.25)
    found = []
    for edge in np.arange(FIRST, LAST + 0.005, 0.01):
        fall = level(edge - 2 * WINDOW) - level(edge)
        trend = (start - level(edge - 3 * WINDOW)) / (edge - 3 * WINDOW - 0.25)
        found.append((fall - 2 * WINDOW * max(trend, 0.0), float(edge)))
    return max(found)
