"""What the header of a DICOM file says about its frames: place, size, scaling, pixel format.

A classic file holds one frame and says everything at its top level. An enhanced multi-frame file
says it in functional groups (PS3.3 C.7.6.16): a macro is looked up in the frame's own group and
then in the shared one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.io.dicom.acquired import acquired_matrix
from mrcascade.io.dicom.files import DicomFile
from mrcascade.io.dicom.header import (
    NATIVE,
    UNDEFINED_LENGTH,
    Header,
    item,
    number,
    numbers,
    parsing,
    read_header,
    text,
    whole,
)

MR = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
LEGACY_ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.4"
_SECONDARY = (
    "1.2.840.10008.5.1.4.1.1.7",
    "1.2.840.10008.5.1.4.1.1.7.2",
    "1.2.840.10008.5.1.4.1.1.7.3",
)
IMAGES = (MR, ENHANCED_MR, LEGACY_ENHANCED_MR, *_SECONDARY)

_DIRECTORY = "1.2.840.10008.1.3.10"  # a DICOMDIR; it alone has no SOPClassUID of its own

_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = (
    "PALETTE COLOR",
    "RGB",
    "YBR_FULL",
    "YBR_FULL_422",
    "YBR_PARTIAL_420",
    "YBR_ICT",
    "YBR_RCT",
)
_LARGEST_SIDE = 2**16 - 1
_LARGEST_COUNT = 2**31 - 1
# Direction cosines are written with few digits at times.
_UNIT_TOLERANCE = 1e-2
_FLAVOUR = 2  # the third value of ImageType and FrameType


@dataclass(frozen=True)
class PixelFormat:
    """How the frames of a file are stored. offset, length, big_endian: as in `Header`."""

    rows: int
    columns: int
    frames: int
    allocated: int  # bits
    stored: int  # bits
    signed: bool
    inverted: bool  # MONOCHROME1
    syntax: str
    big_endian: bool
    offset: int | None
    length: int

    @property
    def frame_bytes(self) -> int:
        return self.rows * self.columns * self.allocated // 8


@dataclass(frozen=True)
class Frame:
    """One frame.

    index: in the file. position (3,), mm: of the centre of the first pixel. orientation (6,):
    direction cosines of a row, then of a column. spacing: (between rows, between columns), mm. All
    three in DICOM's patient coordinates (LPS); None where the file does not say. kind: what the
    values are, in the header's words, such as "M" or "OTHER PHASE"; "" where it does not say.
    order: sorts frames at one position.
    """

    file: DicomFile
    index: int
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    slope: float
    intercept: float
    kind: str
    order: tuple[float, ...]


@dataclass(frozen=True)
class FileFacts:
    """What is needed of a file. thickness: distance of slices as far as the header knows it, mm.

    acquired: (rows, columns) of the acquired matrix, None where the header does not say.
    """

    file: DicomFile
    sop_class: str
    instance: str
    series: str
    number: int | None
    description: str
    format: PixelFormat
    frames: tuple[Frame, ...]
    thickness: float
    acquired: tuple[int, int] | None


def read_facts(file: DicomFile) -> FileFacts | None:
    """The facts of a file, None where it holds no MR image (a report, a CT image, ...).

    Raises MRCascadeError where the file is damaged, where it does not say what it holds (it could
    be a slice), and for pixels that cannot be used.
    """
    with file.open() as stream:
        header = read_header(file, stream)
    with parsing(file):
        if not _is_image(file, header):
            return None
        return _facts(file, header)


def _is_image(file: DicomFile, header: Header) -> bool:
    dataset = header.dataset
    named = text(dataset, "SOPClassUID")
    meta = text(dataset.file_meta, "MediaStorageSOPClassUID")
    if not named and meta != _DIRECTORY:
        raise ValueError("it does not say what it holds")
    if named and meta and named != meta:
        raise ValueError("it says twice what it holds, each time something else")
    return named in IMAGES and text(dataset, "Modality") in ("MR", "")


def _facts(file: DicomFile, header: Header) -> FileFacts:
    dataset = header.dataset
    pixels = _pixel_format(file, header)
    image_type = dataset.get("ImageType") or ()
    if "MOSAIC" in image_type:
        raise MRCascadeError(
            f"{file} is a mosaic, many slices in one picture; convert it to NIfTI first"
        )
    series_number = number(dataset, "SeriesNumber")
    return FileFacts(
        file=file,
        sop_class=text(dataset, "SOPClassUID"),
        instance=text(dataset, "SOPInstanceUID"),
        series=text(dataset, "SeriesInstanceUID"),
        number=None if series_number is None else int(series_number),
        description=text(dataset, "SeriesDescription"),
        format=pixels,
        frames=tuple(_frames(file, dataset, pixels.frames)),
        thickness=_thickness(dataset),
        acquired=acquired_matrix(dataset, pixels.rows, pixels.columns),
    )


def _pixel_format(file: DicomFile, header: Header) -> PixelFormat:
    dataset = header.dataset
    photometric = text(dataset, "PhotometricInterpretation")
    samples = whole(dataset, "SamplesPerPixel", 1, 4, default=1)
    if samples == 1 and photometric not in (*_GREY, *_COLOUR, ""):
        raise ValueError("unknown PhotometricInterpretation")
    if samples != 1 or photometric in _COLOUR:
        kind = photometric or f"{samples} samples per pixel"
        raise MRCascadeError(f"{file} is a colour image ({kind}); give the grey-scale series")
    if dataset.get("ModalityLUTSequence"):
        raise MRCascadeError(
            f"{file} maps its values through a table (Modality LUT), which is not supported;"
            " export it with a rescale slope"
        )
    allocated = whole(dataset, "BitsAllocated", 8, 32)
    if allocated not in (8, 16, 32):
        raise ValueError(f"{allocated} bits allocated")
    stored = whole(dataset, "BitsStored", 1, allocated)
    if whole(dataset, "HighBit", 0, 31, default=stored - 1) != stored - 1:
        raise ValueError("its pixels do not lie in the lowest bits")
    rows, columns = (whole(dataset, k, 1, _LARGEST_SIDE) for k in ("Rows", "Columns"))
    pixels = PixelFormat(
        rows=rows,
        columns=columns,
        frames=whole(dataset, "NumberOfFrames", 1, _LARGEST_COUNT, default=1),
        allocated=allocated,
        stored=stored,
        signed=bool(whole(dataset, "PixelRepresentation", 0, 1)),
        inverted=photometric == "MONOCHROME1",
        syntax=header.syntax,
        big_endian=header.big_endian,
        offset=header.offset,
        length=header.length,
    )
    _check_length(pixels, header.size)
    return pixels


def _check_length(pixels: PixelFormat, size: int) -> None:
    if not pixels.length:
        raise ValueError("it holds no pixels")
    if pixels.length == UNDEFINED_LENGTH:
        if pixels.syntax in NATIVE:
            raise ValueError("pixels of undefined length, but not compressed")
        return
    if pixels.syntax not in NATIVE:
        raise ValueError("compressed pixels of defined length")
    needed = pixels.frame_bytes * pixels.frames
    if pixels.length not in (needed, needed + needed % 2):
        raise ValueError(f"{pixels.length} bytes of pixels, its header asks for {needed}")
    if pixels.offset is not None and pixels.offset + needed > size:
        raise ValueError(f"truncated: {size} of {pixels.offset + needed} bytes")


def _frames(file: DicomFile, dataset: Any, count: int) -> Iterator[Frame]:
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence")
    if not per_frame:
        if count > 1:
            raise ValueError(f"{count} frames that say nothing about their positions")
        yield _frame(file, 0, _Classic(dataset))
        return
    if len(per_frame) != count:
        raise ValueError(f"{count} frames, but {len(per_frame)} descriptions of frames")
    shared = item(dataset, "SharedFunctionalGroupsSequence")
    for index, group in enumerate(per_frame):
        yield _frame(file, index, _Enhanced(group, shared, dataset))


class _Classic:
    """Every macro is the dataset itself."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def macro(self, keyword: str) -> Any:
        return self.dataset

    def kind(self) -> str:
        return _flavour(self.dataset.get("ImageType"))

    def order(self) -> tuple[float, ...]:
        named = ("InstanceNumber", "EchoTime", "TemporalPositionIdentifier", "AcquisitionNumber")
        return tuple(number(self.dataset, keyword) or 0.0 for keyword in named)


class _Enhanced:
    """A macro is in the frame's group, or in the shared one, or nowhere ({})."""

    def __init__(self, group: Any, shared: Any | None, dataset: Any) -> None:
        self.groups = [g for g in (group, shared) if g is not None]
        self.dataset = dataset

    def macro(self, keyword: str) -> Any:
        found = (item(group, keyword) for group in self.groups)
        return next((macro for macro in found if macro is not None), {})

    def kind(self) -> str:
        own = self.macro("MRImageFrameTypeSequence")
        flavour = _flavour(own.get("FrameType") or self.dataset.get("ImageType"))
        component = own.get("ComplexImageComponent") or self.dataset.get("ComplexImageComponent")
        return " ".join(str(word) for word in (flavour, component) if word)

    def order(self) -> tuple[float, ...]:
        content = self.macro("FrameContentSequence")
        echo = number(self.macro("MREchoSequence"), "EffectiveEchoTime") or 0.0
        diffusion = number(self.macro("MRDiffusionSequence"), "DiffusionBValue") or 0.0
        position = number(content, "TemporalPositionIndex") or 0.0
        index = numbers(content, "DimensionIndexValues", None) or ()
        return (echo, diffusion, position, *index)


def _flavour(image_type: Any) -> str:
    """In classic images this value tells magnitude from phase, in enhanced ones the contrast."""
    if not image_type or isinstance(image_type, str) or len(image_type) <= _FLAVOUR:
        return ""
    return str(image_type[_FLAVOUR])


def _frame(file: DicomFile, index: int, groups: "_Classic | _Enhanced") -> Frame:
    scaling = groups.macro("PixelValueTransformationSequence")
    slope, intercept = (number(scaling, k) for k in ("RescaleSlope", "RescaleIntercept"))
    if slope == 0:
        raise ValueError("RescaleSlope is 0")
    frame = Frame(
        file=file,
        index=index,
        position=numbers(groups.macro("PlanePositionSequence"), "ImagePositionPatient", 3),
        orientation=numbers(groups.macro("PlaneOrientationSequence"), "ImageOrientationPatient", 6),
        spacing=numbers(groups.macro("PixelMeasuresSequence"), "PixelSpacing", 2),
        slope=1.0 if slope is None else slope,
        intercept=intercept or 0.0,
        kind=groups.kind(),
        order=groups.order(),
    )
    _check_geometry(frame)
    return frame


def _check_geometry(frame: Frame) -> None:
    if frame.spacing is not None and min(frame.spacing) <= 0:
        raise ValueError("PixelSpacing is not above 0")
    if frame.orientation is not None:
        axes = np.reshape(frame.orientation, (2, 3))
        if np.abs(axes @ axes.T - np.eye(2)).max() > _UNIT_TOLERANCE:
            raise ValueError("ImageOrientationPatient is not two perpendicular unit vectors")


def _thickness(dataset: Any) -> float:
    """Distance of slices for a single one: SpacingBetweenSlices, SliceThickness, or 1 mm."""
    shared = item(dataset, "SharedFunctionalGroupsSequence") or {}
    for place in (dataset, item(shared, "PixelMeasuresSequence") or {}):
        for keyword in ("SpacingBetweenSlices", "SliceThickness"):
            value = number(place, keyword)
            if value is not None and value > 0:
                return value
    return 1.0
