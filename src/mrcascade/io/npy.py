"""NumPy `.npy` files: pixels without geometry."""

import io
import math
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.io.file import Codec, ImageFile
from mrcascade.io.new_pixels import NewPixels
from mrcascade.io.raw import RawPixels
from mrcascade.io.stream import InputStream, open_stream

_MAGIC = b"\x93NUMPY"
# numpy writes a few hundred bytes, and does not parse more than this.
_LARGEST_HEADER = 10_000


def _open_pixels(stream: InputStream) -> RawPixels:
    """Open the array of an `.npy` stream, in the type and axis order of the file.

    Pickled content is never unpickled. Raises MRCascadeError for anything that is not a whole,
    numeric array.
    """
    path = stream.path
    shape, fortran, dtype = _header(stream)
    if dtype.hasobject:
        raise _not_numbers(path, "Python objects")
    if dtype.kind not in "biufc":
        raise _not_numbers(path, f"values of type {dtype}")
    if stream.most < math.prod(shape) * dtype.itemsize:
        raise _damaged(path)
    layout = tuple(range(len(shape)))

    def read(count: int) -> np.ndarray:
        raw = stream.read(count * dtype.itemsize)
        if len(raw) < count * dtype.itemsize:
            raise _damaged(path)
        return np.frombuffer(raw, dtype)

    return RawPixels(
        shape, layout[::-1] if fortran else layout, dtype.kind == "c", read, stream.finish
    )


class _Npy(Codec):
    def open(self, file: ImageFile, stack: ExitStack, complex_valued: bool) -> RawPixels:
        return _open_pixels(stack.enter_context(open_stream(file.path)))

    def write(self, new: NewPixels, path: Path) -> None:
        with path.open("wb") as stream:
            description = np.lib.format.dtype_to_descr(np.dtype(new.dtype))
            np.lib.format.write_array_header_1_0(
                stream, {"descr": description, "fortran_order": False, "shape": new.shape}
            )
            for block in new.blocks(tuple(range(len(new.shape)))):
                stream.write(np.ascontiguousarray(block, dtype=new.dtype).data)


CODEC = _Npy()


def _header(stream: InputStream) -> tuple[tuple[int, ...], bool, np.dtype]:
    start = stream.read(len(_MAGIC) + 2)
    if not start.startswith(_MAGIC):
        raise MRCascadeError(
            f"{stream.path} is not a NumPy .npy file; save it again with numpy.save"
        )
    if len(start) < len(_MAGIC) + 2:
        raise _damaged(stream.path)
    length_bytes = {b"\x01\x00": 2, b"\x02\x00": 4, b"\x03\x00": 4}.get(start[len(_MAGIC) :])
    if length_bytes is None:
        raise MRCascadeError(
            f"{stream.path} is of an unknown version of the .npy format; save it again with"
            " numpy.save"
        )
    length = stream.read(length_bytes)
    size = int.from_bytes(length, "little")
    if size > _LARGEST_HEADER:
        raise _damaged(stream.path)
    head = io.BytesIO(length + stream.read(size))
    try:
        # Versions 2 and 3 differ only in the encoding of field names, and fields are refused.
        if length_bytes == 2:
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(head)
        else:
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(head)
    except Exception as error:  # any kind: the header is a Python expression that numpy parses
        raise _damaged(stream.path) from error
    if any(n < 0 for n in shape):
        raise _damaged(stream.path)
    return tuple(int(n) for n in shape), fortran, dtype


def _damaged(path: Path) -> MRCascadeError:
    return MRCascadeError(
        f"{path} is damaged or truncated and cannot be read; copy or save it again"
    )


def _not_numbers(path: Path, found: str) -> MRCascadeError:
    return MRCascadeError(f"{path} holds {found}, not numbers; save a plain numeric array")
