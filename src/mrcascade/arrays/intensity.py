"""The one intensity convention of the library.

Inside the library the value of no signal is 0 and the robust maximum of the *measurement* is 1: one
`Intensity` per volume, never computed from a ground truth, undone on output. Nothing is clipped, so
air stays near 0, bright tissue near 1, and bands and complex parts keep their signs. Few images
store no signal as another value than 0 (`mrcascade.measurement.noise.zero_level` finds it); all
operators on files keep constants, so that an offset of the measurement is one of the result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

QUANTILE = 0.999
BODY = 0.1  # of the robust maximum; what lies below it is air
EMPTY = 0.02  # a slice whose mean magnitude is below this share of the robust maximum is air


@dataclass(frozen=True)
class Intensity:
    """The unit of a volume's values.

    Attributes:
        scale: robust maximum above ``zero``; noise is stated as a fraction of it.
        zero: value that stands for no signal.
    """

    scale: float
    zero: float = 0.0

    @classmethod
    def of(cls, values: np.ndarray, zero: float = 0.0) -> Intensity:
        """The intensity of a measured volume (any shape, real or complex) whose value of no signal
        is ``zero``."""
        return cls(robust_maximum(values - zero if zero else values), zero)

    def above_zero(self, values: np.ndarray) -> np.ndarray:
        """Values of the volume with 0 for no signal; the same array where ``zero`` is 0."""
        return values - self.zero if self.zero else values

    def restored(self, normalised: np.ndarray) -> np.ndarray:
        """Values of the volume, from values with 0 for no signal and 1 for the robust maximum."""
        scaled = normalised * self.scale
        return scaled + self.zero if self.zero else scaled

    @property
    def window(self) -> tuple[float, float]:
        """The values of no signal and of the robust maximum."""
        return self.zero, self.zero + self.scale


def robust_maximum(measurement: np.ndarray) -> float:
    """99.9th percentile of the magnitude of a measured volume (any shape, real or complex)."""
    found = RobustMaximum(measurement.size)
    found.add(measurement)
    return found.value()


def body_of(image: np.ndarray, scale: float) -> np.ndarray:
    """Return where the magnitude of an image exceeds ``BODY`` of ``scale``, its robust maximum."""
    return np.asarray(np.abs(image) > BODY * scale)


class RobustMaximum:
    """The same number, exactly, from a volume that comes in pieces.

    Only the thousandth of the values that the quantile needs is kept.
    """

    def __init__(self, size: int) -> None:
        """size: values of the whole volume, 1 or more."""
        self._position = QUANTILE * (size - 1)  # among the sorted values, counted from 0
        self._keep = size - math.floor(self._position)
        self._tail: np.ndarray | None = None

    def add(self, piece: np.ndarray) -> None:
        """Take in some of the values, any shape."""
        values = np.abs(piece).ravel()
        if self._tail is not None:
            if self._tail.size == self._keep:
                values = values[values > self._tail[0]]
            values = np.concatenate([self._tail, values])
        if values.size >= self._keep:  # the smallest of those kept comes first
            values = np.partition(values, values.size - self._keep)[-self._keep :]
        self._tail = values

    def value(self) -> float:
        """The quantile, linear between its two neighbours as in `numpy.quantile`."""
        assert self._tail is not None
        assert self._tail.size == self._keep
        low, *above = np.sort(self._tail)[:2].astype(np.float64)
        high = above[0] if above else low
        return float(low + (self._position - math.floor(self._position)) * (high - low))
