"""DICOM: classic series and enhanced multi-frame files, in folders, archives or alone."""

from mrcascade.io.dicom.files import ENDINGS, ZIP_ENDING, DicomFile, dicom_files, is_dicom_name
from mrcascade.io.dicom.series import (
    ALL_SERIES,
    Found,
    Series,
    choose_series,
    find_below,
    find_series,
    only_series,
)

__all__ = [
    "ALL_SERIES",
    "ENDINGS",
    "ZIP_ENDING",
    "DicomFile",
    "Found",
    "Series",
    "choose_series",
    "dicom_files",
    "find_below",
    "find_series",
    "is_dicom_name",
    "only_series",
]
