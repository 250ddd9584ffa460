"""Writing of whole images in memory: what reading returned, or arrays with their geometry."""

import os
from pathlib import Path

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.io.derivation import Derivation
from mrcascade.io.formats import format_to_write
from mrcascade.io.image import Image, check_writable, write_image_into
from mrcascade.io.new_pixels import count_non_finite, refuse_non_finite
from mrcascade.storage.atomic import atomic_output


def write_image(
    image: Image | np.ndarray,
    path: str | os.PathLike[str],
    overwrite: bool = False,
    derivation: Derivation | str | None = None,
    *,
    affine: np.ndarray | None = None,
) -> None:
    """Write an image so that `path` appears whole or not at all; its ending determines the format.

    Values are stored as float32 or complex64, in DICOM as 16-bit integers. Integers of an `Image`,
    such as labels, keep their type in NIfTI and .npy.

    Args:
        image: an `Image`, whose header and geometry the file continues (``image.with_data`` gives
            it other pixels), or an array of 2 to 4 dimensions.
        path: ends in .nii.gz, .nii, .npy or .tif; in .dicom, the folder of a DICOM series, for an
            image that was read from DICOM.
        overwrite: whether an existing file may be replaced.
        derivation: description of the processing, which DICOM headers must hold.
        affine: (4, 4), voxel index -> RAS position in mm, of an array. NIfTI needs it.

    Raises:
        MRCascadeError: the file exists, is the one that the image was read from (also with
            `overwrite`), or cannot hold the image: the ending is not supported, values are not
            finite, geometry would be lost or invented, or DICOM is asked for another input.

    Example:
        >>> import numpy as np
        >>> import mrcascade
        >>> pixels = np.random.default_rng(0).random((24, 20, 3))
        >>> mrcascade.write_image(pixels, "a.nii.gz", affine=np.diag([0.5, 0.5, 4.0, 1.0]))
        >>> mrcascade.write_image(pixels, "a.nii.gz", affine=np.eye(4))
        Traceback (most recent call last):
        ...
        mrcascade.errors.MRCascadeError: a.nii.gz already exists; ...
        >>> mrcascade.read_image("a.nii.gz").spacing
        (0.5, 0.5, 4.0)
    """
    path = Path(path)
    if not isinstance(image, Image):
        image = _of_array(image, affine, path)
    elif affine is not None:
        raise MRCascadeError(f"{path}: an image has an affine of its own; change it with with_data")
    elif path.exists() and image.source.exists() and path.samefile(image.source):
        raise MRCascadeError(f"{path} is the input itself; choose another name for the output")
    if not isinstance(derivation, Derivation):
        text = derivation or "processed image, written by mrcascade"
        window = float(np.abs(image.data).min()), float(np.abs(image.data).max())
        derivation = Derivation("processed", text, window)
    check_writable(image, path, derivation)
    refuse_non_finite(
        count_non_finite(image.data), f"{path} not written: the result holds", "report this"
    )
    with atomic_output(path, overwrite) as temporary:
        write_image_into(image, temporary, derivation)


def _of_array(data: np.ndarray, affine: np.ndarray | None, path: Path) -> Image:
    """Return an array as an `Image`. Raises MRCascadeError where it cannot be one."""
    pixels = np.asarray(data)
    if not 2 <= pixels.ndim <= 4 or not pixels.size or pixels.dtype.kind not in "biufc":
        raise MRCascadeError(
            f"{path} not written: expected an array of numbers with 2 to 4 dimensions, got"
            f" {pixels.dtype} {pixels.shape}"
        )
    if affine is not None:
        affine = np.array(affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or not np.linalg.det(affine):
            raise MRCascadeError(
                f"{path} not written: the affine is not an invertible 4 x 4 matrix"
            )
    with np.errstate(over="ignore"):  # overflow is found as not finite
        pixels = pixels.astype(np.complex64 if np.iscomplexobj(pixels) else np.float32)
    return Image(pixels, affine, Path("the array"), format_to_write(path).name, None, "")
