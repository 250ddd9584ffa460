"""What a JSON file beside a NIfTI file says about it (BIDS, as dcm2niix writes it)."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.io.bids import inherited_metadata
from mrcascade.io.blocks import Axes

_AXES = {"i": 0, "j": 1, "k": 2}
# In images that dcm2niix converted, DICOM's columns run along axis 1 and its rows along axis 0.
_DICOM_AXES = {"ROW": 0, "COL": 1}
# Cosine up to which the normal of DICOM images counts as lying along an axis of the array.
_ALONG = 0.95


def acquired_sizes(path: Path, shape: tuple[int, ...]) -> dict[int, int] | None:
    """Axis -> samples that were acquired along it, by the JSON file of the same name, or
    those that a BIDS dataset has for the image.

    Read are `AcquisitionMatrix` (four numbers as in DICOM) or, with the direction of the phase
    encoding, `AcquisitionMatrixPE` and `BaseResolution` or `FrequencyEncodingSteps`. None where
    there is no such file or it says nothing usable: a sidecar is optional.
    """
    document = _document(path)
    found = _from_matrix(document) or _from_phase(document)
    sizes = {
        axis: min(size, shape[axis])
        for axis, size in found.items()
        if size is not None and axis < len(shape)
    }
    return sizes or None


def stated_axes(path: Path, shape: tuple[int, ...]) -> Axes | None:
    """The in-plane axes that this library wrote into the JSON file of the image's name.

    None where there is none, or where the axes or the `InPlaneMatrix` beside them do not fit an
    image of this shape, so that the file is one of another image.
    """
    document = _document(path)
    axes = [_size(value, least=0) for value in _pair(document.get("InPlaneAxes"))]
    usable = {axis for axis in range(min(len(shape), 3)) if shape[axis] > 1}
    rows, columns = axes
    if rows is None or columns is None or rows == columns or not {rows, columns} <= usable:
        return None
    if (told := document.get("InPlaneMatrix")) is not None and told != [
        shape[rows],
        shape[columns],
    ]:
        return None
    return rows, columns


def slice_axis(path: Path, shape: tuple[int, ...], affine: np.ndarray) -> tuple[int, str] | None:
    """The axis that the slices follow by the JSON file of the image, and the entry that says so.

    `SliceEncodingDirection` names it. `ImageOrientationPatientDICOM` holds the directions of the
    rows and columns of the DICOM images that were converted; their normal must lie along an axis.
    """
    document = _document(path)
    axis = _AXES.get(str(document.get("SliceEncodingDirection"))[:1])
    if axis is not None and axis < len(shape):
        return axis, "SliceEncodingDirection in its JSON file"
    cosines = document.get("ImageOrientationPatientDICOM")
    if isinstance(cosines, list) and len(cosines) == 6 and all(_finite(v) for v in cosines):
        normal = np.cross(cosines[:3], cosines[3:]) * (-1, -1, 1)  # DICOM's L, P, S to R, A, S
        along = np.abs(normal @ affine[:3, :3]) / np.linalg.norm(affine[:3, :3], axis=0)
        if along.max() > _ALONG:
            return int(along.argmax()), "ImageOrientationPatientDICOM in its JSON file"
    return None


def phase_axis(path: Path) -> int | None:
    """The axis of the phase encoding, which lies in the planes, by the JSON file of the image."""
    return _AXES.get(str(_document(path).get("PhaseEncodingDirection"))[:1])


def stated_units(path: Path) -> str | None:
    """`Units` of the JSON file of the same name, None where nothing is said."""
    units = _document(path).get("Units")
    return None if units is None else str(units)


def _document(path: Path) -> dict[str, Any]:
    try:
        return inherited_metadata(path)
    except MRCascadeError:
        return {}


def _from_matrix(document: dict[str, Any]) -> dict[int, int | None]:
    values = document.get("AcquisitionMatrix")
    if not isinstance(values, list) or len(values) != 4:
        return {}
    sizes = [_size(v) or 0 for v in values]
    rows, columns = max(sizes[0], sizes[2]), max(sizes[1], sizes[3])
    return {0: columns, 1: rows} if rows and columns else {}


def _from_phase(document: dict[str, Any]) -> dict[int, int | None]:
    direction = document.get("PhaseEncodingDirection", document.get("PhaseEncodingAxis"))
    phase = _AXES.get(str(direction)[:1])
    if phase is None:
        phase = _DICOM_AXES.get(str(document.get("InPlanePhaseEncodingDirectionDICOM")))
    if phase not in (0, 1):
        return {}
    frequency = document.get("FrequencyEncodingSteps", document.get("BaseResolution"))
    return {phase: _size(document.get("AcquisitionMatrixPE")), 1 - phase: _size(frequency)}


def _size(value: Any, least: int = 1) -> int | None:
    return int(value) if _finite(value) and value >= least else None


def _finite(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)


def _pair(value: Any) -> list[Any]:
    return value if isinstance(value, list) and len(value) == 2 else [None, None]
