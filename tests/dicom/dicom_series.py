"""DICOM series made for the tests, with every element that a validator requires."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_encoder
from pydicom.uid import ExplicitVRLittleEndian, RLELossless, generate_uid

MR = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"

# Row and column directions, mm positions of the first pixel, by name.
ORIENTATIONS = {
    "axial": ([1, 0, 0], [0, 1, 0]),
    "sagittal": ([0, 1, 0], [0, 0, -1]),
    "coronal": ([1, 0, 0], [0, 0, -1]),
    "flipped": ([-1, 0, 0], [0, 1, 0]),
    "oblique": ([0.96, 0.0, -0.28], [0.168, 0.8, 0.576]),
}
SPACING = (0.7, 1.3)  # between rows, between columns
ORIGIN = (-61.25, 40.5, 12.75)
STEP = 3.5


def phantom(shape: tuple[int, ...]) -> np.ndarray:
    """(slices, rows, columns) integers from 0 to 1000, different in every slice."""
    rng = np.random.default_rng(sum(shape))
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape[-2:]), indexing="ij")
    disc = (grid[0] ** 2 + grid[1] ** 2 < 0.7).astype(float)
    return (disc * 600 + 40 * rng.normal(size=shape) + 200).clip(0, 1000).round().astype(np.int16)


def series(folder: Path, pixels: np.ndarray, orientation: str = "axial", **changed: Any) -> Path:
    """A classic series, one file per slice, file names in no useful order."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, dataset in enumerate(classic(pixels, orientation, **changed)):
        name = f"IM{(place * 7 + 3) % 101:03d}.dcm"
        dataset.save_as(folder / name, enforce_file_format=True)
    return folder


def annotated(folder: Path, shape: Sequence[int], **changed: Any) -> list[Dataset]:
    """A classic series with much that a derived one drops or changes; its datasets."""
    source = classic(phantom(shape), **changed)
    folder.mkdir()
    for place, dataset in enumerate(source):
        block = dataset.private_block(0x0019, "ACME", create=True)
        block.add_new(1, "LO", "secret")
        dataset.SmallestImagePixelValue, dataset.LargestImagePixelValue = 0, 1000
        dataset.WindowCenter, dataset.WindowWidth = "10", "20"
        dataset.add_new((0x6000, 0x3000), "OW", b"\0\0")
        dataset.add_new((0x0088, 0x0200), "SQ", [Dataset()])
        dataset.AcquisitionMatrix = [0, 18, 16, 0]
        dataset.EchoTime, dataset.RepetitionTime = "90", "3000"
        dataset.save_as(folder / f"{place}.dcm", enforce_file_format=True)
    return source


def classic(pixels: np.ndarray, orientation: str = "axial", **changed: Any) -> list[Dataset]:
    """The datasets of a classic series; `changed` sets elements in all of them."""
    uid, study, frame = (generate_uid() for _ in range(3))
    normal = np.cross(*ORIENTATIONS[orientation])
    found = []
    for place, plane in enumerate(pixels):
        dataset = base(MR, uid, study, frame)
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
        dataset.InstanceNumber = place + 1
        dataset.AcquisitionNumber = 1
        dataset.ScanningSequence, dataset.SequenceVariant = "SE", "NONE"
        dataset.ScanOptions, dataset.MRAcquisitionType = "", "2D"
        dataset.EchoTime, dataset.RepetitionTime, dataset.EchoTrainLength = "90", "3000", "1"
        dataset.SliceThickness = "3"
        set_geometry(dataset, dataset, dataset, orientation, normal, place)
        set_pixels(dataset, plane)
        for keyword, value in changed.items():
            setattr(dataset, keyword, value)
        found.append(dataset)
    return found


def enhanced(pixels: np.ndarray, orientation: str = "axial", order: Sequence[int] = ()) -> Dataset:
    """An enhanced multi-frame file. order: the slice that each frame holds."""
    dataset = base(ENHANCED_MR, *(generate_uid() for _ in range(3)))
    normal = np.cross(*ORIENTATIONS[orientation])
    order = order or range(len(pixels))
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "OTHER", "NONE"]
    dataset.InstanceNumber = 1
    dataset.NumberOfFrames = len(pixels)
    dataset.AcquisitionDateTime = dataset.ContentDate + dataset.ContentTime
    dataset.ContentQualification = "PRODUCT"
    dataset.ResonantNucleus, dataset.MagneticFieldStrength = "1H", 3.0
    dataset.PixelPresentation = "MONOCHROME"
    dataset.VolumetricProperties, dataset.VolumeBasedCalculationTechnique = "VOLUME", "NONE"
    dataset.ComplexImageComponent, dataset.AcquisitionContrast = "MAGNITUDE", "T2"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.AcquisitionContextSequence = []
    organization, index = Dataset(), [Dataset(), Dataset()]
    organization.DimensionOrganizationUID = generate_uid()
    for entry, pointer in zip(index, (0x00209056, 0x00209057), strict=True):
        entry.DimensionOrganizationUID = organization.DimensionOrganizationUID
        entry.DimensionIndexPointer, entry.FunctionalGroupPointer = pointer, 0x00209111
    dataset.DimensionOrganizationSequence = [organization]
    dataset.DimensionIndexSequence = index
    dataset.BurnedInAnnotation, dataset.LossyImageCompression = "NO", "00"
    set_pixels(dataset, pixels[list(order)])
    shared, measures, plane = Dataset(), Dataset(), Dataset()
    frame_type, transform = Dataset(), Dataset()
    set_geometry(measures, Dataset(), plane, orientation, normal, 0)
    measures.SliceThickness = "3"
    transform.RescaleSlope, transform.RescaleIntercept, transform.RescaleType = "2", "-10", "US"
    frame_type.FrameType = list(dataset.ImageType)
    for keyword in ("PixelPresentation", "VolumetricProperties", "ComplexImageComponent"):
        setattr(frame_type, keyword, dataset[keyword].value)
    frame_type.VolumeBasedCalculationTechnique = "NONE"
    frame_type.AcquisitionContrast = "T2"
    shared.PixelMeasuresSequence = [measures]
    shared.PlaneOrientationSequence = [plane]
    shared.MRImageFrameTypeSequence = [frame_type]
    shared.PixelValueTransformationSequence = [transform]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = []
    for place in order:
        group, position, content = Dataset(), Dataset(), Dataset()
        set_geometry(Dataset(), position, Dataset(), orientation, normal, place)
        content.FrameAcquisitionNumber = 1
        content.StackID, content.InStackPositionNumber = "1", place + 1
        content.DimensionIndexValues = [1, place + 1]
        group.PlanePositionSequence, group.FrameContentSequence = [position], [content]
        dataset.PerFrameFunctionalGroupsSequence.append(group)
    return dataset


def base(sop_class: str, series_uid: str, study: str, frame: str) -> Dataset:
    """What every image says about patient, study, series and equipment."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, generate_uid()
    dataset.SeriesInstanceUID, dataset.StudyInstanceUID = series_uid, study
    dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = frame, ""
    dataset.Modality, dataset.Manufacturer = "MR", "ACME"
    dataset.PatientName, dataset.PatientID = "Doe^Jane", "4711"
    dataset.PatientBirthDate, dataset.PatientSex = "19700101", "F"
    dataset.StudyDate, dataset.StudyTime = "20200102", "101112"
    dataset.ContentDate, dataset.ContentTime = "20200102", "101112"
    dataset.StudyID, dataset.AccessionNumber = "1", "A1"
    dataset.ReferringPhysicianName = "Roe^Richard"
    dataset.PatientPosition, dataset.Laterality = "HFS", ""
    dataset.ManufacturerModelName, dataset.DeviceSerialNumber = "A 1", "12345"
    dataset.SoftwareVersions = "1.0"
    dataset.SeriesNumber, dataset.SeriesDescription = 5, "t2 tse"
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
        pydicom.uid.UID(sop_class),
        dataset.SOPInstanceUID,
    )
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta = meta
    return dataset


def set_geometry(
    measures: Dataset,
    position: Dataset,
    plane: Dataset,
    orientation: str,
    normal: np.ndarray,
    place: int,
) -> None:
    measures.PixelSpacing = list(map(str, SPACING))
    at = np.add(ORIGIN, place * STEP * normal)
    position.ImagePositionPatient = [f"{v:.6f}" for v in at]
    plane.ImageOrientationPatient = [str(v) for d in ORIENTATIONS[orientation] for v in d]


def set_pixels(dataset: Dataset, pixels: np.ndarray) -> None:
    """pixels: (rows, columns) or (frames, rows, columns) of up to 16 bits, signed or not."""
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    dataset["PixelData"].VR = "OW"


def volume(pixels: np.ndarray) -> np.ndarray:
    """(slices, rows, columns) -> the array that is read: (columns, rows, slices)."""
    return pixels.transpose(2, 1, 0)


def read_all(folder: Path) -> list[Dataset]:
    return [pydicom.dcmread(p) for p in sorted(folder.iterdir())]


def compressed(pixels: np.ndarray, pieces: int = 1, table: bool = True) -> Dataset:
    """An enhanced file of run lengths; pieces: per frame. table: whether it has one of offsets."""
    dataset = enhanced(pixels, "oblique")
    stored = np.frombuffer(dataset.PixelData, np.int16).reshape(pixels.shape)
    facts = {"rows": pixels.shape[1], "columns": pixels.shape[2], "samples_per_pixel": 1}
    facts |= {"bits_allocated": 16, "bits_stored": 16, "pixel_representation": 1}
    facts |= {"photometric_interpretation": "MONOCHROME2", "number_of_frames": 1}
    encode = get_encoder(RLELossless).encode
    frames = [encode(frame, encoding_plugin="pydicom", **facts) for frame in stored]
    dataset.PixelData = encapsulate(frames, fragments_per_frame=pieces, has_bot=table)
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = RLELossless
    return dataset
