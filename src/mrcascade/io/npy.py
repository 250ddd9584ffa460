"""NumPy `.npy` files: pixels without geometry."""

import io
from pathlib import Path

import numpy as np

from mrcascade.errors import MRCascadeError

_MAGIC = b"\x93NUMPY"


def decode(raw: bytes, path: Path) -> np.ndarray:
    """The array in the bytes of an `.npy` file, in the type and axis order of the file.

    Pickled content is never unpickled. Raises MRCascadeError (`path` is for the message) for
    anything that is not a whole, numeric array.
    """
    if not raw.startswith(_MAGIC):
        raise MRCascadeError(f"{path} is not a NumPy .npy file; save it again with numpy.save")
    try:
        data = np.load(io.BytesIO(raw), allow_pickle=False)
    except (ValueError, EOFError, MemoryError, OverflowError) as error:
        if str(error).startswith("Object arrays"):
            raise _not_numbers(path, "Python objects") from error
        raise MRCascadeError(
            f"{path} is damaged or truncated and cannot be read; copy or save it again"
        ) from error
    if data.dtype.kind not in "biufc":
        raise _not_numbers(path, f"values of type {data.dtype}")
    return data


def encode(data: np.ndarray, path: Path) -> None:
    """Write `data` to `path`, whatever its suffix."""
    with path.open("wb") as stream:
        np.save(stream, data, allow_pickle=False)


def _not_numbers(path: Path, found: str) -> MRCascadeError:
    return MRCascadeError(f"{path} holds {found}, not numbers; save a plain numeric array")
