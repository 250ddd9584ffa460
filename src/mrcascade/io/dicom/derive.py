"""The header of a derived image, made from that of its source (PS3.3 C.7.6.1, C.7.6.16, C.12.1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mrcascade import __version__
from mrcascade.io.derivation import NOTICE, Derivation
from mrcascade.io.dicom.frames import FileFacts
from mrcascade.io.dicom.header import EXPLICIT_LITTLE, item, number
from mrcascade.io.dicom.identity import without_identity
from mrcascade.io.dicom.new_frames import NewFrame, NewSlices, put_frames
from mrcascade.io.dicom.storage import Storage

# Untrue of new pixels: their range, pictures and curves over them, tables, signatures, padding.
_STALE = (
    "SmallestImagePixelValue",
    "LargestImagePixelValue",
    "SmallestPixelValueInSeries",
    "LargestPixelValueInSeries",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "PixelAspectRatio",
    "IconImageSequence",
    "VOILUTSequence",
    "VOILUTFunction",
    "WindowCenterWidthExplanation",
    "RealWorldValueMappingSequence",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "DigitalSignaturesSequence",
    "MACParametersSequence",
    "InstanceCreatorUID",
    "InstanceCreationDate",
    "InstanceCreationTime",
    "ReferencedImageRealWorldValueMappingSequence",
)
# Commands and the meta header lie before this range; pixels, signatures and padding after it.
_FIRST_GROUP, _PIXEL_GROUP = 0x0008, 0x7FE0
_OVERLAYS, _CURVES = range(0x6000, 0x6100), range(0x5000, 0x5100)
_LARGEST_NUMBER = 2**31 - 1
_NO_DATE = ("19000101", "000000")
_SERIES_STEP = 100  # series 5 leads to 501, 502, ...


@dataclass(frozen=True)
class NewGrid:
    """Change from the source's grid to the new one.

    Attributes:
        rows, columns: new sizes.
        scale: new pixel spacing divided by the old one, (between rows, between columns).
        shift: shift of the centre of the first pixel, in mm, in patient coordinates (LPS).
        slices: slices of the new grid; None where they are those of the source.
    """

    rows: int
    columns: int
    scale: tuple[float, float]
    shift: tuple[float, ...]
    slices: NewSlices | None = None


@dataclass(frozen=True)
class SeriesFacts:
    """Facts that the files of one derived series share.

    Attributes:
        uid: UID of the new series.
        derivation: provenance.
        grid: change of the grid.
        storage: representation of the new pixels.
    """

    uid: str
    derivation: Derivation
    grid: NewGrid
    storage: Storage


def derived_header(
    source: Any,
    facts: FileFacts,
    series: SeriesFacts,
    instance: int,
    frames: Sequence[NewFrame],
) -> Any:
    """Turn a parsed dataset, in place, into the header of the image derived from it.

    Args:
        source: pydicom Dataset.
        facts: facts of its file.
        series: facts of the derived series.
        instance: number of the file in the series, from 1. It becomes the InstanceNumber where the
            source has none, or other slices.
        frames: frames of the file.

    Returns:
        The dataset, without pixels.
    """
    dataset = source
    _drop_stale(dataset)
    if (pseudonyms := series.derivation.pseudonyms) is not None:
        without_identity(dataset, pseudonyms)
    _identify(dataset, facts, series, instance)
    _describe_pixels(dataset, series)
    if (slices := series.grid.slices) is not None:
        put_frames(dataset, slices, frames)
    if "PerFrameFunctionalGroupsSequence" in dataset:
        _enhanced(dataset, facts, series)
    else:
        _classic(dataset, facts, series)
    _contribute(dataset, series)
    return dataset


def _drop_stale(dataset: Any) -> None:
    dataset.remove_private_tags()
    for group in (dataset, *_groups(dataset)):
        for keyword in _STALE:
            if keyword in group:
                delattr(group, keyword)
    for tag in list(dataset.keys()):
        outside = tag.group < _FIRST_GROUP or tag.group >= _PIXEL_GROUP
        if outside or tag.group in _OVERLAYS or tag.group in _CURVES:
            del dataset[tag]


def _groups(dataset: Any) -> list[Any]:
    """Return the items of the functional groups, the shared one first."""
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    return [*shared, *(dataset.get("PerFrameFunctionalGroupsSequence") or [])]


def _identify(dataset: Any, facts: FileFacts, series: SeriesFacts, instance: int) -> None:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID, generate_uid

    label = series.derivation.label
    dataset.SOPClassUID = facts.sop_class
    # An equal series has equal images.
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=[series.uid, str(instance)])
    dataset.SeriesInstanceUID = series.uid
    dataset.SeriesDescription = f"{_latin(facts.description, 64 - len(label) - 1)} {label}".strip()
    if series.derivation.pseudonyms is not None:
        dataset.SeriesDescription = label
    if facts.number is not None:
        own = facts.number * _SERIES_STEP + series.derivation.number
        dataset.SeriesNumber = own if 0 <= own <= _LARGEST_NUMBER else facts.number
    renumbered = series.grid.slices is not None and not dataset.get("NumberOfFrames")
    if renumbered or number(dataset, "InstanceNumber") is None:
        dataset.InstanceNumber = instance
    # The time of the run is left out: one UID must not stand for different files.
    if "PerFrameFunctionalGroupsSequence" in dataset and not dataset.get("ContentDate"):
        dataset.ContentDate, dataset.ContentTime = _NO_DATE  # enhanced images must have them
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(facts.sop_class)
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = UID(EXPLICIT_LITTLE)
    dataset.file_meta = meta


def _latin(text: str, length: int) -> str:
    """Return the ASCII part of a text, which every character set can hold."""
    return text.encode("ascii", "ignore").decode()[: max(length, 0)].strip()


def _describe_pixels(dataset: Any, series: SeriesFacts) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    if "PresentationLUTShape" in dataset:
        dataset.PresentationLUTShape = "IDENTITY"
    dataset.Rows, dataset.Columns = series.grid.rows, series.grid.columns
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = int(series.storage.signed)


def _classic(dataset: Any, facts: FileFacts, series: SeriesFacts) -> None:
    _move(dataset, dataset, series.grid)
    rest = list(dataset.get("ImageType") or [])[2:] or ["OTHER"]
    dataset.ImageType = ["DERIVED", "SECONDARY", *rest]
    _window(dataset, series)
    if not series.storage.as_source:
        _rescale(dataset, series.storage)
    dataset.DerivationDescription = _derivation_text(series)
    dataset.DerivationCodeSequence = [_code("113085", "Spatial resampling")]
    dataset.SourceImageSequence = _source_images(facts, series)
    if not dataset.SourceImageSequence:
        del dataset.SourceImageSequence


def _enhanced(dataset: Any, facts: FileFacts, series: SeriesFacts) -> None:
    from pydicom.dataset import Dataset

    contrast = "STD_DEVIATION" if series.derivation.quantity else "RESAMPLED"
    # Value 2 of an enhanced image is PRIMARY whatever value 1 is (PS3.3 C.8.16.1.2).
    kind = _enhanced_type(dataset.get("ImageType"), contrast)
    dataset.ImageType = kind
    groups = _groups(dataset)
    for group in groups:
        measures, position = (
            item(group, f"{k}Sequence") or Dataset() for k in ("PixelMeasures", "PlanePosition")
        )
        _move(measures, position, series.grid)
        frame_type = item(group, "MRImageFrameTypeSequence")
        if frame_type is not None:
            frame_type.FrameType = _enhanced_type(frame_type.get("FrameType"), contrast)
        for keyword in ("FrameVOILUTSequence", "DerivationImageSequence"):
            _drop(group, keyword)
        if not series.storage.as_source:
            _drop(group, "PixelValueTransformationSequence")
    if not dataset.get("SharedFunctionalGroupsSequence"):
        dataset.SharedFunctionalGroupsSequence = [Dataset()]
    shared = dataset.SharedFunctionalGroupsSequence[0]
    window, derived = Dataset(), Dataset()
    _window(window, series)
    shared.FrameVOILUTSequence = [window]
    if not series.storage.as_source:
        scale = Dataset()
        _rescale(scale, series.storage)
        shared.PixelValueTransformationSequence = [scale]
    derived.DerivationDescription = _derivation_text(series)
    derived.DerivationCodeSequence = [_code("113085", "Spatial resampling")]
    derived.SourceImageSequence = _source_images(facts, series)
    shared.DerivationImageSequence = [derived]
    _evidence(dataset, facts, series)


def _enhanced_type(found: Any, contrast: str) -> list[str]:
    values = list(found or [])
    return ["DERIVED", "PRIMARY", values[2] if len(values) > 2 else "OTHER", contrast]


def _evidence(dataset: Any, facts: FileFacts, new: SeriesFacts) -> None:
    """Refer to the source of an enhanced image by study, series and instance (PS3.3 C.8.13.1)."""
    from pydicom.dataset import Dataset

    _drop(dataset, "SourceImageEvidenceSequence")
    if not _refers(facts, new):
        return
    series, study = Dataset(), Dataset()
    series.SeriesInstanceUID = facts.series
    series.ReferencedSOPSequence = [_reference(facts)]
    study.StudyInstanceUID = dataset.get("StudyInstanceUID")
    study.ReferencedSeriesSequence = [series]
    dataset.SourceImageEvidenceSequence = [study]


def _move(measures: Any, position: Any, grid: NewGrid) -> None:
    from pydicom.valuerep import DSfloat

    if measures.get("PixelSpacing"):
        scaled = zip(measures.PixelSpacing, grid.scale, strict=True)
        measures.PixelSpacing = [DSfloat(float(s) * f, auto_format=True) for s, f in scaled]
    if grid.slices is None and position.get("ImagePositionPatient") and any(grid.shift):
        moved = zip(position.ImagePositionPatient, grid.shift, strict=True)
        position.ImagePositionPatient = [DSfloat(float(p) + d, auto_format=True) for p, d in moved]


def _window(dataset: Any, series: SeriesFacts) -> None:
    from pydicom.valuerep import DSfloat

    low, high = series.derivation.window
    dataset.WindowCenter = DSfloat((low + high) / 2, auto_format=True)
    # A width below 1 is legal only for rescaled values (PS3.3 C.11.2.1.2.1).
    dataset.WindowWidth = DSfloat(max(high - low, 1e-6), auto_format=True)


def _rescale(dataset: Any, storage: Storage) -> None:
    from pydicom.valuerep import DSfloat

    dataset.RescaleSlope = DSfloat(storage.slope, auto_format=True)
    dataset.RescaleIntercept = DSfloat(storage.intercept, auto_format=True)
    dataset.RescaleType = "US"


def _derivation_text(series: SeriesFacts) -> str:
    return f"{series.derivation.text}. {NOTICE}"


def _source_images(facts: FileFacts, series: SeriesFacts) -> list[Any]:
    """Return the reference to the source, if there may be one."""
    if not _refers(facts, series):
        return []
    image = _reference(facts)
    image.PurposeOfReferenceCodeSequence = [
        _code("121322", "Source image for image processing operation")
    ]
    return [image]


def _refers(facts: FileFacts, series: SeriesFacts) -> bool:
    """Return whether the source has a UID to refer to, and its patient may be known."""
    return bool(facts.instance) and series.derivation.pseudonyms is None


def _reference(facts: FileFacts) -> Any:
    from pydicom.dataset import Dataset

    image = Dataset()
    image.ReferencedSOPClassUID = facts.sop_class
    image.ReferencedSOPInstanceUID = facts.instance
    return image


def _contribute(dataset: Any, series: SeriesFacts) -> None:
    from pydicom.dataset import Dataset

    prior = series.derivation.prior
    software = Dataset()
    software.PurposeOfReferenceCodeSequence = [_code("109103", "Modifying Equipment")]
    software.Manufacturer = software.ManufacturerModelName = "mrcascade"
    software.SoftwareVersions = __version__
    software.ContributionDescription = f"prior {prior}" if prior else series.derivation.label
    earlier = list(dataset.get("ContributingEquipmentSequence") or [])
    dataset.ContributingEquipmentSequence = [*earlier, software]


def _code(value: str, meaning: str) -> Any:
    from pydicom.dataset import Dataset

    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
    return code


def _drop(dataset: Any, keyword: str) -> None:
    if keyword in dataset:
        delattr(dataset, keyword)
