"""The acquired matrix in the JSON file beside a NIfTI file, on the axes of the array.

dcm2niix writes what DICOM states, in DICOM's terms: rows, columns, and the direction of phase
encoding. It keeps the planes of 2-D acquisitions in axes 0 and 1, but turns 3-D ones to the nearest
axes of R, A, S; other tools turn arrays as well. The orientation of the DICOM images, compared with
the affine, assigns these terms to axes.
"""

from pathlib import Path
from typing import Any

import numpy as np

from mrcascade.io.sidecar import (
    axis_along,
    axis_of,
    dicom_directions,
    metadata_beside,
    slice_axis,
    whole_size,
)


def acquired_sizes(path: Path, shape: tuple[int, ...], affine: np.ndarray) -> dict[int, int] | None:
    """Return axis -> number of samples acquired along it, by the JSON file of the image.

    The entries are `AcquisitionMatrix` (four numbers as in DICOM) or, with the direction of phase
    encoding, `AcquisitionMatrixPE` and `BaseResolution` or `FrequencyEncodingSteps`. A size whose
    axis is unknown counts only if the other size is equal. A BIDS dataset may hold the entries for
    the image. None where there is no such file or it says nothing usable: a sidecar is optional.
    """
    document = metadata_beside(path)
    axes = _dicom_axes(document, affine)
    planes = _in_plane(path, document, shape, affine, axes)
    along_columns, along_rows, phase, frequency = _sizes(document)
    found: dict[int, int | None]
    if axes is not None and along_rows and along_columns:
        found = {axes[0]: along_rows, axes[1]: along_columns}
    else:
        found = _by_phase(document, axes, planes, phase, frequency)
    if _contradicted(document, axes):
        found = {}
    if not found and planes is not None and phase is not None and phase == frequency:
        found = dict.fromkeys(planes, phase)
    sizes = {
        axis: min(size, shape[axis])
        for axis, size in found.items()
        if size is not None and axis < len(shape)
    }
    return sizes or None


def _sizes(document: dict[str, Any]) -> tuple[int | None, ...]:
    """Return samples along DICOM's columns, its rows, phase encoding and frequency encoding.

    None for each that is unknown.
    """
    values = document.get("AcquisitionMatrix")
    if isinstance(values, list) and len(values) == 4:
        frequency_rows, frequency_columns, phase_rows, phase_columns = (
            whole_size(v) or 0 for v in values
        )
        rows, columns = max(frequency_rows, phase_rows), max(frequency_columns, phase_columns)
        if rows and columns:
            phase = phase_rows or phase_columns
            frequency = frequency_rows or frequency_columns
            return rows, columns, phase or None, frequency or None
    steps = document.get("FrequencyEncodingSteps", document.get("BaseResolution"))
    return None, None, whole_size(document.get("AcquisitionMatrixPE")), whole_size(steps)


def _dicom_axes(document: dict[str, Any], affine: np.ndarray) -> tuple[int, int] | None:
    """Return the axes along which DICOM's rows and columns run.

    Without their directions, they are axes 0 and 1 where the array cannot have been turned:
    dcm2niix turns 3-D acquisitions, and slices along another axis than 2 show that something did.
    """
    directions = dicom_directions(document)
    if directions is None:
        turned = str(document.get("MRAcquisitionType")).upper() == "3D"
        sliced = axis_of(document.get("SliceEncodingDirection")) in (None, 2)
        return None if turned or not sliced else (0, 1)
    row, column = (axis_along(direction, affine) for direction in directions)
    return None if row is None or column is None or row == column else (row, column)


def _in_plane(
    path: Path,
    document: dict[str, Any],
    shape: tuple[int, ...],
    affine: np.ndarray,
    axes: tuple[int, int] | None,
) -> tuple[int, int] | None:
    """Return the axes in the planes of the DICOM images, in either order."""
    if axes is not None:
        return axes
    stated = slice_axis(path, shape, affine)
    if stated is None:
        return None
    first, second = (axis for axis in range(3) if axis != stated[0])
    return first, second


def _phase_axis(document: dict[str, Any]) -> int | None:
    """Return the array axis of phase encoding that BIDS names."""
    return axis_of(document.get("PhaseEncodingDirection", document.get("PhaseEncodingAxis")))


def _dicom_phase_axis(document: dict[str, Any], axes: tuple[int, int] | None) -> int | None:
    """Return the array axis of phase encoding by DICOM's entries."""
    word = str(document.get("InPlanePhaseEncodingDirectionDICOM")).upper()
    values = document.get("AcquisitionMatrix")
    if word == "NONE" and isinstance(values, list) and len(values) == 4:
        rows, columns = (bool(whole_size(values[place])) for place in (2, 3))
        word = "COL" if rows and not columns else "ROW" if columns and not rows else ""
    if axes is None or word not in ("ROW", "COL", "COLUMN"):
        return None
    return axes[0] if word == "ROW" else axes[1]


def _by_phase(
    document: dict[str, Any],
    axes: tuple[int, int] | None,
    planes: tuple[int, int] | None,
    phase: int | None,
    frequency: int | None,
) -> dict[int, int | None]:
    """Return axis -> size, for the axis of phase encoding and the other in-plane axis."""
    named = _phase_axis(document)
    along = _dicom_phase_axis(document, axes) if named is None else named
    if along is None:
        return {}
    others = [axis for axis in planes or () if axis != along]
    across = {others[0]: frequency} if len(others) == 1 else {}
    return {along: phase} | across


def _contradicted(document: dict[str, Any], axes: tuple[int, int] | None) -> bool:
    """Return whether the entries of phase encoding contradict each other.

    They name different axes, or BIDS' names the slice axis, where the array was turned after they
    were written.
    """
    named, dicom = _phase_axis(document), _dicom_phase_axis(document, axes)
    if named is None or axes is None:
        return False
    return named not in axes or (dicom is not None and named != dicom)
