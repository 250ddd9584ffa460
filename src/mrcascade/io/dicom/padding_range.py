"""The stored values that a DICOM header declares as padding (PS3.3 C.7.5.1.1.2)."""

from typing import Any

from mrcascade.io.dicom.header import told

_WORD = 2**16
Range = tuple[int, int]


def padding_range(dataset: Any, signed: bool) -> Range | None:
    """Return the range of stored values that a header declares as padding, both ends inclusive.

    None where it declares no whole numbers. Both elements have 16 bits and the sign of the
    pixels (``signed``), whatever type the file gives them.
    """
    value = told(dataset, "PixelPaddingValue")
    if value is None:
        return None
    limit = told(dataset, "PixelPaddingRangeLimit") or value
    ends = [float(end[0]) for end in (value, limit)]
    if not all(end.is_integer() and -_WORD < end < _WORD for end in ends):
        return None
    words = [int(end) % _WORD for end in ends]
    if signed:
        words = [word - _WORD if word >= _WORD // 2 else word for word in words]
    return min(words), max(words)
