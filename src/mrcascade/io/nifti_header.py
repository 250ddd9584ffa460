"""The header of a NIfTI file: the fields that count, and their meaning.

nibabel, ITK and other readers repair damaged headers silently. Where they agree, this module reads
a header as they do. Where they differ, or take bytes of the header for voxels, the file is refused
with the name of the field. Geometry is in mm, whatever the unit in the file.

Source: nifti1.h and nifti2.h, https://nifti.nimh.nih.gov.
"""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.io.affine_precision import beyond_float32

LARGEST_HEADER = 540  # bytes; NIfTI-2
_SMALLEST_OFFSET = {348: 352, 540: 544}  # size of the header -> least offset of the voxels
_SINGLE_MAGICS = (b"n+1", b"n+2")
_MAGICS = {348: (b"n+1", b"ni1"), 540: (b"n+2", b"ni2")}
_MAGIC_PLACE = {348: 344, 540: 4}
_LARGEST_CODE = 5  # largest code of a space for sform and qform
_SPACE_BITS, _TIME_BITS, _MILLIMETRE = 0x07, 0x38, 2
_IN_MILLIMETRES = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}  # by code: unknown, m, mm, micrometre
_TIME_CODES = (0, 8, 16, 24, 32, 40, 48)
_POSITIONS = ("srow_x", "srow_y", "srow_z", "qoffset_x", "qoffset_y", "qoffset_z")
# Intents of values that are no signal.
_LABELS = "labels of regions"
_OTHER_VALUES = {
    1002: _LABELS,
    1003: _LABELS,
    1004: "matrices",
    1005: "matrices",
    1006: "displacements",
    1007: "vectors",
    1010: "quaternions",
    2003: "colours",
    2004: "colours",
}
# Drops the warnings of nibabel about its repairs.
_SILENT = logging.Logger("mrcascade.nibabel")
_SILENT.addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Facts:
    """Facts that a header states.

    Attributes:
        header: nibabel header with the repairs of nibabel and its geometry in mm.
        shape: shape of the array, without trailing axes of length 1 beyond the fourth.
        affine: (4, 4), voxel index -> RAS mm.
        dtype: type of the stored values.
        scaling: slope and intercept, (1, 0) where there are none.
        offset: offset of the voxels in the file, in bytes.
    """

    header: Any
    shape: tuple[int, ...]
    affine: np.ndarray
    dtype: np.dtype
    scaling: tuple[float, float]
    offset: int


def read_nifti_header(head: bytes, path: Path, labels: bool = False) -> Facts:
    """Read the header at the start of a file.

    The affine comes from the sform if it is coded, else from the qform, else from the voxel sizes.

    Args:
        head: the first `LARGEST_HEADER` bytes; fewer of a shorter file.
        path: file that messages name.
        labels: whether voxels may be labels of regions.

    Raises:
        MRCascadeError: the header cannot be used, or voxels are no signal, such as colours and
            labels.
    """
    header = _parsed(head, path)
    shape = _shape(header, path)
    offset = _offset(header, path)
    _check_forms(header, path)
    with _usable(path):
        header.check_fix(logger=_SILENT, error_level=40)
    header["dim"][0] = len(shape)
    with _usable(path):
        dtype = header.get_data_dtype()
        slope, intercept = header.get_slope_inter()
        affine = np.array(header.get_best_affine(), dtype=np.float64)
    affine[:3] *= _to_millimetres(header)
    _drop_broken_qform(header)
    scaling = (1.0 if slope is None else slope, 0.0 if intercept is None else intercept)
    _check_values(header, dtype, scaling, path, labels)
    _check_affine(affine, path)
    return Facts(header, shape, affine, dtype, scaling, offset)


def _parsed(head: bytes, path: Path) -> Any:
    """Return the stored header, with nothing repaired; the magic determines its version."""
    import nibabel as nib

    kinds = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
    places = {size: head[start : start + 3] for size, start in _MAGIC_PLACE.items()}
    size = next((size for size, magic in places.items() if magic in _MAGICS[size]), None)
    if size is None:
        sizes = [int.from_bytes(head[:4], order) for order in ("little", "big")]
        if not any(size in kinds for size in sizes):
            raise MRCascadeError(f"{path} is no NIfTI image, despite its name; convert it")
        raise _unusable(path, "its magic is not that of NIfTI: Analyze 7.5, truncated or damaged")
    if len(head) < size:
        raise truncated(path, len(head), _SMALLEST_OFFSET[size])
    with _usable(path):
        return kinds[size](head[:size], check=False)


def truncated(path: Path, available: int, needed: int) -> MRCascadeError:
    """Return the error for a file with fewer bytes than it needs."""
    return MRCascadeError(
        f"{path} is truncated: {available} of {needed} bytes; copy or download it again"
    )


def _shape(header: Any, path: Path) -> tuple[int, ...]:
    dimensions = int(header["dim"][0])
    if not 1 <= dimensions <= 7:
        raise _unusable(path, f"dim[0] is {dimensions}, and images have 1 to 7 dimensions")
    shape = tuple(int(size) for size in header["dim"][1 : dimensions + 1])
    while len(shape) > 4 and shape[-1] == 1:
        shape = shape[:-1]
    if dimensions > len(shape) == 4:  # ITK and others add such axes to volumes
        shape = shape[:3] if shape[3] == 1 else shape
    if any(size < 1 for size in shape):
        raise MRCascadeError(f"{path} has no voxels (shape {shape}); check the export")
    return shape


def _offset(header: Any, path: Path) -> int:
    """Return the offset of the voxels, in bytes.

    Where the field is smaller than the header, some readers take bytes of the header for voxels,
    and others guess an offset; such a file is refused.
    """
    value = header["vox_offset"].item()
    least = _SMALLEST_OFFSET[header.sizeof_hdr]
    if math.isfinite(value) and value >= least and value == int(value):
        return int(value)
    if header["magic"].item()[:3] not in _SINGLE_MAGICS and value == 0:
        raise MRCascadeError(
            f"{path} says that its voxels are in another file (magic ni1, of a pair .hdr and .img);"
            " convert the pair to one .nii.gz file"
        )
    raise _unusable(path, f"vox_offset {value:g} is invalid: voxels begin at byte {least} or later")


def _check_forms(header: Any, path: Path) -> None:
    """Refuse values of the affine that readers interpret in different ways."""
    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    for name, code in (("sform_code", sform), ("qform_code", qform)):
        if code > _LARGEST_CODE:
            raise _unusable(path, f"{name} is {code}, and NIfTI has codes 0 to {_LARGEST_CODE}")
        if code > 0:
            break  # this one counts
    if sform > 0:
        return
    spacing, handedness = header["pixdim"][1:4], float(header["pixdim"][0])
    if (spacing < 0).any():
        raise _unusable(path, f"a voxel size is negative: pixdim {spacing.tolist()}")
    if qform > 0 and handedness < 0 and handedness != -1:
        raise _unusable(path, f"pixdim[0] is {handedness:g}, and a qform needs 1 or -1")


def _drop_broken_qform(header: Any) -> None:
    """Uncode a qform that is no rotation; a coded sform makes it irrelevant."""
    from nibabel.spatialimages import HeaderDataError

    try:
        header.get_qform(coded=True)
    except (HeaderDataError, ValueError):
        header["qform_code"] = 0


def _to_millimetres(header: Any) -> float:
    """Return the file's unit of length in mm, and convert the header to mm."""
    code = int(header["xyzt_units"])
    space, time = code & _SPACE_BITS, code & _TIME_BITS
    known = space in _IN_MILLIMETRES
    scale = _IN_MILLIMETRES.get(space, 1.0)  # an unknown code means mm, as no code does
    length = _MILLIMETRE if space and known else 0
    header["xyzt_units"] = length | (time if time in _TIME_CODES else 0)
    if scale != 1:
        with np.errstate(over="ignore"):  # positions are checked in double precision
            header["pixdim"][1:4] *= scale
            for field in _POSITIONS:
                header[field] = header[field] * scale
    return scale


def _check_values(
    header: Any, dtype: np.dtype, scaling: tuple[float, float], path: Path, labels: bool
) -> None:
    if dtype.names is not None:
        raise MRCascadeError(
            f"{path} is a colour (RGB) image; give the grey-scale image it was made from"
        )
    what = _OTHER_VALUES.get(int(header["intent_code"]))
    if what and not (labels and what == _LABELS):
        raise MRCascadeError(
            f"{path} holds {what} (intent_code {int(header['intent_code'])}), not signal; give the"
            " image itself"
        )
    if dtype.kind == "c" and scaling[1] != 0:
        raise _unusable(path, f"scl_inter is {scaling[1]:g}, ambiguous for complex values")


def _check_affine(affine: np.ndarray, path: Path) -> None:
    """Refuse an affine that is not finite or maps the volume onto a plane, a line or a point."""
    matrix = affine[:3, :3]
    finite = bool(np.isfinite(affine).all())
    if finite and beyond_float32(affine):
        raise _unusable(path, f"its affine has values up to {np.abs(affine).max():.1g} mm")
    lengths = np.linalg.norm(matrix, axis=0)
    # Divided by the voxel sizes, the determinant is the volume spanned by three unit vectors.
    if not finite or not lengths.all() or abs(np.linalg.det(matrix / lengths)) < 1e-6:
        raise MRCascadeError(
            f"{path} has a zero or singular affine, so its voxels have no position; "
            "repair the sform/qform in its header"
        )


@contextmanager
def _usable(path: Path) -> Iterator[None]:
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    try:
        yield
    except (HeaderDataError, WrapStructError, ValueError, OverflowError) as error:
        raise _unusable(path, " ".join(str(error).split()) or type(error).__name__) from error


def _unusable(path: Path, reason: str) -> MRCascadeError:
    return MRCascadeError(
        f"{path} has a NIfTI header that cannot be used ({reason}); export it again"
    )
