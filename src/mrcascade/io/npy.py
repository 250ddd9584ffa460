"""NumPy `.npy` files: pixels without geometry."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.io.raw import RawPixels
from mrcascade.io.stream import InputStream

_MAGIC = b"\x93NUMPY"


def open_pixels(stream: InputStream) -> RawPixels:
    """The array of an `.npy` stream, in the type and axis order of the file.

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


def encode(
    blocks: Iterable[np.ndarray], shape: tuple[int, ...], dtype: np.dtype, path: Path
) -> None:
    """Write an array to `path`, whatever its suffix; blocks in order, last axis fastest."""
    with path.open("wb") as stream:
        description = np.lib.format.dtype_to_descr(np.dtype(dtype))
        np.lib.format.write_array_header_1_0(
            stream, {"descr": description, "fortran_order": False, "shape": shape}
        )
        for block in blocks:
            stream.write(np.ascontiguousarray(block, dtype=dtype).data)


def _header(stream: InputStream) -> tuple[tuple[int, ...], bool, np.dtype]:
    start = stream.read(len(_MAGIC) + 2)
    if not start.startswith(_MAGIC):
        raise MRCascadeError(
            f"{stream.path} is not a NumPy .npy file; save it again with numpy.save"
        )
    file: Any = stream
    major = start[len(_MAGIC)] if len(start) > len(_MAGIC) else 0
    if major not in (1, 2, 3):
        raise _damaged(stream.path)
    try:
        # Versions 2 and 3 differ in the encoding of field names only, and fields are refused.
        if major == 1:
            found = np.lib.format.read_array_header_1_0(file)
        else:
            found = np.lib.format.read_array_header_2_0(file)
    except Exception as error:  # NumPy parses the header as Python code, which fails in many ways
        raise _damaged(stream.path) from error
    if min(found[0], default=0) < 0:
        raise _damaged(stream.path)
    return found


def _damaged(path: Path) -> MRCascadeError:
    return MRCascadeError(
        f"{path} is damaged or truncated and cannot be read; copy or save it again"
    )


def _not_numbers(path: Path, found: str) -> MRCascadeError:
    return MRCascadeError(f"{path} holds {found}, not numbers; save a plain numeric array")
