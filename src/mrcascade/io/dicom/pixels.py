"""The pixels of a series, frame after frame: read, decompressed, scaled and hashed."""

import hashlib
import math
import struct
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby, pairwise
from typing import Any, BinaryIO

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.io.dicom import jpeg_lossless
from mrcascade.io.dicom.codestream import check_jpeg, check_jpeg_2000, check_run_lengths
from mrcascade.io.dicom.files import DicomFile
from mrcascade.io.dicom.frames import Frame, PixelFormat
from mrcascade.io.dicom.header import DEFLATED, NATIVE, check_rest, parsing, read_header
from mrcascade.io.dicom.padding import find_padding
from mrcascade.io.dicom.series import Series
from mrcascade.io.dicom.stack import Stack
from mrcascade.io.raw import RawPixels, Runs, StatedSlices

_HASHED_BYTES = 2**20
_MOST_PIECES, _PIECES_PER_FRAME = 2**18, 4
_ITEM, _DELIMITER = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)

RLE = "1.2.840.10008.1.2.5"

# pydicom's decoder for each syntax. Each is named, as other installed decoders must not change a
# result: some abort on damaged data.
_DECODERS = {
    "1.2.840.10008.1.2.4.50": "pillow",  # JPEG baseline, 8 bits
    "1.2.840.10008.1.2.4.51": "pylibjpeg",  # JPEG extended, 12 bits; with pylibjpeg-libjpeg (GPL)
    "1.2.840.10008.1.2.4.80": "pyjpegls",  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.81": "pyjpegls",  # JPEG-LS near-lossless
    "1.2.840.10008.1.2.4.90": "pylibjpeg",  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.91": "pylibjpeg",  # JPEG 2000
    "1.2.840.10008.1.2.4.201": "pylibjpeg",  # high-throughput JPEG 2000 lossless
    "1.2.840.10008.1.2.4.202": "pylibjpeg",  # the same, by resolution
    "1.2.840.10008.1.2.4.203": "pylibjpeg",  # high-throughput JPEG 2000
    RLE: "pydicom",  # run lengths
}

# Our own decoder reads these: JPEG lossless, and the same with the first predictor.
_JPEG_LOSSLESS = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")

_JPEG_2000 = [f"1.2.840.10008.1.2.4.{n}" for n in (90, 91, 201, 202, 203)]

# Offsets and lengths (bytes) of the fragments of one compressed frame.
Fragments = list[tuple[int, int]]


@contextmanager
def open_pixels(series: Series) -> Iterator[RawPixels]:
    """Open the pixels of a series as (columns, rows, slices[, volumes]); see `stack_of` for errors.

    Values are scaled by each frame's slope and intercept. MONOCHROME1 (white is zero) is inverted
    at the series' largest value, so that air is 0 again. Padding was not measured and gets the
    value of no signal (`Padding.fill`); a series derived from this one declares none, and has plain
    background there. Inversion and padding need a first pass over the series.
    """
    stack = series.stack
    reader = _Reader(series)
    try:
        yield RawPixels(
            shape=stack.shape,
            layout=tuple(reversed(range(len(stack.shape)))),
            complex=False,
            read=reader.read,
            finish=reader.finish,
            affine=stack.affine,
            header=series,
            acquired=None if series.acquired is None else dict(enumerate(series.acquired[::-1])),
            acquired_by="its DICOM header",
            off_grid=_off_grid(stack),
            volume_seconds=stack.seconds,
            note=reader.note,
            slices=_stated_slices(stack),
        )
    finally:
        reader.close()


def _off_grid(stack: Stack) -> str:
    if stack.affine is None:
        return " does not say where its images lie; write DICOM, without --format"
    if stack.irregular:
        return (
            f": {stack.irregular}, which NIfTI cannot store; a slice may be missing: export it"
            " again, or write DICOM, without --format"
        )
    return ""


def _stated_slices(stack: Stack) -> StatedSlices:
    told = [[getattr(f, n) for f in stack.frames] for n in ("thickness", "distance")]
    thickness, distance = ([v for v in values if v is not None] for values in told)
    return StatedSlices(
        by="its DICOM header",
        thickness=(min(thickness), max(thickness)) if thickness else None,
        distance=distance[0] if distance else None,
        irregular=stack.irregular or "",
    )


class _Reader:
    def __init__(self, series: Series) -> None:
        self._digest = hashlib.sha256()
        self._series = series
        self._about = ""
        self._frames = decoded_frames(series, self._digest)
        self.read = Runs(self._values()).read

    def _values(self) -> Iterator[np.ndarray]:
        inverted = self._series.files[0].format.inverted
        declared = {f.file: f.format.padding for f in self._series.files if f.format.padding}
        padding = None
        if inverted or declared:
            padding = find_padding(decoded_frames(self._series), declared, inverted)
            self._about = padding.about
        for frame, stored in self._frames:
            values = scaled(stored, frame)
            if padding is not None:
                values = padding.highest - values if inverted else values
                values = padding.filled(values, stored, frame)
            yield values

    def note(self) -> str:
        """Return the line about the pixels, once they have been read."""
        return self._about

    def finish(self) -> str:
        """Return the SHA-256 of all files, one after the other in the order of the slices."""
        for _ in self._frames:
            pass
        return self._digest.hexdigest()

    def close(self) -> None:
        self._frames.close()


def series_sha256(series: Series) -> str:
    """Return the hash of `RawPixels.finish` from the bytes alone."""
    digest = hashlib.sha256()
    for file in dict.fromkeys(frame.file for frame in series.stack.frames):
        with file.open() as stream:
            _hash(stream, digest)
    return digest.hexdigest()


def scaled(stored: np.ndarray, frame: Frame) -> np.ndarray:
    """Apply slope and intercept to stored integers, in float64 unless they are 1 and 0."""
    if (frame.slope, frame.intercept) == (1.0, 0.0):
        return stored
    return stored * np.float64(frame.slope) + frame.intercept


def decoded_frames(series: Series, digest: Any = None) -> Any:
    """Yield (frame, stored (rows, columns) integers) in the order of the stack.

    Args:
        series: the series.
        digest: hashlib object that is updated with each file when it is first opened.
    """
    formats = {f.file: f.format for f in series.files}
    hashed: set[DicomFile] = set()
    for file, frames in groupby(series.stack.frames, key=lambda frame: frame.file):
        with file.open() as stream:
            if digest is not None and file not in hashed:
                hashed.add(file)
                _hash(stream, digest)
            decode = _decoder(file, stream, formats[file])
            for frame in frames:
                with parsing(file):
                    stored = decode(frame.index)
                yield frame, stored


def _hash(stream: BinaryIO, digest: Any) -> None:
    stream.seek(0)
    while part := stream.read(_HASHED_BYTES):
        digest.update(part)


def _decoder(file: DicomFile, stream: BinaryIO, pixels: PixelFormat) -> Any:
    """Return a function from the index of a frame to its stored integers (rows, columns)."""
    if pixels.syntax == DEFLATED:
        content = read_header(file, stream).dataset.get("PixelData") or b""
        return lambda index: _native(content[index * pixels.frame_bytes :], pixels)
    assert pixels.offset is not None  # files without pixels were refused
    start = pixels.offset
    if pixels.syntax in NATIVE:

        def native(index: int) -> np.ndarray:
            stream.seek(start + index * pixels.frame_bytes)
            return _native(stream.read(pixels.frame_bytes), pixels)

        return native
    with parsing(file):
        fragments = _frame_fragments(stream, start, pixels.frames)

    def compressed(index: int) -> np.ndarray:
        parts = []
        for offset, length in fragments[index]:
            stream.seek(offset)
            parts.append(stream.read(length))
        return _decompressed(b"".join(parts), pixels, file)

    return compressed


def _native(content: bytes, pixels: PixelFormat) -> np.ndarray:
    if len(content) < pixels.frame_bytes:
        raise ValueError("truncated")
    order = ">" if pixels.big_endian else "<"
    kind = np.dtype(f"{order}{'i' if pixels.signed else 'u'}{pixels.allocated // 8}")
    count = pixels.rows * pixels.columns
    stored = np.frombuffer(content, kind, count).reshape(pixels.rows, pixels.columns)
    return _without_unused_bits(stored.astype(kind.newbyteorder("=")), pixels)


def _without_unused_bits(stored: np.ndarray, pixels: PixelFormat) -> np.ndarray:
    """Clear the bits above the stored ones, where old files keep overlays.

    Shifting up and down again restores the sign.
    """
    unused = stored.dtype.itemsize * 8 - pixels.stored
    return (stored << unused) >> unused if unused else stored


def _decompressed(frame: bytes, pixels: PixelFormat, file: DicomFile) -> np.ndarray:
    from pydicom.encaps import encapsulate
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    _check_frame(frame, pixels)
    if pixels.syntax in _JPEG_LOSSLESS:
        samples = jpeg_lossless.decode(frame).astype(f"u{pixels.allocated // 8}")
        stored = samples.view(f"{'i' if pixels.signed else 'u'}{pixels.allocated // 8}")
        return _of_size(_without_unused_bits(stored, pixels), pixels)
    plugin = _DECODERS.get(pixels.syntax, "")
    decoder = get_decoder(UID(pixels.syntax)) if plugin else None
    if decoder is None or plugin not in decoder.available_plugins:
        raise MRCascadeError(
            f"{file} is compressed in a way that cannot be read (transfer syntax"
            f" {pixels.syntax}); export it uncompressed"
        )
    options: dict[str, Any] = {
        "rows": pixels.rows,
        "columns": pixels.columns,
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "bits_allocated": pixels.allocated,
        "bits_stored": pixels.stored,
        "pixel_representation": int(pixels.signed),
        "photometric_interpretation": "MONOCHROME2",
        "pixel_keyword": "PixelData",
        "pixel_vr": "OB",
    }
    stored, _ = decoder.as_array(
        encapsulate([frame]), index=0, raw=True, decoding_plugin=plugin, **options
    )
    return _of_size(stored, pixels)


def _check_frame(frame: bytes, pixels: PixelFormat) -> None:
    if pixels.syntax == RLE:
        check_run_lengths(frame, pixels.frame_bytes)
    elif pixels.syntax in _JPEG_2000:
        check_jpeg_2000(frame, pixels.rows, pixels.columns)
    elif pixels.syntax in (*_JPEG_LOSSLESS, *_DECODERS):
        check_jpeg(frame, pixels.rows, pixels.columns)


def _of_size(stored: np.ndarray, pixels: PixelFormat) -> np.ndarray:
    if stored.shape != (pixels.rows, pixels.columns):
        raise ValueError(f"decompressed to {stored.shape}")
    return stored


def _frame_fragments(stream: BinaryIO, start: int, frames: int) -> list[Fragments]:
    """Return the fragments of each frame of encapsulated pixels (PS3.5 A.4).

    pydicom's ``encaps`` is not used: it walks through all fragments for each frame of a file
    without a table, reads a table of any size, and accepts damaged lengths of fragments.
    """
    table, *fragments = _items(stream, start, max(_MOST_PIECES, _PIECES_PER_FRAME * frames))
    if len(fragments) == frames:
        return [[fragment] for fragment in fragments]
    if frames == 1 and fragments:
        return [fragments]
    if table[1] != 4 * frames or not fragments:
        raise ValueError(f"{len(fragments)} compressed pieces for {frames} frames")
    stream.seek(table[0])
    offsets = struct.unpack(f"<{frames}L", stream.read(table[1]))
    first = fragments[0][0] - 8  # offsets count from the first item's tag
    edges = [*(first + offset for offset in offsets), math.inf]
    places = [bisect_left(fragments, (edge + 8, 0)) for edge in edges]
    found = [fragments[a:b] for a, b in pairwise(places)]
    if not all(found):
        raise ValueError("its table of frames does not fit its compressed pieces")
    return found


def _items(stream: BinaryIO, start: int, most: int) -> Fragments:
    """Return offset and length of every item, the table of offsets first.

    Raises ValueError for more than ``most``.
    """
    size = stream.seek(0, 2)
    found: Fragments = []
    position = start
    while True:
        stream.seek(position)
        head = stream.read(8)
        if len(head) < 8:
            raise ValueError("truncated within its compressed pixels")
        group, element, length = struct.unpack("<HHL", head)
        if (group, element) == _DELIMITER:
            check_rest(stream, position + 8, implicit=False, little=True)
            break
        if (group, element) != _ITEM:
            raise ValueError("its compressed pixels are not a sequence of items")
        position += 8
        if position + length > size:
            raise ValueError("truncated within its compressed pixels")
        found.append((position, length))
        position += length
        if len(found) > most:
            raise ValueError(f"more than {most} compressed pieces")
    if not found:
        raise ValueError("no compressed pixels")
    return found
