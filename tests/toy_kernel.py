"""A kernel that the package does not have: triangles on the grid that shares its edges."""

from __future__ import annotations

import numpy as np

from mrcascade.operators import Kernel


def triangle_down(n: int, m: int) -> np.ndarray:
    """Weights that fall linearly to zero, one coarse sample away."""
    factor = n / m
    centre = (np.arange(m)[:, None] + 0.5) * factor - 0.5
    weights = np.maximum(1 - np.abs(np.arange(n)[None, :] - centre) / factor, 0)
    return weights / weights.sum(axis=1, keepdims=True)


def repeated_up(n: int, m: int) -> np.ndarray:
    """The coarse sample in whose interval a fine one lies."""
    return np.eye(m)[(np.arange(n) * m) // n]


TRIANGLE = Kernel("triangle", triangle_down, repeated_up, origin="edges")
