"""Entries of the JSON file beside a NIfTI file (BIDS, as written by dcm2niix)."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.io.bids import inherited_metadata
from mrcascade.io.blocks import Axes
from mrcascade.storage.files import UnusableFileError

_AXES = {"i": 0, "j": 1, "k": 2}
# Cosine above which a direction of DICOM images counts as lying along an axis of the array.
_ALONG = 0.95


def stated_axes(path: Path, shape: tuple[int, ...]) -> Axes | None:
    """Return the in-plane axes that this library wrote into the JSON file of the image's name.

    None where there is none, or where the axes or the `InPlaneMatrix` beside them do not fit an
    image of this shape, so that the file belongs to another image.
    """
    document = metadata_beside(path)
    axes = [whole_size(value, least=0) for value in _pair(document.get("InPlaneAxes"))]
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
    """Return the slice axis by the JSON file of the image, and the entry that states it.

    `SliceEncodingDirection` names it. `ImageOrientationPatientDICOM` holds the directions of the
    rows and columns of the converted DICOM images; their normal must lie along an axis.
    """
    document = metadata_beside(path)
    axis = axis_of(document.get("SliceEncodingDirection"))
    if axis is not None and axis < len(shape):
        return axis, "SliceEncodingDirection in its JSON file"
    cosines = dicom_directions(document)
    if cosines is not None:
        axis = axis_along(np.cross(*cosines), affine)
        if axis is not None:
            return axis, "ImageOrientationPatientDICOM in its JSON file"
    return None


def dicom_directions(document: dict[str, Any]) -> np.ndarray | None:
    """Return the directions of the rows and of the columns of the converted DICOM images.

    (2, 3) in R, A, S; None where the document does not hold them.
    """
    cosines = document.get("ImageOrientationPatientDICOM")
    if not (
        isinstance(cosines, list) and len(cosines) == 6 and all(finite_number(v) for v in cosines)
    ):
        return None
    return np.reshape(cosines, (2, 3)) * (-1, -1, 1)  # DICOM's L, P, S to R, A, S


def axis_along(direction: np.ndarray, affine: np.ndarray) -> int | None:
    """Return the array axis along a direction in space; None where there is none."""
    along = np.abs(direction @ affine[:3, :3]) / np.linalg.norm(affine[:3, :3], axis=0)
    return int(along.argmax()) if along.max() > _ALONG else None


def axis_of(direction: Any) -> int | None:
    """Return the axis that BIDS calls ``i``, ``j-`` and so on; None for other values."""
    return _AXES.get(str(direction)[:1])


def phase_axis(path: Path) -> int | None:
    """Return the axis of phase encoding, which is in-plane, by the JSON file of the image."""
    return axis_of(metadata_beside(path).get("PhaseEncodingDirection"))


def stated_units(path: Path) -> str | None:
    """Return `Units` of the JSON file of the same name; None without that entry."""
    units = metadata_beside(path).get("Units")
    return None if units is None else str(units)


def metadata_beside(path: Path) -> dict[str, Any]:
    """Return the entries of the image's JSON file, or those of its BIDS dataset.

    {} where none can be read, as a sidecar is optional.
    """
    try:
        return inherited_metadata(path)
    except UnusableFileError:
        raise
    except MRCascadeError:
        return {}


def whole_size(value: Any, least: int = 1) -> int | None:
    """Return a value of a JSON file as a count; None for other values."""
    return int(value) if finite_number(value) and value >= least else None


def finite_number(value: Any) -> bool:
    """Return whether a value of a JSON file is a number, neither infinite nor true or false."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False


def _pair(value: Any) -> list[Any]:
    return value if isinstance(value, list) and len(value) == 2 else [None, None]
