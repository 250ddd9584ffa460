"""The header of one DICOM file: parsed by pydicom, checked, and read element by element.

pydicom is lenient: it only warns about a file that ends within an element, and it decodes values
when they are asked for. Hence every access to a dataset happens inside `parsing`, which turns the
errors of damaged files into one line. pydicom is imported when a file is touched, so that
`import mrcascade.io` stays quick.
"""

import math
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

from mrcascade.errors import MRCascadeError
from mrcascade.io.dicom.bounded import LARGEST_VALUE, HeaderStream, drop_skipped
from mrcascade.io.dicom.elements import (
    EXPLICIT_BIG,
    LONG_VRS,
    UNDEFINED_LENGTH,
    check_elements,
)
from mrcascade.io.dicom.files import DicomFile

PIXEL_DATA = (0x7FE0, 0x0010)
DEFLATED = "1.2.840.10008.1.2.1.99"
IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
NATIVE = (IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED)

_REASON_LENGTH = 120
_FIRST_BLOCK = 0x10  # first block of private elements
_MOST_AFTER_PIXELS = 10_000  # elements; real files have a padding or a signature


@dataclass(frozen=True)
class Header:
    """A file parsed up to its pixels.

    Attributes:
        dataset: a pydicom Dataset.
        syntax: UID of the transfer syntax.
        big_endian: byte order of the pixels.
        offset: offset of the pixels' value in the file; None where there are none, and for the
            deflated syntax, which keeps the pixels in `dataset`.
        length: length of that value in bytes, or `UNDEFINED_LENGTH`.
        size: size of the whole file in bytes.
    """

    dataset: Any
    syntax: str
    big_endian: bool
    offset: int | None
    length: int
    size: int


def read_header(file: DicomFile, stream: BinaryIO) -> Header:
    """Parse the header of an opened file.

    Raises MRCascadeError where it is damaged or no DICOM file.
    """
    import pydicom

    with parsing(file):
        size = stream.seek(0, 2)
        check_elements(stream, size)
        stream.seek(0)
        # pydicom only warns about a file that ends within an element, and loses what follows.
        for cut in ("Unexpected end of file", "End of file reached"):
            warnings.filterwarnings("error", message=cut)
        bounded: Any = HeaderStream(stream, size)
        dataset = pydicom.dcmread(
            bounded, stop_before_pixels=True, force=True, defer_size=LARGEST_VALUE
        )
        drop_skipped(dataset, size)
        syntax = str(dataset.file_meta.get("TransferSyntaxUID") or _guessed(dataset))
        little = syntax != EXPLICIT_BIG
        if syntax == DEFLATED:
            stream.seek(0)
            whole_file: Any = HeaderStream(stream, size)
            dataset = pydicom.dcmread(whole_file, force=True)
            found: tuple[int | None, int] = (None, len(dataset.get("PixelData") or b""))
        else:
            implicit = bool(dataset.original_encoding[0])
            found = _pixel_place(stream, implicit, little)
            offset, length = found
            if offset is not None and length != UNDEFINED_LENGTH:  # else checked when it is read
                check_rest(stream, offset + length, implicit, little)
    return Header(dataset, syntax, not little, *found, size)


@contextmanager
def parsing(file: DicomFile) -> Iterator[None]:
    """Turn every error of pydicom and of its decoders into a MRCascadeError that names `file`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except MRCascadeError:
        raise
    except Exception as error:  # any kind: pydicom does not document which
        # pydicom wraps the messages of its decoders, and repeats the traceback in some.
        found = str(error).partition("Traceback")[0].rpartition("available plugins:")[2]
        named = f"{type(error).__name__}: " * (not isinstance(error, ValueError))
        reason = " ".join(f"{named}{found}".split())[:_REASON_LENGTH]
        raise damaged(file, reason.rstrip(": ")) from error


class DamagedFileError(MRCascadeError):
    """A file that cannot be read, unlike one of an unsupported kind."""


def damaged(file: DicomFile, reason: str) -> DamagedFileError:
    """Return the error for a damaged file."""
    return DamagedFileError(
        f"{file} is a damaged DICOM file, or no DICOM file ({reason}); copy or export it again"
    )


def numbers(dataset: Any, keyword: str, count: int | None = 1) -> tuple[float, ...] | None:
    """Return the finite numbers of an element; None where it is absent or empty.

    Args:
        dataset: pydicom Dataset.
        keyword: keyword of the element.
        count: required number of values; None for any.

    Raises:
        ValueError: the element holds something else (inside `parsing`).
    """
    value = dataset.get(keyword)
    if value is None or value == "" or value == []:
        return None
    values = [value] if isinstance(value, str | bytes | int | float) else list(value)
    found = tuple(float(v) for v in values)
    if (count is not None and len(found) != count) or not all(map(math.isfinite, found)):
        wanted = "numbers" if count is None else f"{count} number{'s' * (count > 1)}"
        raise ValueError(f"{keyword} holds no {wanted}")
    return found


def number(dataset: Any, keyword: str) -> float | None:
    """Return the single number of an element; None where it is absent or empty."""
    found = numbers(dataset, keyword)
    return None if found is None else found[0]


def whole(dataset: Any, keyword: str, low: int, high: int, default: int | None = None) -> int:
    """Return a whole number from `low` to `high`, or `default` where the element is absent.

    Raises ValueError for other values, and where an element without default is absent.
    """
    value = number(dataset, keyword)
    if value is None:
        if default is None:
            raise ValueError(f"{keyword} is missing")
        return default
    if value != int(value) or not low <= value <= high:
        raise ValueError(f"{keyword} {value:g} is not from {low} to {high}")
    return int(value)


def text(dataset: Any, keyword: str) -> str:
    """Return an element as one line of printable text; empty where it is absent."""
    value = dataset.get(keyword)
    line = " ".join(str("" if value is None else value).split())
    return "".join(c for c in line if c.isprintable())


def told(dataset: Any, keyword: str, count: int | None = 1) -> tuple[float, ...] | None:
    """Return `numbers`, also None where the element is malformed: for optional elements."""
    try:
        return numbers(dataset, keyword, count)
    except Exception:  # any kind: pydicom does not document which
        return None


def words(dataset: Any, keyword: str) -> list[str]:
    """Return the values of a text element in capitals; an empty list where it is absent."""
    value = dataset.get(keyword) or ()
    values = [value] if isinstance(value, str) else list(value)
    return [" ".join(str(one).upper().split()) for one in values]


def private(dataset: Any, group: int, element: int, creator: str) -> Any | None:
    """Return the value of a private element in the block of ``creator`` (PS3.5 7.8).

    None where it is absent or malformed. Where the group names no creator, as some anonymisers
    leave it, the usual block 0x10 counts.
    """
    tags = dataset.keys()
    named = [b for b in range(_FIRST_BLOCK, 0x100) if group << 16 | b in tags]
    for block in named or [_FIRST_BLOCK]:
        tag = group << 16 | block << 8 | element
        try:
            if tag in tags and (not named or str(dataset[group, block].value).strip() == creator):
                return dataset[tag].value
        except Exception:  # any kind: pydicom does not document which
            return None
    return None


def private_numbers(
    dataset: Any, group: int, element: int, creator: str
) -> tuple[float, ...] | None:
    """Return the finite numbers of a private element; None where it is absent or holds others."""
    value = private(dataset, group, element, creator)
    if value is None:
        return None
    try:
        if isinstance(value, bytes):  # of unknown type: two bytes are a small integer
            small = len(value) == 2 and not value.strip().isdigit()
            value = struct.unpack("<h", value)[0] if small else value.decode("ascii").split("\\")
        values: Any = [value] if isinstance(value, str | int | float) else list(value)
        found = tuple(float(v) for v in values)
    except (TypeError, ValueError):
        return None
    return found if found and all(map(math.isfinite, found)) else None


def item(dataset: Any, keyword: str) -> Any | None:
    """Return the first item of a sequence; None where it is absent or empty."""
    sequence = dataset.get(keyword)
    return sequence[0] if sequence else None


def _guessed(dataset: Any) -> str:
    """Return the syntax of a file without a meta header, as pydicom found it."""
    implicit, little = dataset.original_encoding
    if not little:
        return EXPLICIT_BIG
    return IMPLICIT_LITTLE if implicit else EXPLICIT_LITTLE


def _pixel_place(stream: BinaryIO, implicit: bool, little: bool) -> tuple[int | None, int]:
    """Return offset and length of the pixel data, with the stream at the start of its element."""
    order = "<" if little else ">"
    head = stream.read(8)
    if len(head) < 8:
        return None, 0
    group, element = struct.unpack(f"{order}HH", head[:4])
    if (group, element) != PIXEL_DATA:
        return None, 0
    if implicit:
        length = struct.unpack(f"{order}L", head[4:])[0]
    else:
        length = struct.unpack(f"{order}L", stream.read(4))[0]
    return stream.tell(), length


def check_rest(stream: BinaryIO, position: int, implicit: bool, little: bool) -> None:
    """Raise ValueError where the file ends within an element after the pixels.

    Args:
        stream: the file.
        position: end of the pixels in the file, in bytes.
        implicit: whether elements have no VR.
        little: whether the byte order is little-endian.
    """
    size = stream.seek(0, 2)
    elements = 0
    while position < size:
        elements += 1
        if elements > _MOST_AFTER_PIXELS:
            raise ValueError("what follows its pixels has no end")
        stream.seek(position)
        head = stream.read(12)
        long = not implicit and head[4:6] in LONG_VRS
        start, stop, kind = (8, 12, "L") if long else (4, 8, "L") if implicit else (6, 8, "H")
        if len(head) < stop:
            break
        length = struct.unpack("<>"[not little] + kind, head[start:stop])[0]
        if length == UNDEFINED_LENGTH:
            return
        position += stop + length
    if position != size:
        raise ValueError("truncated after its pixels")
