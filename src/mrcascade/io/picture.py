"""Grey PNG and TIFF pictures of one slice, read and written through Pillow.

Pillow is imported when a file is touched, so that `import mrcascade.io` stays quick.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.io.raw import RawPixels
from mrcascade.io.stream import InputStream

_GREY = ("L", "I;16", "I;16B", "I;16L", "I;16N", "F")
_COLOUR = {"P": "palette", "PA": "palette", "1": "black-and-white"}
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0


def open_pixels(stream: InputStream) -> RawPixels:
    """The (rows, columns) of a grey picture: 8 or 16 bits, or float32 (TIFF).

    An opaque alpha channel is dropped. Raises MRCascadeError for colour, palettes, transparency,
    several pages and damaged files. A picture is read whole: it is one slice.
    """
    from PIL import Image, UnidentifiedImageError

    path = stream.path
    content = stream.read(stream.most)
    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "TIFF")) as picture:
            pages = getattr(picture, "n_frames", 1)
            if pages > 1:
                raise MRCascadeError(
                    f"{path} has {pages} pages; save each slice as a file of its own, or"
                    " the volume as NIfTI or .npy"
                )
            pixels = _grey(picture, path)
    except UnidentifiedImageError as error:
        raise MRCascadeError(
            f"{path} is not a grey PNG or TIFF picture of 8 or 16 bits (or is damaged); export it"
            " again"
        ) from error
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise MRCascadeError(
            f"{path} is damaged or truncated and cannot be read; copy or export it again"
        ) from error
    flat = pixels.ravel()
    position = 0

    def read(count: int) -> np.ndarray:
        nonlocal position
        position += count
        return flat[position - count : position]

    return RawPixels(pixels.shape, (0, 1), False, read, stream.finish)


def encode(data: np.ndarray, path: Path) -> None:
    """Write (rows, columns) float32 as a TIFF file."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(data, dtype=np.float32))
    with path.open("wb") as stream:
        picture.save(stream, format="TIFF")


def _grey(picture: Any, path: Path) -> np.ndarray:
    if picture.mode in ("LA", "La"):
        grey, alpha = picture.split()
        if alpha.getextrema() != (255, 255):
            raise MRCascadeError(f"{path} has transparent pixels; save it as plain grey")
        return np.array(grey)
    tags = getattr(picture, "tag_v2", {})
    # Pillow widens int16 to int32, and wraps unsigned 32-bit values, which are therefore refused.
    narrow = picture.mode == "I" and tags.get(_BITS_PER_SAMPLE, (16,)) == (16,)
    if picture.mode not in _GREY and not narrow:
        kind = _COLOUR.get(picture.mode, f"colour ({picture.mode})")
        if picture.mode == "I":
            kind = "32-bit integer"
        raise MRCascadeError(f"{path} is a {kind} picture; save it as grey of 8 or 16 bits")
    if picture.mode != "L" and tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        raise MRCascadeError(f"{path} stores white as zero; save it with black as zero")
    if "transparency" in picture.info:
        raise MRCascadeError(f"{path} has transparent pixels; save it as plain grey")
    return np.array(picture)
