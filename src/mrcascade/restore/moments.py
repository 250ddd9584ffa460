"""Running mean and standard deviation of the samples of each slice."""

from __future__ import annotations

import numpy as np


class Moments:
    """Running mean and variance of the samples of each slice (Welford 1962).

    Attributes:
        mean: mean of the samples of each slice, (S, H, W).
        first: first sample of each slice, (S, H, W).
    """

    mean: np.ndarray
    first: np.ndarray

    def __init__(self, slices: int, samples: int, *, wide: bool = True) -> None:
        """Start without samples.

        Args:
            slices: number S of slices.
            samples: number of samples that each slice will get.
            wide: whether to compute in double precision; else in that of the samples, in half of
                the memory.
        """
        self._count = np.zeros(slices, int)
        self._square: np.ndarray | None = None
        self._keep_square, self._wide = samples > 1, wide

    def add(self, s: int, image: np.ndarray) -> None:
        """Add a sample (H, W), real or complex, of slice ``s``."""
        if not self._count.any():
            self._begin(image)
        self._count[s] += 1
        mean = self.mean[s]
        if self._count[s] == 1:
            self.first[s] = mean[...] = image
            return
        step = image - mean
        mean += step / self._count[s]
        if self._square is not None:
            self._square[s] += (step * np.conj(image - mean)).real

    def std(self) -> np.ndarray:
        """Return the standard deviation over the samples (divisor K - 1), (S, H, W) float32."""
        assert self._square is not None  # kept for two samples or more
        variance = self._square / (self._count[:, None, None] - 1)
        return np.sqrt(variance, out=variance).astype(np.float32, copy=False)

    def _begin(self, image: np.ndarray) -> None:
        shape = len(self._count), *image.shape
        kind = np.result_type(image, np.float64) if self._wide else image.dtype
        self.first, self.mean = np.empty(shape, image.dtype), np.empty(shape, kind)
        if self._keep_square:
            self._square = np.zeros(shape, self.mean.real.dtype)
