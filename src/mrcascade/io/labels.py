"""Label images (segmentations): whole numbers that name regions, read without rounding."""

from pathlib import Path

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.io.file import Named
from mrcascade.io.image import Image, image_of
from mrcascade.io.source import open_source

# Types of labels that a file stores as floating-point numbers; the first that holds them is taken.
_TYPES = (np.uint8, np.int16, np.int32, np.int64)
# float64 holds every whole number up to here; beyond, neighbours are one number.
_LARGEST_EXACT = 2.0**53


def read_labels(path: Named) -> Image:
    """Read a label image of any format; files whose header calls them labels are welcome, too.

    Integers keep the type of the file. Whole numbers that are stored as floating-point numbers get
    the first of uint8, int16, int32 and int64 that holds them all.

    Args:
        path: an `ImageFile`, or a path; its ending or its content determines the format.

    Raises:
        MRCascadeError: the file is missing, damaged or of another format, or a value is not a whole
            number.

    Example:
        >>> import numpy as np
        >>> import mrcascade
        >>> regions = np.repeat([0.0, 1.0, 300.0], 4).reshape(3, 4)
        >>> mrcascade.write_image(regions, "regions.nii", affine=np.eye(4))
        >>> mrcascade.read_labels("regions.nii")
        Image(int16 (3, 4), (1.0, 1.0) mm, 'regions.nii')
    """
    with open_source(path, labels=True) as source:
        if source.dtype.kind == "c":
            raise MRCascadeError(
                f"{source.source} holds complex values, not labels; give the segmentation"
            )
        data, floating = np.empty(0), False
        for block, values in source.stored_blocks():
            whole = _whole(values, source.source)
            floating = floating or values.dtype.kind == "f"
            if not data.size:
                data = np.empty(source.shape, whole.dtype.newbyteorder("="))
            data = data.astype(np.promote_types(data.dtype, whole.dtype), copy=False)
            data.transpose(source.layout)[block] = whole
        if floating:
            data = data.astype(_holding(int(data.min()), int(data.max())))
        return image_of(source, data)


def _whole(values: np.ndarray, path: Path) -> np.ndarray:
    """Return values as integers; int64 where they are floating-point numbers."""
    if values.dtype.kind in "iu":
        return values
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    bad = ~((values == np.rint(values)) & (np.abs(values) <= _LARGEST_EXACT))
    if bad.any():
        raise MRCascadeError(
            f"{path} holds {values[bad].flat[0]:g}, and labels are whole numbers; give a"
            " segmentation, or treat it as an image (--kind image)"
        )
    return values.astype(np.int64)


def _holding(low: int, high: int) -> type[np.signedinteger] | type[np.unsignedinteger]:
    """Return the first of the types that holds the range."""
    kinds = ((kind, np.iinfo(kind)) for kind in _TYPES)
    return next(kind for kind, limits in kinds if limits.min <= low and high <= limits.max)
