"""NIfTI files written through nibabel: the header and the geometry of a result."""

import io
import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mrcascade.io.derivation import NOTICE
from mrcascade.io.gzip_write import gzip_writer

_LARGEST_NIFTI1_SIZE = 32767
# NIfTI's "aligned to another file", which is true of an output whose source names no space.
_ALIGNED = 2
# Fields that say what the values mean.
_VALUE_FIELDS = ("toffset", "intent_code", "intent_name", "intent_p1", "intent_p2", "intent_p3")
# Fields of the source that stay true when only the in-plane grid changes. Others start clean:
# intensity scaling and window (new values), extensions (AFNI and DICOM ones repeat the old
# geometry), free text.
_KEPT_FIELDS = ("xyzt_units", "dim_info", *_VALUE_FIELDS)
_SLICE_TIMING_FIELDS = ("slice_code", "slice_start", "slice_end", "slice_duration")
# Two axes whose directions are this far from a right angle (as a cosine) move the far end of a
# 256-voxel axis by a quarter of a voxel if they are written as if they were perpendicular.
_SHEAR_COSINE = 1e-3


def write_nifti(
    blocks: Iterable[np.ndarray],
    shape: tuple[int, ...],
    dtype: np.dtype,
    affine: np.ndarray,
    header: Any,
    path: Path,
) -> None:
    """Write an image to `path`, gzipped if its name says so.

    Units, fourth voxel size, time offset, intent and the codes of both forms come from `header`.
    NIfTI-2 is written only for sizes that NIfTI-1 cannot hold. Equal input gives equal bytes.

    Args:
        blocks: the voxels from front to back in the order of the file, axis 0 fastest.
        shape: shape of the image.
        dtype: float32, complex64 or an integer type.
        affine: (4, 4), voxel index -> RAS mm.
        header: nibabel header of the source, in mm, or a new one (`new_header`).
        path: output.
    """
    head = _head(shape, np.dtype(dtype), affine, header)
    with path.open("wb") as stream:
        if path.suffix.lower() != ".gz":
            _write(stream, head, blocks, dtype)
            return
        with gzip_writer(stream) as packed:
            _write(packed, head, blocks, dtype)


def new_header(volume_seconds: float | None = None) -> Any:
    """Return a new header with positions in mm and, if given, the time between volumes."""
    import nibabel as nib

    new = nib.Nifti1Header()
    new.set_xyzt_units("mm")
    if volume_seconds is not None:
        new.set_xyzt_units("mm", "sec")
        new["pixdim"][4] = volume_seconds
    return new


def header_with_slice_axis(header: Any, axis: int | None) -> Any:
    """Return a copy of a NIfTI header whose `dim_info` states `axis` as the slice axis.

    The directions of frequency and phase stay where the header had the same slice axis.
    """
    new = header.copy()
    if new.get_dim_info()[2] != axis:
        new.set_dim_info(slice=axis)
    return new


def header_with_values(grid: Any, values: Any) -> Any:
    """Return a copy of the NIfTI header ``grid`` that describes the values of another one.

    Intent, fourth axis and unit of time are those of ``values``.
    """
    new, unset = grid.copy(), grid.__class__()
    for field in _VALUE_FIELDS:
        new[field] = _fitting(values[field], unset[field])
    new["pixdim"][4:] = _fitting(values["pixdim"][4:], unset["pixdim"][4:])
    new.set_xyzt_units(grid.get_xyzt_units()[0], values.get_xyzt_units()[1])
    return new


def _write(stream: Any, head: bytes, blocks: Iterable[np.ndarray], dtype: np.dtype) -> None:
    stream.write(head)
    for block in blocks:
        stream.write(np.ascontiguousarray(block, dtype=dtype).ravel().view(np.uint8).data)


def _head(shape: tuple[int, ...], dtype: np.dtype, affine: np.ndarray, source: Any) -> bytes:
    """Return all bytes of a NIfTI file that come before its voxels."""
    import nibabel as nib

    large = max(shape) > _LARGEST_NIFTI1_SIZE
    kind = nib.Nifti2Image if large else nib.Nifti1Image
    empty = np.broadcast_to(np.zeros((), dtype), shape)  # has the shape, but takes no memory
    image = kind(empty, affine, _new_header(kind.header_class(), shape, dtype, source))
    sform_code, qform_code = _form_codes(affine, source)
    image.set_sform(affine, code=sform_code)
    image.set_qform(affine, code=qform_code)
    image.header.set_slope_inter(1.0, 0.0)
    stream = io.BytesIO()
    image.header.write_to(stream)
    return stream.getvalue().ljust(image.header.get_data_offset(), b"\0")


def _new_header(new: Any, shape: tuple[int, ...], dtype: np.dtype, source: Any) -> Any:
    """Fill `new`, an empty header, with the fields that stay true of `source` and the new ones."""
    new.set_data_dtype(dtype)
    new["descrip"] = f"mrcascade. {NOTICE}"
    for field in _KEPT_FIELDS:
        new[field] = _fitting(source[field], new[field])
    new["pixdim"][4:] = _fitting(source["pixdim"][4:], new["pixdim"][4:])
    slice_axis = source.get_dim_info()[2]
    old_shape = source.get_data_shape()
    if slice_axis is not None and old_shape[slice_axis:][:1] == shape[slice_axis:][:1]:
        for field in _SLICE_TIMING_FIELDS:
            new[field] = _fitting(source[field], new[field])
    return new


def _fitting(values: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """Convert the values of a field to the type of `otherwise`.

    Values that the type cannot hold become those of `otherwise`: a damaged NIfTI-2 header holds
    numbers that NIfTI-1 cannot.
    """
    with np.errstate(all="ignore"):
        new = values.astype(otherwise.dtype)
    fits = np.isfinite(new) if new.dtype.kind == "f" else new == values
    return np.where(fits, new, otherwise)


def _form_codes(affine: np.ndarray, source: Any) -> tuple[int, int]:
    """Return the codes of the sform and the qform, which are both set to `affine`."""
    sform_code, qform_code = _source_codes(source)
    if not sform_code and not qform_code:
        sform_code = qform_code = _ALIGNED
    if _has_shear(affine):
        # A qform is a rotation with voxel sizes: it would silently straighten the axes.
        sform_code, qform_code = sform_code or qform_code, 0
    return sform_code, qform_code


def _source_codes(source: Any) -> tuple[int, int]:
    sform, sform_code = source.get_sform(coded=True)
    qform, qform_code = source.get_qform(coded=True)
    if sform_code and qform_code and not agree(sform, qform, source.get_data_shape()):
        # The source's qform led into another space than its sform, which the output continues.
        # Under its old code the new qform would claim positions in that other space.
        qform_code = sform_code
    return int(sform_code), int(qform_code)


def agree(first: np.ndarray, second: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Return whether two affines put every corner of the volume at the same place, to half a voxel.

    The quaternion's float32 rounding alone moves the far corner by tenths of a voxel when the
    rotation is close to a half turn.
    """
    sides = [(0, size - 1) for size in (*shape, 1, 1)[:3]]
    corners = np.array([(*corner, 1.0) for corner in itertools.product(*sides)])
    distance = np.linalg.norm(corners @ (first - second).T, axis=1).max()
    return bool(distance < 0.5 * np.linalg.norm(first[:3, :3], axis=0).min())


def _has_shear(affine: np.ndarray) -> bool:
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(directions.T @ directions - np.eye(3)).max() > _SHEAR_COSINE)
