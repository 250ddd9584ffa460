"""A file format of one line and the values: ``toy 64 72 3`` and float32 in C order."""

import math
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.io import Codec, ImageFile, NewPixels
from mrcascade.io.formats import Format
from mrcascade.io.raw import RawPixels
from mrcascade.io.stream import open_stream

TOY = Format("toy", called="toy", endings=(".toy",), codec="toy_format", requestable=True)


class _Toy(Codec):
    def open(self, file: ImageFile, stack: ExitStack, complex_valued: bool) -> RawPixels:
        stream = stack.enter_context(open_stream(file.path))
        head = b""
        while not head.endswith(b"\n"):
            head += stream.read(1)
        word, *sides = head.split()
        if word != b"toy":
            raise MRCascadeError(f"{file} is no toy file; save it again")
        shape = tuple(map(int, sides))

        def read(count: int) -> np.ndarray:
            return np.frombuffer(stream.read(4 * count), "<f4")

        return RawPixels(shape, tuple(range(len(shape))), False, read, stream.finish)

    def write(self, new: NewPixels, path: Path) -> None:
        with path.open("wb") as stream:
            stream.write(f"toy {' '.join(map(str, new.shape))}\n".encode())
            for block in new.blocks(TOY.layout(len(new.shape))):
                stream.write(np.ascontiguousarray(block, "<f4").tobytes())


CODEC = _Toy()


def read_toy(path: Path) -> np.ndarray:
    head, values = path.read_bytes().split(b"\n", 1)
    shape = tuple(map(int, head.split()[1:]))
    assert len(values) == 4 * math.prod(shape)
    return np.frombuffer(values, "<f4").reshape(shape)


def write_toy(path: Path, data: np.ndarray) -> Path:
    head = f"toy {' '.join(map(str, data.shape))}\n".encode()
    path.write_bytes(head + data.astype("<f4").tobytes())
    return path
