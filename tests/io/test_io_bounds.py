"""Headers that ask for more than their file holds, or an image needs, are refused cheaply."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from mrcascade.errors import MRCascadeError
from mrcascade.io import open_source, read_image
from mrcascade.io.tiff import check_directory


def refused(path: Path, *words: str) -> None:
    with pytest.raises(MRCascadeError) as caught, open_source(path) as source:
        for _ in source.blocks():
            pass
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert all(word in message for word in words), message


def packed_zeros(path: Path, head: bytes, mebibytes: int) -> None:
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(head)
        for _ in range(mebibytes):
            file.write(bytes(2**20))


def npy(head: str, version: bytes = b"\1\0") -> bytes:
    length = struct.pack("<H" if version == b"\1\0" else "<I", len(head))
    return b"\x93NUMPY" + version + length + head.encode() + bytes(64)


SHAPE = "{'descr': '<f4', 'fortran_order': False, 'shape': (4, %s), }"


@pytest.mark.parametrize(
    "head",
    [
        "{'descr': (((((",
        "1" + "+1j" * 3000,
        "{'descr': ('<f4',), 'fortran_order': False, 'shape': (4, 4), }",
        SHAPE % "-4",
        SHAPE % str(10**30),
        "",
        "\0" * 5000,
    ],
)
def test_npy_headers_that_are_none(tmp_path: Path, head: str) -> None:
    (tmp_path / "a.npy").write_bytes(npy(head))
    refused(tmp_path / "a.npy", "damaged")


def test_npy_of_an_unknown_version(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(npy(SHAPE % 4, b"\x09\x09"))
    refused(tmp_path / "a.npy", "unknown version")


def test_npy_header_of_four_gibibytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed_zeros(tmp_path / "a.npy", b"\x93NUMPY\2\0" + struct.pack("<I", 2**32 - 1), 1)
    monkeypatch.setattr(np.lib.format, "read_array_header_2_0", None)  # not called
    refused(tmp_path / "a.npy", "damaged")


def test_what_follows_an_image_is_read_within_a_bound(tmp_path: Path) -> None:
    image = np.arange(64, dtype=np.float32).reshape(8, 8)
    np.save(tmp_path / "a.npy", image)
    content = (tmp_path / "a.npy").read_bytes()
    packed_zeros(tmp_path / "b.npy", content, 1)
    np.testing.assert_array_equal(read_image(tmp_path / "b.npy").data, image)
    packed_zeros(tmp_path / "b.npy", content, 66)
    refused(tmp_path / "b.npy", "after the image")
    with (tmp_path / "a.npy").open("r+b") as file:
        file.truncate(2**36)
    refused(tmp_path / "a.npy", "after the image")


def png(columns: int, rows: int) -> bytes:
    head = b"IHDR" + struct.pack(">LL5B", columns, rows, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">L", 13) + head + struct.pack(">L", zlib.crc32(head))


def test_png_is_unpacked_as_far_as_its_picture_goes(tmp_path: Path) -> None:
    packed_zeros(tmp_path / "a.png", png(64, 64), 20)
    refused(tmp_path / "a.png", "more than its picture")
    (tmp_path / "b.png").write_bytes(png(64, 64))
    with (tmp_path / "b.png").open("r+b") as file:
        file.truncate(20 * 2**30)
    refused(tmp_path / "b.png", "20480 MiB")
    packed_zeros(tmp_path / "c.png", b"\x89PNG\r\n\x1a\n", 1)
    refused(tmp_path / "c.png", "damaged")


@pytest.mark.parametrize("sides", [(2**20, 2**20), (8193, 8192), (30_000, 3000)])
def test_pictures_of_too_many_pixels(tmp_path: Path, sides: tuple[int, int]) -> None:
    pixels = zlib.compress(bytes(100))
    start = struct.pack(">L", len(pixels)) + b"IDAT" + pixels
    (tmp_path / "a.png").write_bytes(png(*sides) + start)
    refused(tmp_path / "a.png", "pixels", "crop it")


ENTRIES = (
    *((256, 4), (257, 4), (258, 8), (259, 1), (262, 1)),  # sides, bits, compression, kind
    *((273, 8), (277, 1), (278, 4), (279, 16)),  # where the one strip lies, samples, its rows, size
)


def tiff(entries: tuple[tuple[int, ...], ...], following: int, start: int = 24) -> bytes:
    """A directory at ``start`` of (tag, value) or (tag, type, count, value)."""
    full = [one if len(one) == 4 else (one[0], 4, 1, one[1]) for one in entries]
    directory = struct.pack("<H", len(full)) + b"".join(struct.pack("<HHLL", *e) for e in full)
    head = b"II*\0" + struct.pack("<L", start) + bytes(range(16))
    return head.ljust(start, b"\0") + directory + struct.pack("<L", following)


def test_tiff_directories(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(ENTRIES, 0))
    np.testing.assert_array_equal(read_image(path).data, np.arange(16.0).reshape(4, 4))
    path.write_bytes(tiff(ENTRIES, 10**9))  # the next page lies beyond the end
    refused(path, "damaged")
    path.write_bytes(tiff(ENTRIES, 24))  # the next page is this one
    np.testing.assert_array_equal(read_image(path).data, np.arange(16.0).reshape(4, 4))


def test_tiff_entries_of_many_values() -> None:
    for kind, count in ((4, 2**30), (16, 2**40), (3, 2**20 + 1)):
        many = (*ENTRIES[:5], (273, kind, min(count, 2**32 - 1), 8), *ENTRIES[6:])
        with pytest.raises(ValueError, match="entry 273 has"):
            check_directory(tiff(many, 0) + bytes(2**23))
    with pytest.raises(ValueError, match="beyond its end"):
        check_directory(tiff((*ENTRIES[:5], (273, 4, 1000, 8), *ENTRIES[6:]), 0))
    with pytest.raises(ValueError, match="beyond its end"):
        check_directory(b"II*\0" + struct.pack("<L", 2**31))
    check_directory(tiff(ENTRIES, 0))
    check_directory(b"\x89PNG")


def test_pages_are_counted_within_a_bound(tmp_path: Path) -> None:
    pages = [Pillow.fromarray(np.full((4, 4), i % 7, np.uint8)) for i in range(150)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    refused(tmp_path / "a.tif", "more than 100 pages")
    pages[0].save(tmp_path / "b.tif", save_all=True, append_images=pages[1:100])
    refused(tmp_path / "b.tif", "has 100 pages")
