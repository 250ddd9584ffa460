"""Frames in the header of a DICOM file: place, size, scaling, pixel format.

A classic file describes its one frame at its top level. An enhanced multi-frame file does so in
functional groups (PS3.3 C.7.6.16): a macro is in the frame's own group, else in the shared one.
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
    words,
)
from mrcascade.io.dicom.lengths import length, slice_distance
from mrcascade.io.dicom.marks import Marks, classic_marks, enhanced_marks
from mrcascade.io.dicom.mosaic import is_mosaic
from mrcascade.io.dicom.padding_range import Range, padding_range
from mrcascade.io.dicom.parts import part_of
from mrcascade.io.dicom.timing import Timing, timing_of

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
_MOST_PIXELS = 2**26  # of a frame, which is held whole: 8192 squared
_LARGEST_COUNT = 2**31 - 1
_UNIT_TOLERANCE = 1e-2  # some files store direction cosines with few digits
_FLAVOUR = 2  # index of the third value of ImageType and FrameType


@dataclass(frozen=True)
class PixelFormat:
    """Storage of a file's frames.

    Attributes:
        offset, length, big_endian: as in `Header`.
        padding: as returned by `padding_range`.
    """

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
    padding: Range | None = None

    @property
    def frame_bytes(self) -> int:
        """Bytes of one uncompressed frame."""
        return self.rows * self.columns * self.allocated // 8


@dataclass(frozen=True)
class Frame:
    """One frame. Positions and directions are in DICOM's patient coordinates (LPS).

    Attributes:
        index: index in the file.
        position: (3,), centre of the first pixel, mm; None where the file does not say.
        orientation: (6,), direction cosines of a row, then of a column; None likewise.
        spacing: (between rows, between columns), mm; None likewise.
        thickness: SliceThickness, mm; None likewise.
        distance: SpacingBetweenSlices, mm; None likewise.
        kind: kind of the values in the header's words, such as "OTHER PHASE"; "" if unknown.
        part: part of a complex image, as returned by `part_of`.
        marks: differ from those of other frames at its position.
    """

    file: DicomFile
    index: int
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    thickness: float | None
    distance: float | None
    slope: float
    intercept: float
    kind: str
    part: str
    marks: Marks


@dataclass(frozen=True)
class FileFacts:
    """Facts about one file.

    Attributes:
        thickness: distance of slices by the header, mm.
        acquired: (rows, columns) of the acquired matrix; None where the header does not say.
        patient: the PatientID, empty where there is none.
    """

    file: DicomFile
    sop_class: str
    instance: str
    patient: str
    series: str
    number: int | None
    description: str
    format: PixelFormat
    frames: tuple[Frame, ...]
    thickness: float
    acquired: tuple[int, int] | None
    timing: Timing


@dataclass(frozen=True)
class Unusable:
    """A file whose image cannot be used, with the error.

    ``series`` is "" where the UID cannot be read; the file could then belong to any series.
    """

    file: DicomFile
    error: MRCascadeError
    series: str = ""
    number: int | None = None
    description: str = ""


def read_facts(file: DicomFile) -> FileFacts | Unusable | None:
    """Return the facts of a file; None where it holds no MR image (a report, a CT image, ...).

    `Unusable` where the file is damaged, where it does not say what it holds (it could be a slice),
    and for pixels that cannot be used.
    """
    try:
        with file.open() as stream:
            header = read_header(file, stream)
    except MRCascadeError as error:
        return Unusable(file, error)
    try:
        with parsing(file):
            return _facts(file, header) if _is_image(file, header) else None
    except MRCascadeError as error:
        if not header.length:  # a file that ends before its pixels may end within a UID
            return Unusable(file, error)
        try:
            with parsing(file):
                return Unusable(file, error, *_series(header.dataset))
        except MRCascadeError:
            return Unusable(file, error)


def _series(dataset: Any) -> tuple[str, int | None, str]:
    """Return UID, number and description of the series."""
    found = number(dataset, "SeriesNumber")
    return (
        text(dataset, "SeriesInstanceUID"),
        None if found is None else int(found),
        text(dataset, "SeriesDescription"),
    )


def _is_image(file: DicomFile, header: Header) -> bool:
    dataset = header.dataset
    named = text(dataset, "SOPClassUID")
    meta = text(dataset.file_meta, "MediaStorageSOPClassUID")
    if not named and meta != _DIRECTORY:
        raise ValueError("it does not say what it holds")
    if named and meta and named != meta:
        raise ValueError("its two SOP class UIDs differ")
    return named in IMAGES and text(dataset, "Modality") in ("MR", "")


def _facts(file: DicomFile, header: Header) -> FileFacts:
    dataset = header.dataset
    pixels = _pixel_format(file, header)
    frames = tuple(_frames(file, dataset, pixels.frames))
    if is_mosaic(dataset, (frame.position for frame in frames)):
        raise MRCascadeError(
            f"{file} is a mosaic, many slices in one picture; convert it to NIfTI first"
        )
    uid, series_number, description = _series(dataset)
    return FileFacts(
        file=file,
        sop_class=text(dataset, "SOPClassUID"),
        instance=text(dataset, "SOPInstanceUID"),
        patient=text(dataset, "PatientID"),
        series=uid,
        number=series_number,
        description=description,
        format=pixels,
        frames=frames,
        thickness=slice_distance(dataset),
        acquired=acquired_matrix(dataset, pixels.rows, pixels.columns),
        timing=timing_of(dataset),
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
    signed = bool(whole(dataset, "PixelRepresentation", 0, 1))
    if rows * columns > _MOST_PIXELS:
        raise MRCascadeError(
            f"{file} has frames of {rows} x {columns} pixels, above the limit of {_MOST_PIXELS};"
            " crop it to the region to be restored, or convert it to NIfTI"
        )
    pixels = PixelFormat(
        rows=rows,
        columns=columns,
        frames=whole(dataset, "NumberOfFrames", 1, _LARGEST_COUNT, default=1),
        allocated=allocated,
        stored=stored,
        signed=signed,
        inverted=photometric == "MONOCHROME1",
        syntax=header.syntax,
        big_endian=header.big_endian,
        offset=header.offset,
        length=header.length,
        padding=padding_range(dataset, signed),
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
            raise MRCascadeError(
                f"{file} holds {count} frames without positions, as screen captures do; give the"
                " series that they were made from"
            )
        yield _frame(file, 0, _Classic(dataset))
        return
    if len(per_frame) != count:
        raise ValueError(f"{count} frames, but {len(per_frame)} descriptions of frames")
    shared = item(dataset, "SharedFunctionalGroupsSequence")
    for index, group in enumerate(per_frame):
        yield _frame(file, index, _Enhanced(group, shared, dataset))


class _Classic:
    """Groups of a classic file, where the dataset itself holds every macro."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def macro(self, keyword: str) -> Any:
        return self.dataset

    def kind(self) -> str:
        return _flavour(self.dataset.get("ImageType"))

    def part(self) -> str:
        component = text(self.dataset, "ComplexImageComponent")
        return part_of(words(self.dataset, "ImageType"), component, self.dataset, self.dataset)

    def marks(self, index: int) -> Marks:
        return classic_marks(self.dataset)


class _Enhanced:
    """Groups of an enhanced file: a macro is in the frame's or the shared group, else {}."""

    def __init__(self, group: Any, shared: Any | None, dataset: Any) -> None:
        self.groups = [g for g in (group, shared) if g is not None]
        self.dataset = dataset

    def macro(self, keyword: str) -> Any:
        found = (item(group, keyword) for group in self.groups)
        return next((macro for macro in found if macro is not None), {})

    def kind(self) -> str:
        flavour = _flavour(self._frame_type().get("FrameType") or self.dataset.get("ImageType"))
        return " ".join(word for word in (flavour, self._component()) if word)

    def part(self) -> str:
        own = words(self._frame_type(), "FrameType") or words(self.dataset, "ImageType")
        scaling = self.macro("PixelValueTransformationSequence")
        return part_of(own, self._component(), self.dataset, scaling)

    def marks(self, index: int) -> Marks:
        return enhanced_marks(self.macro, self.dataset, index)

    def _frame_type(self) -> Any:
        return self.macro("MRImageFrameTypeSequence")

    def _component(self) -> str:
        own = text(self._frame_type(), "ComplexImageComponent")
        return own or text(self.dataset, "ComplexImageComponent")


def _flavour(image_type: Any) -> str:
    """Return value 3: magnitude or phase in classic images, the contrast in enhanced ones."""
    if not image_type or isinstance(image_type, str) or len(image_type) <= _FLAVOUR:
        return ""
    return str(image_type[_FLAVOUR])


def _frame(file: DicomFile, index: int, groups: "_Classic | _Enhanced") -> Frame:
    scaling = groups.macro("PixelValueTransformationSequence")
    slope, intercept = (number(scaling, k) for k in ("RescaleSlope", "RescaleIntercept"))
    if slope == 0:
        raise ValueError("RescaleSlope is 0")
    measures = groups.macro("PixelMeasuresSequence")
    frame = Frame(
        file=file,
        index=index,
        position=numbers(groups.macro("PlanePositionSequence"), "ImagePositionPatient", 3),
        orientation=numbers(groups.macro("PlaneOrientationSequence"), "ImageOrientationPatient", 6),
        spacing=numbers(measures, "PixelSpacing", 2),
        thickness=length(measures, "SliceThickness"),
        distance=length(measures, "SpacingBetweenSlices"),
        slope=1.0 if slope is None else slope,
        intercept=intercept or 0.0,
        kind=groups.kind(),
        part=groups.part(),
        marks=groups.marks(index),
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
