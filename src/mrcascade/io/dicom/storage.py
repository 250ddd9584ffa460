"""How the float32 values of a result become the 16-bit integers of a DICOM file."""

from dataclasses import dataclass

import numpy as np

from mrcascade.io.dicom.frames import Frame
from mrcascade.io.dicom.series import Series

_UNSIGNED, _SIGNED = (0, 2**16 - 1), (-(2**15), 2**15 - 1)


@dataclass(frozen=True)
class Storage:
    """The scale of a series. signed: whether integers are. as_source: whether every frame keeps
    the slope and intercept of its source; else these, as written in decimal, are those of all."""

    signed: bool
    as_source: bool = True
    slope: float = 1.0
    intercept: float = 0.0

    def encoded(self, values: np.ndarray, source: Frame) -> np.ndarray:
        """Values -> little-endian 16-bit integers."""
        slope, intercept = self._scale(source)
        low, high = _SIGNED if self.signed else _UNSIGNED
        stored = np.rint((values.astype(np.float64) - intercept) / slope)
        return stored.clip(low, high).astype("<i2" if self.signed else "<u2")

    def decoded(self, stored: np.ndarray, source: Frame) -> np.ndarray:
        """What a reader makes of `encoded`, float64."""
        slope, intercept = self._scale(source)
        return stored * slope + intercept

    def _scale(self, source: Frame) -> tuple[float, float]:
        if self.as_source:
            return source.slope, source.intercept
        return self.slope, self.intercept


def storage_for(series: Series, low: float, high: float, quantity: bool = False) -> Storage:
    """The scale for values from `low` to `high`.

    A result is stored in the units of its source, as precisely as that: values compare one to
    one, and no element is needed that the source did not have. Where these integers do not reach,
    and for a `quantity` that is no signal (a standard deviation is small), the range of 16 bits is
    spread over the values.
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
    """The value as its decimal string of at most 16 characters says it."""
    from pydicom.valuerep import format_number_as_ds

    return float(format_number_as_ds(float(value)))
