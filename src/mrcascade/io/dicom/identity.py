"""Removal of a patient's identity from a derived DICOM header."""

from typing import Any

from mrcascade.io.pseudonym import Pseudonyms

_PATIENT_EMPTY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
# UIDs of the space and the study of an image: each is always replaced by the same UID.
_MAPPED_UIDS = ("StudyInstanceUID", "FrameOfReferenceUID")
# Groups whose numbers and codes describe the measurement. Their texts, names and dates can identify
# a patient.
_TECHNICAL_GROUPS = (0x0018, 0x0020, 0x0028, 0x5200)
_TECHNICAL_VRS = ("CS", "DS", "IS", "FD", "FL", "US", "SS", "UL", "SL", "AT", "SQ")
_KEPT = (
    "SpecificCharacterSet",
    "ImageType",
    "SOPClassUID",
    "Modality",
    "Manufacturer",
    "ManufacturerModelName",
    "SequenceName",
    "PulseSequenceName",
    "SoftwareVersions",
    "DimensionOrganizationSequence",
    "DimensionOrganizationUID",
    "DimensionIndexSequence",
    "FrameType",
    "PixelPresentation",
    "VolumetricProperties",
    "VolumeBasedCalculationTechnique",
    "ComplexImageComponent",
    "AcquisitionContrast",
    "CodeValue",
    "CodingSchemeDesignator",
    "CodeMeaning",
    "AnatomicRegionSequence",
    "PresentationLUTShape",
    "RescaleType",
    "StackID",
)
# Required elements, with an empty or neutral value in place of the removed one.
_EMPTIED = {
    "PositionReferenceIndicator": "",
    "AcquisitionContextSequence": [],
    "DeviceSerialNumber": "REMOVED",
}


def without_identity(dataset: Any, pseudonyms: Pseudonyms) -> None:
    """Remove, in place, everything except elements that describe the measurement and the pixels.

    The elements that stay are listed, so that unknown ones are removed. Elements that the standard
    requires stay with an empty value, and UIDs that stay are replaced. Pixels do not change: a face
    stays visible.
    """
    mapped = {k: str(dataset.get(k) or "") for k in _MAPPED_UIDS}
    emptied = {k: value for k, value in _EMPTIED.items() if k in dataset}
    _keep_technical(dataset, pseudonyms)
    for keyword in _PATIENT_EMPTY:
        setattr(dataset, keyword, "")
    for keyword, value in emptied.items():
        setattr(dataset, keyword, value)
    for keyword, uid in mapped.items():
        if uid:
            setattr(dataset, keyword, pseudonyms.uid(uid))
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "mrcascade --deidentify: only technical elements were kept"
    dataset.LongitudinalTemporalInformationModified = "REMOVED"


def _keep_technical(dataset: Any, pseudonyms: Pseudonyms) -> None:
    for element in list(dataset):
        keyword = element.keyword
        technical = element.tag.group in _TECHNICAL_GROUPS and element.VR in _TECHNICAL_VRS
        if not (technical or keyword in _KEPT):
            del dataset[element.tag]
        elif element.VR == "SQ":
            for entry in element.value:
                _keep_technical(entry, pseudonyms)
        elif element.VR == "UI" and keyword != "SOPClassUID" and element.value:
            element.value = pseudonyms.uid(str(element.value))
