"""Content of a gzip file of one or several members."""

import zlib
from typing import Any

GZIP_MAGIC = b"\x1f\x8b"
_CHUNK = 2**16
_WITH_GZIP_HEADER = 16 + zlib.MAX_WBITS  # makes zlib check the checksum and the length, too


class GzipMembers:
    """Decompressor of a file, from front to back.

    A file may have several members (RFC 1952, section 2.2). As in zlib and ITK, bytes after the
    last one are ignored: zeros of a tape or block device, or anything that is no gzip header.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._input = b""
        self._member: Any = None  # None between members
        self._members = 0

    def read(self, count: int) -> bytes:
        """Return up to `count` bytes; b"" at the end of the last member.

        Raises EOFError where the file ends within a member, and zlib.error where one is damaged.
        """
        while self._member is not None or self._begins():
            self._input = self._input or self._file.read(_CHUNK)
            if not self._input:
                raise EOFError("the file ends within a gzip member")
            data: bytes = self._member.decompress(self._input, count)
            self._input = self._member.unconsumed_tail
            if self._member.eof:
                self._input, self._member = self._member.unused_data, None
            if data:
                return data
        return b""

    def _begins(self) -> bool:
        """Open the next member; return whether there is one."""
        while True:
            if self._members:
                self._input = self._input.lstrip(b"\0")
            if len(self._input) >= len(GZIP_MAGIC):
                break
            more = self._file.read(_CHUNK)
            if not more:
                return False
            self._input += more
        if not self._input.startswith(GZIP_MAGIC):
            return False
        self._member = zlib.decompressobj(_WITH_GZIP_HEADER)
        self._members += 1
        return True
