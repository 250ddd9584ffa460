"""JSON metadata of a BIDS image: their files, and those that apply to the super-resolved image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mrcascade.io.bids.dataset import Dataset, find_dataset
from mrcascade.io.bids.document import read_object
from mrcascade.io.bids.entities import BidsName, parse_name
from mrcascade.io.names import stem

# Scanner, sequence, timing: facts that stay true when the in-plane grid gets finer. Left out are
# terms that count voxels of the grid (EffectiveEchoSpacing, TotalReadoutTime, matrices,
# AnatomicalLandmarkCoordinates) or refer to files of the source (IntendedFor, B0FieldSource), and
# terms outside BIDS, as their meaning is unknown.
_KEPT = """
    Manufacturer ManufacturersModelName DeviceSerialNumber StationName SoftwareVersions
    MagneticFieldStrength ImagingFrequency ReceiveCoilName ReceiveCoilActiveElements
    NumberReceiveCoilActiveElements GradientSetType MRTransmitCoilSequence MatrixCoilMode
    CoilCombinationMethod NumberTransmitCoilActiveElements TablePosition BodyPart
    BodyPartDetails BodyPartDetailsOntology InstitutionName InstitutionAddress
    InstitutionalDepartmentName DeidentificationMethod DeidentificationMethodCodeSequence
    PulseSequenceType ScanningSequence SequenceVariant ScanOptions SequenceName
    PulseSequenceDetails NonlinearGradientCorrection MRAcquisitionType MTState MTOffsetFrequency
    MTPulseBandwidth MTNumberOfPulses MTPulseShape MTPulseDuration NumberShots SpoilingState
    SpoilingType SpoilingRFPhaseIncrement SpoilingGradientMoment SpoilingGradientDuration
    WaterSuppression WaterSuppressionTechnique B0ShimmingTechnique B1ShimmingTechnique
    ParallelReductionFactorInPlane ParallelReductionFactorOutOfPlane
    ParallelAcquisitionTechnique PartialFourier PartialFourierDirection PhaseEncodingDirection
    MixingTime EchoTime InversionTime RepetitionTime RepetitionTimeExcitation
    RepetitionTimePreparation FlipAngle DwellTime AcquisitionDuration SliceEncodingDirection
    MultibandAccelerationFactor NegativeContrast ContrastBolusIngredient VolumeTiming
    NumberOfVolumesDiscardedByScanner NumberOfVolumesDiscardedByUser DelayTime
    FrameAcquisitionDuration DelayAfterTrigger TaskName TaskDescription Instructions
    CogAtlasID CogPOID Units SkullStripped
"""
# True while the slices are those of the source.
_KEPT_WITH_SLICES = "SliceTiming"


def inherited_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata of an image.

    In a BIDS dataset they follow the inheritance principle, from the root down to the image's
    folder; nearer files override. Elsewhere they come from the JSON file of the image's name.
    Raises MRCascadeError where a file is not a JSON object.
    """
    merged: dict[str, Any] = {}
    for sidecar in _applicable(path):
        merged |= read_object(sidecar)
    return merged


def _applicable(path: Path) -> list[Path]:
    dataset, name = find_dataset(path.parent), parse_name(path)
    if dataset is None or name is None:
        sidecar = path.with_name(stem(path) + ".json")
        return [sidecar] if sidecar.exists() else []
    inside = dataset.inside(path)
    folders = [dataset.root / folder for folder in reversed(inside.parents)]
    return [sidecar for folder in folders for sidecar in _describing(folder, name)]


def _describing(folder: Path, image: BidsName) -> list[Path]:
    """Return the files in a folder that describe an image, those with more entities last."""
    names = {path: parse_name(path) for path in sorted(folder.glob("*.json"))}
    fitting = {path: n for path, n in names.items() if n is not None and n.describes(image)}
    return sorted(fitting, key=lambda path: len(fitting[path].entities))


def kept_metadata(metadata: Mapping[str, Any], axes: Sequence[int]) -> dict[str, Any]:
    """Return the metadata that stay true once ``axes`` of the image's array are finer."""
    kept = {key: metadata[key] for key in _KEPT.split() if key in metadata}
    direction = str(metadata.get("SliceEncodingDirection", "k"))[:1]
    if _KEPT_WITH_SLICES in metadata and direction in "ijk" and "ijk".index(direction) not in axes:
        kept[_KEPT_WITH_SLICES] = metadata[_KEPT_WITH_SLICES]
    return kept


def link_name(dataset: Dataset) -> str:
    """Return the name of the source dataset in the derivative's description."""
    return "raw" if dataset.kind == "raw" else "source"


def source_uri(dataset: Dataset, path: Path) -> str:
    """Return the BIDS URI of a file in the derivative dataset."""
    return f"bids:{link_name(dataset)}:{dataset.inside(path).as_posix()}"
