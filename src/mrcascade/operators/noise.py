"""Noise of a measurement, z in y = H x + z."""

from collections.abc import Sequence

import numpy as np


def gaussian_noise(like: np.ndarray, sigma: float, seed: int | Sequence[int]) -> np.ndarray:
    """Draw white Gaussian noise of the shape and dtype of ``like``.

    Args:
        like: the measurement, real or complex.
        sigma: standard deviation; of a complex measurement, of its real and of its imaginary part.
        seed: one or several whole numbers >= 0.
    """
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=like.shape)
    if np.iscomplexobj(like):
        noise = noise + 1j * rng.normal(size=like.shape)
    drawn: np.ndarray = (sigma * noise).astype(like.dtype)
    return drawn
