"""Running mean and standard deviation of the samples of each slice."""

from __future__ import annotations

import numpy as np


class Moments:
    """Running mean and variance of the samples of each slice (Welford 1962)."""

    def __init__(self, slices: int, samples: int, *, wide: bool = True) -> None:
        """Start without samples.

        Args:
            slices: number S of slices.
            samples: number of samples that each slice will get.
            wide: whether to compute in double precision; else in that of the samples, in half of
                the memory.
        """
        self._count = np.zeros(slices, int)
        self._mean: list[np.ndarray | None] = [None] * slices
        self._square: list[np.ndarray | None] = [None] * slices
        self._first: list[np.ndarray | None] = [None] * slices
        self._keep_square, self._wide = samples > 1, wide

    def add(self, s: int, image: np.ndarray) -> None:
        """Add a sample (H, W), real or complex, of slice ``s``."""
        self._count[s] += 1
        mean, square = self._mean[s], self._square[s]
        if mean is None or square is None:
            self._first[s] = image
            own = image.dtype
            wide = np.result_type(own, np.float64) if self._wide else own
            self._mean[s] = image.astype(wide)
            squares = np.empty(0, wide).real.dtype
            self._square[s] = np.zeros(image.shape if self._keep_square else (), squares)
            return
        step = image - mean
        mean += step / self._count[s]
        square += (step * np.conj(image - mean)).real

    @property
    def mean(self) -> np.ndarray:
        """Mean of the samples of each slice, (S, H, W)."""
        return np.stack([m for m in self._mean if m is not None])

    @property
    def first(self) -> np.ndarray:
        """First sample of each slice, (S, H, W)."""
        return np.stack([f for f in self._first if f is not None])

    def std(self) -> np.ndarray:
        """Return the standard deviation over the samples (divisor K - 1), (S, H, W) float32."""
        squares = np.stack([q for q in self._square if q is not None])
        return np.sqrt(squares / (self._count[:, None, None] - 1)).astype(np.float32)
