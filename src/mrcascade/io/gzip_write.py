"""A gzip file whose blocks several threads compress, as by pigz; readers find one member."""

from __future__ import annotations

import os
import struct
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import BinaryIO

# Blocks do not depend on the number of threads, so equal input gives equal bytes.
_BLOCK = 2**20
# Noise in float32 hardly compresses: a higher level costs minutes and gains little.
_LEVEL = 1
_MOST_THREADS = 16
# RFC 1952: deflate, fastest level. Without name and time, equal images give equal files.
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"
_LAST_BLOCK = b"\x03\x00"  # an empty block, which ends the stream


class GzipWriter:
    """Writer of bytes from front to back, made by `gzip_writer`; holds a few blocks per thread."""

    def __init__(self, stream: BinaryIO, pool: ThreadPoolExecutor, threads: int) -> None:
        self._stream, self._pool, self._most = stream, pool, 2 * threads
        self._waiting: deque[Future[bytes]] = deque()
        self._rest = bytearray()
        self._checksum = self._length = 0
        stream.write(_HEADER)

    def write(self, data: bytes | memoryview) -> None:
        """Append any number of bytes."""
        view = memoryview(data)
        self._checksum = zlib.crc32(view, self._checksum)
        self._length += len(view)
        while len(view):
            taken = _BLOCK - len(self._rest)
            self._rest += view[:taken]
            view = view[taken:]
            if len(self._rest) == _BLOCK:
                self._begin()

    def finish(self) -> None:
        """Write the remaining bytes and the checksum."""
        self._begin()
        while self._waiting:
            self._stream.write(self._waiting.popleft().result())
        ends = struct.pack("<II", self._checksum, self._length % 2**32)
        self._stream.write(_LAST_BLOCK + ends)

    def _begin(self) -> None:
        if len(self._waiting) == self._most:
            self._stream.write(self._waiting.popleft().result())
        self._waiting.append(self._pool.submit(_deflated, bytes(self._rest)))
        self._rest.clear()


@contextmanager
def gzip_writer(stream: BinaryIO) -> Iterator[GzipWriter]:
    """Compress what is written within the block into a stream."""
    threads = min(_MOST_THREADS, _usable_cpus())
    with ThreadPoolExecutor(threads) as pool:
        writer = GzipWriter(stream, pool, threads)
        yield writer
        writer.finish()


def _deflated(data: bytes) -> bytes:
    """Compress a block on its own, up to a byte's edge, where another block may follow."""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)


def _usable_cpus() -> int:
    """Number of CPUs that the system lets this process use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # the call is missing on some systems
        return os.cpu_count() or 1
