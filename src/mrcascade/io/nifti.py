"""NIfTI-1 and NIfTI-2 files (`.nii`, `.nii.gz`), read and written through nibabel.

nibabel is imported when a file is touched, so that `import mrcascade.io` stays quick.
"""

import gzip
import io
import itertools
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.io.derivation import NOTICE
from mrcascade.io.raw import RawPixels
from mrcascade.io.sidecar_matrix import acquired_sizes
from mrcascade.io.stream import InputStream

_NIFTI2_HEADER = 540  # bytes, the larger of the two
_SKIP_BYTES = 2**20
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


def open_pixels(stream: InputStream) -> RawPixels:
    """The pixels of a NIfTI stream, compressed or not, ready to be read from front to back.

    Values are scaled by the file's slope and intercept. Affine: voxel index -> RAS position in the
    file's unit (mm in practice), from the sform if it is coded, else the qform, else the voxel
    sizes. Raises MRCascadeError for a header that cannot be used and for colour.
    """
    path = stream.path
    head = stream.read(_NIFTI2_HEADER)
    header = _header(head, path)
    shape, affine, scaling = _header_facts(header, path)
    dtype = header.get_data_dtype()
    _check_type(dtype, path)
    _check_affine(affine, path)
    if any(size < 1 for size in shape):
        raise MRCascadeError(f"{path} has no voxels (shape {shape}); check the export")
    offset = header.get_data_offset()
    needed = offset + math.prod(shape) * dtype.itemsize
    if stream.most < needed:  # now, because a damaged header can ask for more than any disk holds
        raise _truncated(path, len(head) if stream.packed else stream.most, needed)
    reader = _Reader(stream, head, offset, dtype, scaling, needed)
    layout = tuple(reversed(range(len(shape))))
    return RawPixels(
        shape,
        layout,
        dtype.kind == "c",
        reader.read,
        stream.finish,
        affine,
        header,
        acquired_sizes(path, shape, affine),
        "the JSON file beside it",
    )


class _Reader:
    def __init__(
        self,
        stream: InputStream,
        head: bytes,
        offset: int,
        dtype: np.dtype,
        scaling: tuple[float, float],
        needed: int,
    ) -> None:
        self._stream, self._dtype, self._needed = stream, dtype, needed
        self._slope, self._intercept = (np.float64(value) for value in scaling)
        self._taken = len(head)
        self._left = head[offset:]
        skip = offset - len(head)
        while skip > 0 and (passed := len(self._take(min(skip, _SKIP_BYTES)))):
            skip -= passed

    def read(self, count: int) -> np.ndarray:
        """The next `count` voxels, scaled."""
        from nibabel.volumeutils import apply_read_scaling

        size = count * self._dtype.itemsize
        raw = self._left[:size]
        self._left = self._left[size:]
        raw += self._take(size - len(raw))
        if len(raw) < size:
            raise _truncated(self._stream.path, self._taken, self._needed)
        return apply_read_scaling(np.frombuffer(raw, self._dtype), self._slope, self._intercept)

    def _take(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._taken += len(data)
        return data


def encode(
    blocks: Iterable[np.ndarray],
    shape: tuple[int, ...],
    dtype: np.dtype,
    affine: np.ndarray,
    header: Any | None,
    path: Path,
) -> None:
    """Write an image of `shape` with `affine` (4, 4) to `path`, gzipped if its name says so.

    blocks: the voxels from front to back in the order of the file, axis 0 fastest; dtype: float32
    or complex64. `header` is the source's nibabel header, or None: its units, fourth voxel size,
    time offset, intent and the codes of both forms are kept. NIfTI-2 only for sizes that NIfTI-1
    cannot hold. Equal input gives equal bytes.
    """
    head = _head(shape, np.dtype(dtype), affine, header)
    with path.open("wb") as stream:
        if path.suffix.lower() != ".gz":
            _write(stream, head, blocks, dtype)
            return
        # No name and no time in the gzip header, or equal images would differ on disk. Noise in
        # float32 hardly compresses: a higher level costs minutes and gains little.
        with gzip.GzipFile("", "wb", compresslevel=1, fileobj=stream, mtime=0) as packed:
            _write(packed, head, blocks, dtype)


def slice_axis(header: object | None) -> tuple[int, str] | None:
    """The axis that the slices follow by a NIfTI header, and the fields that say so.

    `dim_info` names it; without that, the slice numbers of the timing fit the length of one axis.
    """
    import nibabel as nib

    if not isinstance(header, nib.Nifti1Header):  # which a NIfTI-2 header is, too
        return None
    axis = header.get_dim_info()[2]
    shape = header.get_data_shape()[:3]
    if axis is not None:
        return (int(axis), "dim_info in its header") if axis < len(shape) else None
    first, last = int(header["slice_start"]), int(header["slice_end"])
    fitting = [a for a, size in enumerate(shape) if size == last + 1]
    timed = int(header["slice_code"]) != 0 or float(header["slice_duration"]) > 0
    if timed and first == 0 < last and len(fitting) == 1:
        return fitting[0], "the slice timing in its header"
    return None


def with_slice_axis(header: object | None, axis: int | None) -> Any:
    """A NIfTI header, new where there is none, whose `dim_info` says that slices follow `axis`.

    The directions of frequency and phase stay where the header had the same slice axis.
    """
    import nibabel as nib

    if isinstance(header, nib.Nifti1Header):
        new = header.copy()
    else:
        new = nib.Nifti1Header()
        new.set_xyzt_units("mm")
    if new.get_dim_info()[2] != axis:
        new.set_dim_info(slice=axis)
    return new


def _write(stream: Any, head: bytes, blocks: Iterable[np.ndarray], dtype: np.dtype) -> None:
    stream.write(head)
    for block in blocks:
        stream.write(np.ascontiguousarray(block, dtype=dtype).data)


def _head(shape: tuple[int, ...], dtype: np.dtype, affine: np.ndarray, source: Any | None) -> bytes:
    """Everything of a NIfTI file that comes before its voxels."""
    import nibabel as nib

    large = max(shape) > _LARGEST_NIFTI1_SIZE
    kind = nib.Nifti2Image if large else nib.Nifti1Image
    empty = np.broadcast_to(np.zeros((), dtype), shape)  # a shape without memory
    image = kind(empty, affine, _new_header(kind.header_class(), shape, dtype, source))
    sform_code, qform_code = _form_codes(affine, source)
    image.set_sform(affine, code=sform_code)
    image.set_qform(affine, code=qform_code)
    image.header.set_slope_inter(1.0, 0.0)
    stream = io.BytesIO()
    image.header.write_to(stream)
    return stream.getvalue().ljust(image.header.get_data_offset(), b"\0")


def _header(head: bytes, path: Path) -> Any:
    import nibabel as nib

    kinds = {348: nib.Nifti1Header, 540: nib.Nifti2Header}  # by their size, in either byte order
    sizes = [int.from_bytes(head[:4], order) for order in ("little", "big")]
    size = next((s for s in sizes if s in kinds), None)
    if size is None:
        raise MRCascadeError(f"{path} holds no NIfTI image, whatever its name says; convert it")
    with _usable_header(path):
        return kinds[size](head[:size])


def _header_facts(
    header: Any, path: Path
) -> tuple[tuple[int, ...], np.ndarray, tuple[float, float]]:
    """Shape, affine, (slope, intercept); a slope of none or 0 means no scaling."""
    with _usable_header(path):
        slope, intercept = header.get_slope_inter()
        affine = np.asarray(header.get_best_affine(), dtype=np.float64)
        shape = tuple(int(n) for n in header.get_data_shape())
        header.get_data_dtype(), header.get_data_offset()
    return shape, affine, (1.0 if slope is None else slope, 0.0 if intercept is None else intercept)


@contextmanager
def _usable_header(path: Path) -> Iterator[None]:
    from nibabel.imageglobals import LoggingOutputSuppressor
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    try:
        with LoggingOutputSuppressor():  # nibabel prints what it repairs
            yield
    except (HeaderDataError, WrapStructError, ValueError, OverflowError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise MRCascadeError(
            f"{path} has a NIfTI header that cannot be used ({reason}); export it again"
        ) from error


def _truncated(path: Path, available: int, needed: int) -> MRCascadeError:
    return MRCascadeError(
        f"{path} is truncated: {available} of {needed} bytes; copy or download it again"
    )


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


def _new_header(new: Any, shape: tuple[int, ...], dtype: np.dtype, source: Any | None) -> Any:
    """`new`, an empty header, with type, description and what stays true of `source`."""
    new.set_data_dtype(dtype)
    new["descrip"] = f"mrcascade. {NOTICE}"
    if source is None:
        new.set_xyzt_units("mm")
        return new
    for field in _KEPT_FIELDS:
        new[field] = source[field]
    new["pixdim"][4:] = source["pixdim"][4:]
    slice_axis = source.get_dim_info()[2]
    old_shape = source.get_data_shape()
    if slice_axis is not None and old_shape[slice_axis:][:1] == shape[slice_axis:][:1]:
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
    if sform_code and qform_code and not agree(sform, qform, source.get_data_shape()):
        # The source's qform led into another space than its sform, which the output continues.
        # Under its old code the new qform would claim positions in that other space.
        qform_code = sform_code
    return int(sform_code), int(qform_code)


def agree(first: np.ndarray, second: np.ndarray, shape: tuple[int, ...]) -> bool:
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
