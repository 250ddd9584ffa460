"""Checks of a compressed frame's first bytes against the DICOM header.

A damaged frame can ask its decoder for more memory than there is.
"""

import struct

_JPEG_2000 = b"\xff\x4f\xff\x51"  # its start and the size of the image (T.800 A.5.1)
_JPEG = b"\xff\xd8"
# Frame headers (T.81 table B.1; T.87 annex C for JPEG-LS).
_FRAME_HEADERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_ALONE = {0x01, *range(0xD0, 0xD8)}  # markers without a segment
_SCAN = 0xDA
_LARGEST_RUN = 64  # two bytes stand for up to 128 (PS3.5 G.3.1)


def check_jpeg_2000(frame: bytes, rows: int, columns: int) -> None:
    """Raise ValueError where the frame has another size or several components."""
    place = frame.find(_JPEG_2000)
    if place >= 0 and len(frame) >= place + 42:
        right, bottom, left, top = struct.unpack(">4L", frame[place + 8 : place + 24])
        (components,) = struct.unpack(">H", frame[place + 40 : place + 42])
        _check(bottom - top, right - left, components, rows, columns)


def check_jpeg(frame: bytes, rows: int, columns: int) -> None:
    """Check the JPEG of T.81 and JPEG-LS as `check_jpeg_2000` does."""
    place = 2
    while frame.startswith(_JPEG) and place + 10 <= len(frame) and frame[place] == 0xFF:
        marker = frame[place + 1]
        if marker == 0xFF or marker in _ALONE:
            place += 1 if marker == 0xFF else 2
            continue
        if marker in _FRAME_HEADERS:
            found_rows, found_columns, components = struct.unpack_from(">HHB", frame, place + 5)
            _check(found_rows, found_columns, components, rows, columns)
            return
        if marker == _SCAN:
            break
        place += 2 + struct.unpack(">H", frame[place + 2 : place + 4])[0]
    raise ValueError("compressed pixels without a size")


def check_run_lengths(frame: bytes, size: int) -> None:
    """Raise ValueError where run lengths cannot give a frame of ``size`` bytes."""
    if size > _LARGEST_RUN * len(frame):
        raise ValueError(f"{len(frame)} compressed bytes for a frame of {size}")


def _check(found_rows: int, found_columns: int, components: int, rows: int, columns: int) -> None:
    if (found_rows, found_columns, components) != (rows, columns, 1):
        several = f" of {components} components" * (components != 1)
        raise ValueError(f"compressed pixels of {found_rows} x {found_columns}{several}")
