"""Gzip files packed by threads, read by Python's own reader, which checks length and checksum."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from mrcascade.io import gzip_write
from mrcascade.io.gzip_members import GzipMembers
from mrcascade.io.gzip_write import gzip_writer

BLOCK = gzip_write._BLOCK
SIZES = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 17]


def content(size: int) -> bytes:
    return np.random.default_rng(size).integers(0, 7, size).astype(np.uint8).tobytes()


def packed(data: bytes, piece: int = 3 * 2**18) -> bytes:
    stream = io.BytesIO()
    with gzip_writer(stream) as writer:
        for start in range(0, len(data), piece):
            writer.write(data[start : start + piece])
    return stream.getvalue()


def _write(stream: BinaryIO, data: bytes, fails: bool = False) -> None:
    with gzip_writer(stream) as writer:
        writer.write(data)
        assert 1 / (not fails)


@pytest.mark.parametrize("size", SIZES)
def test_readers_find_what_was_written(size: int) -> None:
    data = content(size)
    file = packed(data)
    assert gzip.decompress(file) == data
    assert file.startswith(gzip.compress(b"", 1, mtime=0)[:4])
    members = GzipMembers(io.BytesIO(file))
    assert b"".join(iter(lambda: members.read(2**16), b"")) == data
    one = zlib.decompressobj(31)  # of the first member alone
    assert one.decompress(file) == data
    assert one.eof
    assert one.unused_data == b""


@pytest.mark.parametrize("threads", [1, 3, 40])
@pytest.mark.parametrize("piece", [1000, 2**20, 2**24])
def test_bytes_depend_on_the_content_alone(
    monkeypatch: pytest.MonkeyPatch, threads: int, piece: int
) -> None:
    data = content(3 * BLOCK + 5)
    expected = packed(data)
    monkeypatch.setattr(gzip_write, "_usable_cpus", lambda: threads)
    assert packed(data, piece) == expected


def test_it_is_about_as_small_as_one_stream() -> None:
    data = content(4 * BLOCK)
    assert len(packed(data)) < 1.01 * len(gzip.compress(data, 1))


def test_a_full_disk_is_an_error_of_the_disk() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("a device that is always full exists on Linux only")
    with open("/dev/full", "wb", 0) as stream, pytest.raises(OSError, match="No space left"):
        _write(stream, content(2**16))


def test_an_error_of_the_caller_leaves_the_file_unfinished() -> None:
    stream = io.BytesIO()
    with pytest.raises(ZeroDivisionError):
        _write(stream, content(2 * BLOCK), fails=True)
    with pytest.raises(EOFError):
        gzip.decompress(stream.getvalue())
