"""Number of elements in a DICOM header, counted before pydicom makes objects of them.

A header of a few megabytes can hold millions of empty elements, which take pydicom half a minute.
"""

import struct
from typing import BinaryIO

EXPLICIT_BIG = "1.2.840.10008.1.2.2"
UNDEFINED_LENGTH = 0xFFFFFFFF
# Explicit VRs whose length has four bytes (PS3.5 table 7.1-1).
LONG_VRS = tuple(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())

# Real headers have hundreds of elements, those of some vendors thousands; a sequence has one
# element per image of a series.
_MOST_ELEMENTS = 2**16
# Further elements per frame of an enhanced file; Philips describes each frame by some 200.
_MOST_PER_FRAME = 2**10
_LARGEST_LIST = 2**20  # bytes of an element that pydicom splits into values
_LISTS = (
    *("AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO"),
    *("PN", "SH", "SL", "SS", "SV", "TM", "UC", "UI", "UL", "US", "UV"),
)
_LEAST_FRAME_BYTES = 2**6  # of the description and the pixels
_DEEPEST = 64  # sequences inside each other
_ELEMENT_BYTES = 8  # at least

_META, _PIXELS, _FRAMES = 0x0002, (0x7FE0, 0x0010), (0x5200, 0x9230)
_SYNTAX = (0x0002, 0x0010)
_ITEM, _END_OF_ITEM, _END_OF_SEQUENCE = 0xE000, 0xE00D, 0xE0DD
_DELIMITER = 0xFFFE
_HIGHEST_FIRST_GROUP = 0x3FF  # higher if read in the wrong byte order
_MAGIC_OFFSET, _MAGIC = 128, b"DICM"


def check_elements(stream: BinaryIO, size: int) -> None:
    """Raise ValueError where more elements lie before the pixels than images need.

    The stream's position is lost. A header that makes no sense passes, as pydicom reports its
    fault.
    """
    if size > _MOST_ELEMENTS * _ELEMENT_BYTES:
        _Walk(stream, size).to_pixels()


class _Walk:
    """Walk from element to element, also inside sequences."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self._size = stream, size
        self._elements = self._frames = 0
        self._order, self._implicit = "<", False
        # For each enclosing element: its end, None where a delimiter ends it, and whether the
        # elements before it had no VR.
        self._inside: list[tuple[int | None, bool]] = []
        self._in_frames = 0  # depth of the sequence of frames, 0 outside
        self._fragments = False  # whether inside compressed pixels, whose items hold no elements

    def to_pixels(self) -> None:
        position, in_meta, syntax = self._start()
        while position + _ELEMENT_BYTES <= self._size:
            self._leave(position)
            self._stream.seek(position)
            head = self._stream.read(12)
            group, element = struct.unpack(self._order + "HH", head[:4])
            if in_meta and group != _META:
                in_meta = False
                self._order = ">" if syntax == EXPLICIT_BIG else "<"
                self._implicit = not head[4:6].isalpha()
                continue
            self._count()
            if group == _DELIMITER:
                position = self._delimiter(element, head, position)
                continue
            if (group, element) == _PIXELS and not self._inside:
                return
            start, length, kind = self._value(head, position)
            if (group, element) == _SYNTAX:
                self._stream.seek(start)
                syntax = self._stream.read(min(length, 64)).strip(b"\0 ").decode("latin-1")
            position = self._next(start, length, kind, (group, element))

    def _start(self) -> tuple[int, bool, str]:
        self._stream.seek(_MAGIC_OFFSET)
        if self._stream.read(len(_MAGIC)) == _MAGIC:
            return _MAGIC_OFFSET + len(_MAGIC), True, ""
        self._stream.seek(0)
        head = self._stream.read(6)
        self._implicit = not head[4:].isalpha()
        if int.from_bytes(head[:2], "little") > _HIGHEST_FIRST_GROUP:
            self._order = ">"
        return 0, False, ""

    def _count(self) -> None:
        self._elements += 1
        if self._elements > _MOST_ELEMENTS + self._frames * _MOST_PER_FRAME:
            raise ValueError("its header has more elements than an image needs")

    def _leave(self, position: int) -> None:
        """Leave the sequences and items that end by their length."""
        while self._inside and (end := self._inside[-1][0]) is not None and position >= end:
            self._pop()

    def _pop(self) -> None:
        if self._inside:
            _, self._implicit = self._inside.pop()
        if len(self._inside) < self._in_frames:
            self._in_frames = 0

    def _push(self, start: int, length: int) -> None:
        end = None if length == UNDEFINED_LENGTH else start + length
        self._inside.append((end, self._implicit))
        if len(self._inside) > 2 * _DEEPEST:
            raise ValueError("its sequences are nested too deeply")

    def _delimiter(self, element: int, head: bytes, position: int) -> int:
        (length,) = struct.unpack(self._order + "L", head[4:8])
        if element == _ITEM:
            if self._fragments:
                return position + _ELEMENT_BYTES + length
            if self._in_frames and len(self._inside) == self._in_frames:
                self._frames += 1
                if self._frames * _LEAST_FRAME_BYTES > self._size:
                    raise ValueError("it describes more frames than it can hold")
            self._push(position + _ELEMENT_BYTES, length)
        elif element in (_END_OF_ITEM, _END_OF_SEQUENCE):
            self._fragments = False
            self._pop()
        return position + _ELEMENT_BYTES

    def _value(self, head: bytes, position: int) -> tuple[int, int, bytes]:
        """Return the start of an element's value, its length and its VR, empty without one."""
        kind = b"" if self._implicit else head[4:6]
        if not kind:
            return position + 8, struct.unpack(self._order + "L", head[4:8])[0], kind
        if kind in LONG_VRS:
            length = struct.unpack(self._order + "L", head[8:12].ljust(4, b"\0"))[0]
            return position + 12, length, kind
        return position + 8, struct.unpack(self._order + "H", head[6:8])[0], kind

    def _next(self, start: int, length: int, kind: bytes, tag: tuple[int, int]) -> int:
        """Return the position of the next element; of a sequence, its first inner one."""
        unknown = kind in (b"", b"UN")
        sequence = kind == b"SQ" or (unknown and length and self._holds_items(start))
        if not sequence and length != UNDEFINED_LENGTH:
            _check_list(length, kind, tag)
            return start + length
        self._push(start, length)
        self._fragments = not sequence and not unknown
        if tag == _FRAMES and len(self._inside) == 1:
            self._in_frames = 1
        # The content of an unknown element has no VRs (PS3.5 6.2.2).
        self._implicit = self._implicit or kind == b"UN"
        return start

    def _holds_items(self, start: int) -> bool:
        self._stream.seek(start)
        head = self._stream.read(4)
        return head == struct.pack(self._order + "HH", _DELIMITER, _ITEM)


def _check_list(length: int, kind: bytes, tag: tuple[int, int]) -> None:
    if length <= _LARGEST_LIST:
        return
    from pydicom.datadict import dictionary_has_tag, dictionary_VR

    name = kind.decode("latin-1")
    if name in ("", "UN") and dictionary_has_tag(tag):
        name = dictionary_VR(tag)
    if name in _LISTS:
        raise ValueError(f"element {tag[0]:04x},{tag[1]:04x} has {length / 2**20:.0f} MiB")
