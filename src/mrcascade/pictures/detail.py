"""Choice of the window that a picture shows enlarged: the one with the most fine detail."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter

Sides = tuple[int, int]


def busiest(
    image: np.ndarray, measured: Sides, sides: Sides, body: np.ndarray | None = None
) -> tuple[slice, slice]:
    """Return the window in which an image has most energy above the measured frequencies.

    Args:
        image: (H, W), real or complex.
        measured: (h, w) of the measurement.
        sides: rows and columns of the window, at most (H, W).
        body: (H, W) mask of pixels whose energy counts; by default all.

    Returns:
        Row and column slices of the window.
    """
    rows, columns = (
        np.abs(np.fft.fftfreq(n)) * n < m / 2 for n, m in zip(image.shape, measured, strict=True)
    )
    fine = np.fft.ifft2(np.fft.fft2(image) * ~(rows[:, None] & columns[None]))
    power = np.abs(fine) ** 2
    if body is not None:
        power = power * body
    energy = uniform_filter(power, sides, mode="constant")
    inside = tuple(
        slice(s // 2, n - (s - s // 2) + 1) for n, s in zip(image.shape, sides, strict=True)
    )
    peak = np.unravel_index(np.argmax(energy[inside]), energy[inside].shape)
    top, left = (int(p) for p in peak)  # `inside` begins at the centre s // 2 of window 0
    return slice(top, top + sides[0]), slice(left, left + sides[1])
