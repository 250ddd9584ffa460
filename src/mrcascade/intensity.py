"""The one intensity convention of the library.

Inside the library an image is divided by the robust maximum of its *measurement*: one factor per
volume, never computed from a ground truth, undone on output. Nothing is clipped and nothing is
shifted, so air stays near 0, bright tissue near 1, and bands and complex parts keep their signs.
"""

from __future__ import annotations

import numpy as np

QUANTILE = 0.999


def robust_maximum(measurement: np.ndarray) -> float:
    """99.9th percentile of the magnitude of a measured volume (any shape, real or complex)."""
    return float(np.quantile(np.abs(measurement), QUANTILE))
