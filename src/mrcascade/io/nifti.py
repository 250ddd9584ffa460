"""NIfTI-1 and NIfTI-2 files (`.nii`, `.nii.gz`), read through nibabel.

nibabel is imported when a file is touched, so that `import mrcascade.io` stays quick.
"""

import math
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.io import nifti_write
from mrcascade.io.affine_precision import check_precision
from mrcascade.io.blocks import Axes
from mrcascade.io.derivation import Derivation
from mrcascade.io.file import Codec, ImageFile
from mrcascade.io.formats import FORMATS
from mrcascade.io.new_pixels import Grid, NewPixels
from mrcascade.io.nifti_header import LARGEST_HEADER, Facts, read_nifti_header, truncated
from mrcascade.io.raw import RawPixels
from mrcascade.io.sidecar_matrix import acquired_sizes
from mrcascade.io.stream import InputStream, open_stream

_SKIP_BYTES = 2**20


def open_nifti(stream: InputStream, labels: bool = False) -> RawPixels:
    """Open the pixels of a NIfTI stream, compressed or not, for reading from front to back.

    Values are scaled by the file's slope and intercept. The affine, voxel index -> RAS mm, comes
    from the sform if it is coded, else from the qform, else from the voxel sizes.

    Raises MRCascadeError for a header that cannot be used and for values that are no signal
    (`read_nifti_header`), except, with ``labels``, labels of regions.
    """
    path = stream.path
    head = stream.read(LARGEST_HEADER)
    facts = read_nifti_header(head, path, labels)
    needed = facts.offset + math.prod(facts.shape) * facts.dtype.itemsize
    if stream.most < needed:  # now, as a damaged header can ask for more than any disk holds
        raise truncated(path, len(head) if stream.packed else stream.most, needed)
    reader = _Reader(stream, head, facts, needed)
    layout = tuple(reversed(range(len(facts.shape))))
    return RawPixels(
        facts.shape,
        layout,
        facts.dtype.kind == "c",
        reader.read,
        stream.finish,
        facts.affine,
        facts.header,
        acquired_sizes(path, facts.shape, facts.affine),
        "the JSON file beside it",
    )


class _Reader:
    def __init__(self, stream: InputStream, head: bytes, facts: Facts, needed: int) -> None:
        self._stream, self._dtype, self._needed = stream, facts.dtype, needed
        self._slope, self._intercept = (np.float64(value) for value in facts.scaling)
        self._taken = len(head)
        self._left = head[facts.offset :]
        skip = facts.offset - len(head)
        while skip > 0 and (passed := len(self._take(min(skip, _SKIP_BYTES)))):
            skip -= passed

    def read(self, count: int) -> np.ndarray:
        """Return the next `count` voxels, scaled."""
        from nibabel.volumeutils import apply_read_scaling

        size = count * self._dtype.itemsize
        raw = self._left[:size]
        self._left = self._left[size:]
        raw += self._take(size - len(raw))
        if len(raw) < size:
            raise truncated(self._stream.path, self._taken, self._needed)
        with np.errstate(all="ignore"):  # values that are not finite are counted later
            return apply_read_scaling(np.frombuffer(raw, self._dtype), self._slope, self._intercept)

    def _take(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._taken += len(data)
        return data


class _NIfTI(Codec):
    def open(self, file: ImageFile, stack: ExitStack, complex_valued: bool) -> RawPixels:
        return open_nifti(stack.enter_context(open_stream(file.path)))

    def open_labels(self, file: ImageFile, stack: ExitStack) -> RawPixels:
        return open_nifti(stack.enter_context(open_stream(file.path)), labels=True)

    def check(
        self,
        image: Grid,
        path: Path,
        derivation: Derivation | None,
        axes: Axes | None,
        headers: bool,
    ) -> None:
        if image.off_grid:
            raise MRCascadeError(f"{image.source}{image.off_grid}")
        if image.affine is None:
            raise MRCascadeError(
                f"{path} needs a geometry that {image.source} does not have; write .npy instead"
            )
        check_precision(image.affine, image.shape, image.source)

    def write(self, new: NewPixels, path: Path) -> None:
        assert new.affine is not None  # as check has made sure
        blocks = new.blocks(FORMATS["nifti"].layout(len(new.shape)))
        header = _continued(new.image)
        nifti_write.write_nifti(blocks, new.shape, new.dtype, new.affine, header, path)

    def slice_axis(self, header: object | None) -> tuple[int, str] | None:
        """Return the slice axis and the header field that states it.

        `dim_info` names the axis; else the slice numbers of the timing must fit the length of one
        axis only.
        """
        return _slice_axis(header) if _is_nifti(header) else None

    def with_slice_axis(self, image: Grid, axis: int | None) -> object | None:
        header: object = nifti_write.header_with_slice_axis(_continued(image), axis)
        return header


CODEC = _NIfTI()


def header_on_grid(grid: Grid, values: Grid) -> object:
    """Return the header of a NIfTI file with the values of one image on the grid of another.

    Geometry, planes and unit of length are those of ``grid``; intent, fourth axis and unit of time
    those of ``values``.
    """
    header: object = nifti_write.header_with_values(_continued(grid), _continued(values))
    return header


def _is_nifti(header: object | None) -> bool:
    import nibabel as nib

    return isinstance(header, nib.Nifti1Header)  # a NIfTI-2 header is one, too


def _continued(image: Grid) -> Any:
    """Return the header that a NIfTI file made of an image continues."""
    if _is_nifti(image.header):
        return image.header
    return nifti_write.new_header(image.volume_seconds)


def _slice_axis(header: Any) -> tuple[int, str] | None:
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
