"""The intensity convention of the library: no signal is 0, the measurement's robust maximum is 1.

Every volume has one `Intensity`. It comes from the measurement, never from a ground truth, and is
undone on output. Nothing is clipped: air stays near 0, bright tissue near 1, and bands and complex
parts keep their signs. A few images store no signal as a value other than 0, which
`mrcascade.measurement.noise.zero_level` finds. The kernels keep constants, so an offset of the
measurement is the same offset of the result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

QUANTILE = 0.999
BODY = 0.1  # share of the robust maximum; pixels below it are air
EMPTY = 0.02  # share of the robust maximum; a slice whose mean magnitude is below it is air


@dataclass(frozen=True)
class Intensity:
    """The unit of a volume's values.

    Attributes:
        scale: robust maximum above ``zero``; noise is given as a fraction of it.
        zero: value of no signal.

    Example:
        >>> import numpy as np, mrcascade
        >>> mrcascade.Intensity.of(np.array([-1024.0, -24.0]), zero=-1024.0).zero
        -1024.0
    """

    scale: float
    zero: float = 0.0

    @classmethod
    def of(cls, values: np.ndarray, zero: float = 0.0) -> Intensity:
        """The intensity of a measured volume (any shape, real or complex) whose value of no signal
        is ``zero``."""
        return cls(robust_maximum(values - zero if zero else values), zero)

    def above_zero(self, values: np.ndarray) -> np.ndarray:
        """Shift values of the volume so that no signal is 0; no copy where ``zero`` is 0."""
        return values - self.zero if self.zero else values

    def restored(self, normalised: np.ndarray) -> np.ndarray:
        """Convert normalised values (0: no signal, 1: robust maximum) back to the volume's."""
        scaled = normalised * self.scale
        return scaled + self.zero if self.zero else scaled

    @property
    def window(self) -> tuple[float, float]:
        """Value of no signal and value of the robust maximum."""
        return self.zero, self.zero + self.scale


def robust_maximum(measurement: np.ndarray) -> float:
    """Return the 99.9th percentile of a measurement's magnitude (any shape, real or complex)."""
    found = RobustMaximum(measurement.size)
    found.add(measurement)
    return found.value()


def body_of(image: np.ndarray, scale: float) -> np.ndarray:
    """Return a mask of the body: where the magnitude exceeds ``BODY`` of the robust maximum.

    Args:
        image: any shape, real or complex.
        scale: robust maximum of the image.
    """
    return np.asarray(np.abs(image) > BODY * scale)


class RobustMaximum:
    """Exact robust maximum of a volume that is read in pieces.

    It keeps only the largest thousandth of the values, which the quantile needs.
    """

    def __init__(self, size: int) -> None:
        """size: number of values in the whole volume, 1 or more."""
        self._position = QUANTILE * (size - 1)  # in the sorted values, from 0
        self._keep = size - math.floor(self._position)
        self._tail: np.ndarray | None = None

    def add(self, piece: np.ndarray) -> None:
        """Add the next values of the volume (any shape, real or complex)."""
        values = np.abs(piece).ravel()
        if self._tail is not None:
            if self._tail.size == self._keep:
                values = values[values > self._tail[0]]
            values = np.concatenate([self._tail, values])
        if values.size >= self._keep:  # puts the smallest kept value first
            values = np.partition(values, values.size - self._keep)[-self._keep :]
        self._tail = values

    def value(self) -> float:
        """Return the quantile, interpolated linearly as by `numpy.quantile`."""
        assert self._tail is not None
        assert self._tail.size == self._keep
        low, *above = np.sort(self._tail)[:2].astype(np.float64)
        high = above[0] if above else low
        return float(low + (self._position - math.floor(self._position)) * (high - low))
