"""Grey PNG and TIFF pictures of one slice, read and written through Pillow.

Pillow is imported when a file is touched, so that `import mrcascade.io` stays quick.
"""

import io
import struct
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.io.blocks import file_blocks
from mrcascade.io.file import Codec, ImageFile
from mrcascade.io.new_pixels import NewPixels
from mrcascade.io.png import SIGNATURE, check_checksums
from mrcascade.io.raw import RawPixels
from mrcascade.io.stream import InputStream, open_stream
from mrcascade.io.tiff import check_directory
from mrcascade.messages.quiet import quiet_decoders

_GREY = ("L", "I;16", "I;16B", "I;16L", "I;16N", "F")
_COLOUR = {"P": "palette", "PA": "palette", "1": "black-and-white"}
# A picture is held whole: 8192 pixels squared take 256 MiB in float32.
_MOST_PIXELS = 2**26
_MOST_BYTES = 4 * _MOST_PIXELS + 2**20
_COUNTED_PAGES = 100
# Signature, length of the first chunk, its kind, columns and rows (PNG specification, 5.2, 11.2.2).
_PNG_HEAD = struct.Struct(">12s4sLL")
_LARGEST_PNG_PIXEL = 8  # bytes: four channels of 16 bits
_BESIDE_PNG = 2**24  # bytes for texts and a colour profile
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0


class ColourPictureError(MRCascadeError):
    """Error for a picture that is not grey.

    Attributes:
        kind: kind of the picture, in words.
    """

    def __init__(self, path: Path, kind: str) -> None:
        super().__init__(f"{path} is a {kind} picture; save it as grey of 8 or 16 bits")
        self.kind = kind


def _open_pixels(stream: InputStream) -> RawPixels:
    """Open the (rows, columns) of a grey picture: 8 or 16 bits, or float32 (TIFF).

    A picture is one slice and is read whole. An opaque alpha channel is dropped. Raises
    MRCascadeError for colour, palettes, transparency, several pages, more pixels than 8192 squared,
    and damaged files.
    """
    pixels = _decoded(_content(stream), stream.path)
    flat = pixels.ravel()
    position = 0

    def read(count: int) -> np.ndarray:
        nonlocal position
        position += count
        return flat[position - count : position]

    return RawPixels(pixels.shape, (0, 1), False, read, stream.finish)


class _Picture(Codec):
    def open(self, file: ImageFile, stack: ExitStack, complex_valued: bool) -> RawPixels:
        stream = stack.enter_context(open_stream(file.path))
        with quiet_decoders():  # libtiff writes messages of its own
            return _open_pixels(stream)

    def write(self, new: NewPixels, path: Path) -> None:
        """Write a TIFF file of (rows, columns) float32; its pixels are held whole."""
        from PIL import Image

        whole = np.empty(new.shape, np.float32)
        layout = tuple(range(len(new.shape)))
        for block, values in zip(file_blocks(new.shape), new.blocks(layout), strict=True):
            whole[block] = values
        with path.open("wb") as stream:
            Image.fromarray(whole).save(stream, format="TIFF")


CODEC = _Picture()


def _content(stream: InputStream) -> bytes:
    """Read a whole file.

    Raises MRCascadeError where it is larger than the picture that its first bytes announce.
    """
    head = stream.read(_PNG_HEAD.size)
    most = _MOST_BYTES
    if head.startswith(SIGNATURE) and len(head) == _PNG_HEAD.size:
        _, kind, columns, rows = _PNG_HEAD.unpack(head)
        if kind != b"IHDR":
            raise _damaged(stream.path)
        most = min(most, columns * rows * _LARGEST_PNG_PIXEL + _BESIDE_PNG)
    if not stream.packed and stream.most > most:
        raise _too_large(stream.path, f"{stream.most / 2**20:.0f} MiB")
    content = head + stream.read(max(most - len(head), 0) + 1)
    if len(content) > most:
        raise _too_large(stream.path, f"more than {most / 2**20:.0f} MiB")
    return content


def _decoded(content: bytes, path: Path) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            check_directory(content)
            with Image.open(io.BytesIO(content), formats=("PNG", "TIFF")) as picture:
                if picture.width * picture.height > _MOST_PIXELS:
                    raise _too_large(path, f"{picture.height} x {picture.width} pixels")
                check_checksums(content)
                pages = _pages(picture)
                if pages != "1":
                    raise MRCascadeError(
                        f"{path} has {pages} pages; save each slice as a file of its own, or"
                        " the volume as NIfTI or .npy"
                    )
                return _grey(picture, path)
    except MRCascadeError:
        raise
    except UnidentifiedImageError as error:
        raise MRCascadeError(
            f"{path} is not a grey PNG or TIFF picture of 8 or 16 bits (or is damaged); export it"
            " again"
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(path, f"more than {_MOST_PIXELS} pixels") from error
    except Exception as error:  # any kind: Pillow does not document which
        raise _damaged(path) from error


def _pages(picture: Any) -> str:
    """Return the number of pages in words; beyond `_COUNTED_PAGES` they are not counted."""
    if picture.format != "TIFF":
        return str(getattr(picture, "n_frames", 1))
    pages = 1
    while pages <= _COUNTED_PAGES:
        try:
            picture.seek(pages)
        except EOFError:
            picture.seek(0)
            return str(pages)
        pages += 1
    return f"more than {_COUNTED_PAGES}"


def _damaged(path: Path) -> MRCascadeError:
    return MRCascadeError(
        f"{path} is damaged or truncated and cannot be read; copy or export it again"
    )


def _too_large(path: Path, found: str) -> MRCascadeError:
    return MRCascadeError(
        f"{path} has {found}, more than its picture or any slice needs; crop it to the"
        " region to be restored, or save it as .npy"
    )


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
        if picture.mode == "I":
            raise MRCascadeError(
                f"{path} is a 32-bit integer picture; save it as grey of 8 or 16 bits"
            )
        raise ColourPictureError(path, _COLOUR.get(picture.mode, f"colour ({picture.mode})"))
    if picture.mode != "L" and tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        raise MRCascadeError(f"{path} stores white as zero; save it with black as zero")
    if "transparency" in picture.info:
        raise MRCascadeError(f"{path} has transparent pixels; save it as plain grey")
    return np.array(picture)
