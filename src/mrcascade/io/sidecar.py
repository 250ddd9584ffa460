"""What a JSON file beside a NIfTI file says about it (BIDS, as dcm2niix writes it)."""

import math
from pathlib import Path
from typing import Any

from mrcascade.errors import MRCascadeError
from mrcascade.io.bids import inherited_metadata

_AXES = {"i": 0, "j": 1, "k": 2}
# In images that dcm2niix converted, DICOM's columns run along axis 1 and its rows along axis 0.
_DICOM_AXES = {"ROW": 0, "COL": 1}


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


def _size(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return int(value) if value >= 1 else None
