"""Conversion of a result's float32 values to the 16-bit integers of a DICOM file."""

from dataclasses import dataclass

import numpy as np

from mrcascade.io.dicom.frames import Frame
from mrcascade.io.dicom.series import Series

_UNSIGNED, _SIGNED = (0, 2**16 - 1), (-(2**15), 2**15 - 1)


@dataclass(frozen=True)
class Storage:
    """The scale of a series.

    Attributes:
        signed: whether integers are signed.
        as_source: whether every frame keeps the slope and intercept of its source.
        slope, intercept: otherwise the scale of all frames, rounded as written in decimal.
    """

    signed: bool
    as_source: bool = True
    slope: float = 1.0
    intercept: float = 0.0

    def encoded(self, values: np.ndarray, source: Frame) -> np.ndarray:
        """Convert values to little-endian 16-bit integers."""
        slope, intercept = self._scale(source)
        low, high = _SIGNED if self.signed else _UNSIGNED
        stored = np.rint((values.astype(np.float64) - intercept) / slope)
        return stored.clip(low, high).astype("<i2" if self.signed else "<u2")

    def decoded(self, stored: np.ndarray, source: Frame) -> np.ndarray:
        """Return the values that a reader gets from `encoded`, float64."""
        slope, intercept = self._scale(source)
        return stored * slope + intercept

    def _scale(self, source: Frame) -> tuple[float, float]:
        if self.as_source:
            return source.slope, source.intercept
        return self.slope, self.intercept


def storage_for(series: Series, low: float, high: float, quantity: bool = False) -> Storage:
    """Choose the scale for values from `low` to `high`.

    A result keeps the units and the precision of its source. Values are then comparable, and no
    element is needed that the source does not have. Where these integers do not reach, and for a
    `quantity` other than signal (a standard deviation is small), the values are spread over the
    range of 16 bits.
    """
    if not quantity:
        scales = {(frame.slope, frame.intercept) for frame in series.stack.frames}
        reach = np.rint([(v - b) / m for m, b in scales for v in (low, high)])
        bottom, top = reach.min(), reach.max()
        for signed, (least, most) in ((False, _UNSIGNED), (True, _SIGNED)):
            if least <= bottom and top <= most:
                return Storage(signed)
    intercept = _as_decimal(min(low, 0.0))
    slope = _as_decimal((high - intercept) / _UNSIGNED[1]) or 1.0
    return Storage(False, False, slope, intercept)


def _as_decimal(value: float) -> float:
    """Return the value rounded to its decimal string of at most 16 characters."""
    from pydicom.valuerep import format_number_as_ds

    return float(format_number_as_ds(float(value)))
