"""Checksums of a PNG file; Pillow does not compare those of pixel data."""

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEAD, _CHECKSUM = struct.Struct(">L4s"), struct.Struct(">L")


def check_checksums(content: bytes) -> None:
    """Raise ValueError where a chunk differs from its checksum or the last one is missing.

    Source: PNG specification, 5.3. Content that is no PNG file passes.
    """
    if not content.startswith(SIGNATURE):
        return
    view, place, kind = memoryview(content), len(SIGNATURE), b""
    try:
        while kind != b"IEND":
            length, kind = _HEAD.unpack_from(content, place)
            end = place + _HEAD.size + length
            (told,) = _CHECKSUM.unpack_from(content, end)
            # The checksum covers the kind of the chunk, not its length.
            if zlib.crc32(view[place + 4 : end]) != told:
                raise ValueError(f"chunk {kind!r} differs from its checksum")
            place = end + _CHECKSUM.size
    except struct.error as error:
        raise ValueError("its last chunk is missing") from error
