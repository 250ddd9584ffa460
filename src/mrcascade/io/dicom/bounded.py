"""Bounds on what is read of a DICOM file for its header, whatever its elements say."""

import io
import zlib
from typing import Any, BinaryIO

from mrcascade.io.dicom.elements import check_elements

# Larger values are skipped. Embedded reports and raw data of the vendors are the largest.
LARGEST_VALUE = 2**26
# Bytes of all values together. The descriptions of ten thousand frames take some 30 MiB.
_LARGEST_HEADER = 2**28
# pydicom reads two or three times per element.
_MOST_READS = 2**22
# A file whose space was reserved but never written holds zeros: empty elements without end.
_EMPTY = bytes(8)
_MOST_EMPTY = 1000
_PIECE = 2**20


class HeaderStream:
    """A stream for pydicom that raises ValueError where more is read than a header has.

    A call that reads all the rest is about to inflate it (PS3.5 A.5). The stream inflates it in
    pieces first, to check its size.
    """

    def __init__(self, stream: BinaryIO, size: int) -> None:
        """Wrap a stream of ``size`` bytes."""
        self._stream, self._size = stream, size
        self._taken = self._reads = self._empty = 0
        self.tell = stream.tell

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)

    def read(self, count: int = -1) -> bytes:
        left = max(self._size - self._stream.tell(), 0)
        deflated = count is None or count < 0
        count = left if deflated else min(count, left)
        self._reads += 1
        self._taken += count
        if self._taken > _LARGEST_HEADER or self._reads > _MOST_READS:
            raise ValueError("its header has no end")
        data = self._stream.read(count)
        self._empty += data == _EMPTY
        if self._empty > _MOST_EMPTY:
            raise ValueError("it holds zeros instead of elements")
        if deflated:
            _check_inflated(data)
        return data


def drop_skipped(dataset: Any, size: int) -> None:
    """Remove the elements of a pydicom Dataset whose values were skipped.

    Raises ValueError for an element that is cut off in the file of ``size`` bytes, and for a
    sequence, as it may describe the frames.
    """
    from pydicom.datadict import dictionary_has_tag, dictionary_VR
    from pydicom.dataelem import RawDataElement

    for tag in list(dataset.keys()):
        element = dataset.get_item(tag, keep_deferred=True)
        if not isinstance(element, RawDataElement) or element.value is not None:
            continue
        if element.length <= LARGEST_VALUE:  # an empty value
            continue
        if element.value_tell + element.length > size:
            raise ValueError(f"truncated within element {tag}")
        kind = element.VR or (dictionary_VR(tag) if dictionary_has_tag(tag) else "")
        if kind == "SQ":
            raise ValueError(f"element {tag} has {element.length / 2**20:.0f} MiB")
        del dataset[tag]


def _check_inflated(data: bytes) -> None:
    """Raise ValueError where a deflated dataset is too large or has too many elements."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    content, rest = io.BytesIO(), data
    while rest and not inflater.eof:
        content.write(inflater.decompress(rest, _PIECE))
        rest = inflater.unconsumed_tail
        if content.tell() > _LARGEST_HEADER:
            raise ValueError(f"it inflates to more than {_LARGEST_HEADER // 2**20} MiB")
    check_elements(content, content.tell())
