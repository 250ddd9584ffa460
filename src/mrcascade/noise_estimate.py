"""Standard deviation of the noise in an image that comes without one."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mrcascade.errors import MRCascadeError

BLOCK = 8
HOMOGENEOUS_QUANTILE = 0.1
# In pure noise that quantile of the blocks' deviations lies below the truth by this factor
# (median of 64 normal magnitudes; 200,000 draws).
QUANTILE_BIAS = 0.823
# More slices than these sharpen a quantile over thousands of blocks no further, and take time.
MOST_SLICES = 32
MAD_TO_STD = 0.6744897501960817  # the standard normal's 75 % quantile


def slices_for_noise(count: int) -> list[int]:
    """Which of ``count`` slices the estimate looks at: all, or `MOST_SLICES` evenly spread ones."""
    chosen = np.linspace(0, count - 1, min(count, MOST_SLICES))
    return [int(i) for i in chosen.round()]


def estimate_noise(slices: Iterable[np.ndarray]) -> float:
    """Noise standard deviation of real or complex slices (H, W), in their own units; of complex
    ones, that of the real and of the imaginary part.

    The diagonal details of a db2 wavelet hold little anatomy (Donoho and Johnstone 1994). In an
    image of few pixels they still hold some, so the median absolute deviation is taken in blocks
    of 8 x 8 details and the 10 % quantile over the blocks inside the body counts: the most
    homogeneous tissue. Air is left out, as magnitude images have less noise there; of complex
    images the magnitude tells what is air, as their parts pass through zero wherever phase does.
    """
    found = [s for image in slices for s in _block_deviations(image)]
    if not found:
        raise MRCascadeError(
            "the image is too small or too empty to estimate its noise; give it with --noise"
        )
    return float(np.quantile(found, HOMOGENEOUS_QUANTILE) / QUANTILE_BIAS)


def _block_deviations(image: np.ndarray) -> list[float]:
    import pywt

    approximation, (_, _, details) = pywt.dwt2(image, "db2", mode="symmetric")
    magnitude = np.abs(approximation)
    body = 0.15 * np.quantile(magnitude, 0.99)
    parts = [details.real, details.imag] if np.iscomplexobj(details) else [details]
    rows, cols = (range(0, n - BLOCK + 1, BLOCK) for n in details.shape)
    blocks = ((slice(i, i + BLOCK), slice(j, j + BLOCK)) for i in rows for j in cols)
    return [
        float(np.median(np.abs(part[b])) / MAD_TO_STD)
        for b in blocks
        if magnitude[b].min() > body
        for part in parts
    ]
