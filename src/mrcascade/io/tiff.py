"""Checks of the first directory of a TIFF file, before a reader allocates memory for it."""

import struct

# Values of one entry. A strip per row of the longest picture has far fewer.
_MOST_VALUES = 2**20
# Bytes of a value by its type (TIFF 6.0, section 2; 16 to 18 are BigTIFF's).
_BYTES = {
    **{1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4},
    **{16: 8, 17: 8, 18: 8},
}
_NUMBERS = (3, 4, 5, 8, 9, 10, 11, 12, 13, 16, 17, 18)  # types that a reader unpacks one by one


def check_directory(content: bytes) -> None:
    """Raise ValueError where the first directory of a TIFF file is damaged.

    An entry then has more values than a picture needs, or lies beyond the end of the file. Content
    that is no TIFF file passes.
    """
    order = {b"II": "<", b"MM": ">"}.get(content[:2])
    if order is None:
        return
    big = content[2:4] in (b"+\0", b"\0+")
    place, count, entry, start = ("Q", "Q", "HHQQ", 8) if big else ("L", "H", "HHLL", 4)
    try:
        (position,) = struct.unpack_from(order + place, content, start)
        (entries,) = struct.unpack_from(order + count, content, position)
        position += struct.calcsize(order + count)
        if entries > _MOST_VALUES:
            raise ValueError(f"{entries} entries")
        size = struct.calcsize(order + entry)
        for number in range(entries):
            tag, kind, values, offset = struct.unpack_from(
                order + entry, content, position + number * size
            )
            _check_entry(tag, kind, values, offset, len(content), 8 if big else 4)
    except struct.error as error:
        raise ValueError("its directory lies beyond its end") from error


def _check_entry(tag: int, kind: int, values: int, offset: int, end: int, inline: int) -> None:
    size = values * _BYTES.get(kind, 0)
    if kind in _NUMBERS and values > _MOST_VALUES:
        raise ValueError(f"entry {tag} has {values} values")
    if size > inline and offset + size > end:
        raise ValueError(f"entry {tag} lies beyond its end")
