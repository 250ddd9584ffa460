"""NIfTI-1 and NIfTI-2 files (`.nii`, `.nii.gz`), read through nibabel.

nibabel is imported when a file is touched, so that `import mrcascade.io` stays quick.
"""

import math

import numpy as np

from mrcascade.io.nifti_header import LARGEST_HEADER, Facts, read_header, truncated
from mrcascade.io.raw import RawPixels
from mrcascade.io.sidecar_matrix import acquired_sizes
from mrcascade.io.stream import InputStream

_SKIP_BYTES = 2**20


def open_pixels(stream: InputStream) -> RawPixels:
    """The pixels of a NIfTI stream, compressed or not, ready to be read from front to back.

    Values are scaled by the file's slope and intercept. Affine: voxel index -> RAS mm, from the
    sform if it is coded, else the qform, else the voxel sizes. Raises MRCascadeError for a header
    that cannot be used and for values that are no signal (`read_header`).
    """
    path = stream.path
    head = stream.read(LARGEST_HEADER)
    facts = read_header(head, path)
    needed = facts.offset + math.prod(facts.shape) * facts.dtype.itemsize
    if stream.most < needed:  # now, because a damaged header can ask for more than any disk holds
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
        """The next `count` voxels, scaled."""
        from nibabel.volumeutils import apply_read_scaling

        size = count * self._dtype.itemsize
        raw = self._left[:size]
        self._left = self._left[size:]
        raw += self._take(size - len(raw))
        if len(raw) < size:
            raise truncated(self._stream.path, self._taken, self._needed)
        with np.errstate(all="ignore"):  # what is not finite is counted later
            return apply_read_scaling(np.frombuffer(raw, self._dtype), self._slope, self._intercept)

    def _take(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._taken += len(data)
        return data


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
