"""The noise of a measurement, y = H x + z."""

from collections.abc import Sequence

import numpy as np


def gaussian_noise(like: np.ndarray, sigma: float, seed: int | Sequence[int]) -> np.ndarray:
    """White noise of the shape and type of ``like``, standard deviation ``sigma`` in each part."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=like.shape)
    if np.iscomplexobj(like):
        noise = noise + 1j * rng.normal(size=like.shape)
    drawn: np.ndarray = (sigma * noise).astype(like.dtype)
    return drawn
