"""NIfTI-1 and NIfTI-2 files (`.nii`, `.nii.gz`), read and written through nibabel.

nibabel is imported when a file is touched, so that `import mrcascade.io` stays quick.
"""

import gzip
import itertools
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from mrcascade.errors import MRCascadeError

DESCRIPTION = "mrcascade: research use; not for diagnosis"

_GZIP_MAGIC = b"\x1f\x8b"
_LARGEST_NIFTI1_SIZE = 32767
# NIfTI's "aligned to another file": what an output whose source names no space truly is.
_ALIGNED = 2
# Fields of the source that stay true when only the in-plane grid changes. What is not named here
# starts clean: intensity scaling and window (new values), extensions (AFNI and DICOM ones repeat
# the old geometry), free text.
_KEPT_FIELDS = (
    "xyzt_units",
    "toffset",
    "dim_info",
    "intent_code",
    "intent_name",
    "intent_p1",
    "intent_p2",
    "intent_p3",
)
_SLICE_TIMING_FIELDS = ("slice_code", "slice_start", "slice_end", "slice_duration")
# Two axes whose directions are this far from a right angle (as a cosine) move the far end of a
# 256-voxel axis by a quarter of a voxel if they are written as if they were perpendicular.
_SHEAR_COSINE = 1e-3


def decode(raw: bytes, path: Path) -> tuple[np.ndarray, np.ndarray, Any]:
    """(pixels, affine, header) from the bytes of a NIfTI file, compressed or not.

    Pixels: scaled by the file's slope and intercept, native byte order, axis order of the file.
    Affine: (4, 4) float64, voxel index -> RAS position in the file's unit (mm in practice), from
    the sform if it is coded, else the qform, else the voxel sizes. Header: nibabel's.
    Raises MRCascadeError (`path` is for the message).
    """
    raw = _decompress(raw, path)
    image = _parse(raw, path)
    _check_type(image.header.get_data_dtype(), path)
    _check_affine(image.affine, path)
    _check_extent(image.dataobj, len(raw), path)
    pixels = np.asanyarray(image.dataobj)
    return pixels, np.asarray(image.affine, dtype=np.float64), image.header


def encode(data: np.ndarray, affine: np.ndarray, header: Any | None, path: Path) -> None:
    """Write `data` (float32 or complex64) with `affine` (4, 4) to `path`, gzipped if it says so.

    `header` is the source's nibabel header, or None. Its units, fourth voxel size, time offset,
    intent and the codes of both forms are kept. NIfTI-2 only for sizes that NIfTI-1 cannot hold.
    Equal input gives equal bytes.
    """
    import nibabel as nib

    large = max(data.shape) > _LARGEST_NIFTI1_SIZE
    kind = nib.Nifti2Image if large else nib.Nifti1Image
    image = kind(data, affine, _new_header(kind.header_class(), data, header))
    sform_code, qform_code = _form_codes(affine, header)
    image.set_sform(affine, code=sform_code)
    image.set_qform(affine, code=qform_code)
    with path.open("wb") as stream:
        if path.suffix.lower() != ".gz":
            image.to_stream(stream)
            return
        # No name and no time in the gzip header, or equal images would differ on disk. Noise in
        # float32 hardly compresses: a higher level costs minutes and gains little.
        with gzip.GzipFile("", "wb", compresslevel=1, fileobj=stream, mtime=0) as packed:
            image.to_stream(packed)


def _decompress(raw: bytes, path: Path) -> bytes:
    """The content decides, not the suffix: renamed files are common."""
    if not raw.startswith(_GZIP_MAGIC):
        return raw
    try:
        return gzip.decompress(raw)
    except (EOFError, OSError, zlib.error) as error:
        raise MRCascadeError(
            f"{path} is a truncated or damaged gzip file; copy or download it again"
        ) from error


def _parse(raw: bytes, path: Path) -> Any:
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    kinds = {348: nib.Nifti1Image, 540: nib.Nifti2Image}  # by size of header, either byte order
    kind = kinds.get(int.from_bytes(raw[:4], "little")) or kinds.get(int.from_bytes(raw[:4], "big"))
    if kind is None:
        raise MRCascadeError(f"{path} is not a NIfTI file; convert it to NIfTI first")
    try:
        return kind.from_bytes(raw)
    except (ImageFileError, HeaderDataError, WrapStructError, ValueError, OSError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise MRCascadeError(
            f"{path} has a NIfTI header that cannot be used ({reason}); export it again"
        ) from error


def _check_type(dtype: np.dtype, path: Path) -> None:
    if dtype.names is not None:
        raise MRCascadeError(
            f"{path} is a colour (RGB) image; give the grey-scale image it was made from"
        )


def _check_affine(affine: np.ndarray, path: Path) -> None:
    """Refuse an affine that maps the volume onto a plane, a line or nowhere."""
    matrix = np.asarray(affine, dtype=np.float64)[:3, :3]
    lengths = np.linalg.norm(matrix, axis=0)
    # Divided by the voxel sizes, the determinant is the volume spanned by three unit vectors.
    usable = np.isfinite(affine).all() and lengths.all()
    if not usable or abs(np.linalg.det(matrix / lengths)) < 1e-6:
        raise MRCascadeError(
            f"{path} has a zero or singular affine, so its voxels have no position; "
            "repair the sform/qform in its header"
        )


def _check_extent(proxy: Any, available: int, path: Path) -> None:
    """Before reading, because a damaged header can ask for more memory than there is."""
    if any(size < 1 for size in proxy.shape):
        raise MRCascadeError(f"{path} has no voxels (shape {proxy.shape}); check the export")
    needed = proxy.offset + math.prod(proxy.shape) * proxy.dtype.itemsize
    if available < needed:
        raise MRCascadeError(
            f"{path} is truncated: {available} of {needed} bytes; copy or download it again"
        )


def _new_header(new: Any, data: np.ndarray, source: Any | None) -> Any:
    """`new`, an empty header, with type, description and what stays true of `source`."""
    new.set_data_dtype(data.dtype)
    new["descrip"] = DESCRIPTION
    if source is None:
        new.set_xyzt_units("mm")
        return new
    for field in _KEPT_FIELDS:
        new[field] = source[field]
    new["pixdim"][4:] = source["pixdim"][4:]
    slice_axis = source.get_dim_info()[2]
    old_shape = source.get_data_shape()
    if slice_axis is not None and old_shape[slice_axis:][:1] == data.shape[slice_axis:][:1]:
        for field in _SLICE_TIMING_FIELDS:
            new[field] = source[field]
    return new


def _form_codes(affine: np.ndarray, source: Any | None) -> tuple[int, int]:
    """Codes for the sform and the qform, which are both set to `affine`."""
    sform_code, qform_code = (0, 0) if source is None else _source_codes(source)
    if not sform_code and not qform_code:
        sform_code = qform_code = _ALIGNED
    if _has_shear(affine):
        # A qform is a rotation with voxel sizes: it would silently straighten the axes.
        sform_code, qform_code = sform_code or qform_code, 0
    return sform_code, qform_code


def _source_codes(source: Any) -> tuple[int, int]:
    sform, sform_code = source.get_sform(coded=True)
    qform, qform_code = source.get_qform(coded=True)
    if sform_code and qform_code and not _agree(sform, qform, source.get_data_shape()):
        # The source's qform led into another space than its sform, which the output continues.
        # Under its old code the new qform would claim positions in that other space.
        qform_code = sform_code
    return int(sform_code), int(qform_code)


def _agree(first: np.ndarray, second: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether two affines put every corner of the volume at the same place, to half a voxel.

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
