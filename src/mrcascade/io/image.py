"""The image type of the library, and reading and writing of whole files and of blocks."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.io.blocks import Axes, Block
from mrcascade.io.derivation import Derivation
from mrcascade.io.file import Named, codec_of, image_file
from mrcascade.io.formats import (
    Format,
    file_endings,
    format_by_ending,
    format_named,
    format_to_write,
)
from mrcascade.io.new_pixels import Grid, NewPixels
from mrcascade.io.source import Source, open_source, spacing_of
from mrcascade.io.walk import files_below


@dataclass(frozen=True, eq=False)
class Image:
    """Pixels, their position in the patient, and the file they came from.

    Attributes:
        data: 2-D to 4-D, axis order of the file; float32, complex64 for a complex image, or an
            integer type for labels (`read_labels`). Axes 0-2 are spatial, axis 3 is anything else
            (time, echo, coil). The file's scaling is applied.
        affine: (4, 4) float64, voxel index -> RAS position in mm; None where the format has none.
        source: file that was read. It stays when pixels are replaced (`with_data`), to say where
            the image came from.
        format: name of its `Format`.
        header: the original nibabel header (NIfTI), the `Series` (DICOM), else None.
        sha256: hash of the bytes of `source`; it stays, too.
        acquired, off_grid, volume_seconds: as in `RawPixels`.

    Example:
        >>> import numpy as np
        >>> import mrcascade
        >>> mrcascade.write_image(np.ones((8, 6, 2)) * [1, 2], "two.nii", affine=np.eye(4))
        >>> image = mrcascade.read_image("two.nii")
        >>> image.data.shape, image.spacing, image.format
        ((8, 6, 2), (1.0, 1.0, 1.0), 'nifti')
    """

    data: np.ndarray
    affine: np.ndarray | None
    source: Path
    format: str
    header: object | None
    sha256: str
    acquired: Mapping[int, int] | None = None
    off_grid: str = ""
    volume_seconds: float | None = None

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel size along each spatial axis of the array (mm); ones without an affine."""
        return spacing_of(self.shape, self.affine)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of `data`."""
        return self.data.shape

    def __repr__(self) -> str:
        geometry = "no affine" if self.affine is None else f"{self.spacing} mm"
        return f"Image({self.data.dtype} {self.shape}, {geometry}, {str(self.source)!r})"

    def with_data(self, data: np.ndarray, affine: np.ndarray | None) -> "Image":
        """Return the image with other pixels on the grid of `affine`; the rest stays."""
        return replace(self, data=data, affine=affine)


def read_image(path: Named, complex_valued: bool = False) -> Image:
    """Read a whole image.

    Any real type becomes float32 (after the file's own scaling) and any complex one complex64.

    Args:
        path: an `ImageFile`, or a path; its ending or its content determines the format.
        complex_valued: whether k-space (fastMRI) gives its complex image instead of the magnitude.

    Raises:
        MRCascadeError: the file is missing, of another format, damaged, not 2-D to 4-D, in colour,
            without a usable affine (NIfTI), not finite or constant, or `open_source` refuses it.

    Example:
        >>> import numpy as np
        >>> import mrcascade
        >>> np.save("slice.npy", np.random.default_rng(0).random((24, 20)))
        >>> image = mrcascade.read_image("slice.npy")
        >>> image
        Image(float32 (24, 20), no affine, 'slice.npy')
        >>> image.with_data(2 * image.data, image.affine).data.max() < 2
        np.True_
    """
    with open_source(path, complex_valued) as source:
        data = np.empty(source.shape, source.dtype)
        in_file_order = data.transpose(source.layout)
        for block, values in source.blocks():
            in_file_order[block] = values
        return image_of(source, data)


def image_of(source: Source, data: np.ndarray) -> Image:
    """Return the image of a file that was read to its end, with the pixels ``data``."""
    return Image(
        data=data,
        affine=source.affine,
        source=source.source,
        format=source.format,
        header=source.header,
        sha256=source.sha256,
        acquired=source.acquired,
        off_grid=source.off_grid,
        volume_seconds=source.volume_seconds,
    )


def list_images(root: str | os.PathLike[str]) -> list[Path]:
    """List every image file below ``root``, sorted, without hidden files and folders.

    Raises MRCascadeError where ``root`` is no folder or holds no image.
    """
    folder = Path(root)
    found = images_below(folder)
    if not found:
        raise MRCascadeError(
            f"{folder}: no image found; files must end in {', '.join(file_endings())}"
        )
    return found


def images_below(folder: Path) -> list[Path]:
    """List image files as `list_images` does; the list may be empty.

    A folder that holds only DICOM series has no image files.
    """
    if not folder.is_dir():
        raise MRCascadeError(f"{folder}: no such folder; give a folder that holds image files")
    return [p for p in files_below(folder) if format_by_ending(p)]


def write_image_into(image: Image, temporary: Path, derivation: Derivation | None = None) -> None:
    """Write `image` to a path from `atomic_outputs`, replacing what is there.

    `image.affine` tells whether the image has a geometry. Integers keep their type in NIfTI and
    .npy.

    Args:
        image: image to write.
        temporary: path with the ending of the format.
        derivation: provenance; DICOM needs it.

    Raises:
        MRCascadeError: the ending is not supported, values are not finite, geometry would be lost
            (`.npy`, TIFF) or invented (NIfTI), or the format is DICOM and the image's is not.
    """
    data = image.data.transpose(output_layout(temporary, image.data.ndim))
    kind = np.dtype(np.complex64 if np.iscomplexobj(image.data) else np.float32)
    if data.dtype.kind in "iu":
        kind = data.dtype.newbyteorder("=")
    extremes = float(np.abs(data).min()), float(np.abs(data).max())
    if kind.kind != "c":
        extremes = float(data.min()), float(data.max())
    write_blocks_into(
        image, image.shape, kind, lambda block: data[block], temporary, None, extremes, derivation
    )


def write_blocks_into(
    image: Grid,
    shape: tuple[int, ...],
    dtype: np.dtype,
    fetch: Callable[[Block], np.ndarray],
    temporary: Path,
    affine: np.ndarray | None = None,
    extremes: tuple[float, float] | None = None,
    derivation: Derivation | None = None,
) -> None:
    """Write an image as `write_image_into` does, fetching its pixels block by block.

    Args:
        image: image whose header and geometry the file continues.
        shape: shape of the new pixels.
        dtype: float32 or complex64; in NIfTI and .npy also an integer type.
        fetch: returns a window on the array with its axes in the order `output_layout`.
        temporary: path with the ending of the format.
        affine: affine of the new grid, where it is not that of `image`.
        extremes: smallest and largest value; DICOM needs them.
        derivation: provenance; DICOM needs it.
    """
    affine = image.affine if affine is None else affine
    check_writable(image, temporary, derivation, headers=False)
    found = format_to_write(temporary)
    if dtype.kind == "c" and not found.complex:
        raise MRCascadeError(
            f"{image.source}: {found.called} cannot hold a complex result; write NIfTI or .npy"
        )
    new = NewPixels(image, shape, dtype, affine, fetch, extremes, derivation)
    codec_of(found).write(new, temporary)


def with_slice_axis(image: Image, axis: int | None, record: Format) -> Image:
    """Return `image` with a header that states `axis` as the slice axis, where the format can."""
    return replace(image, header=codec_of(record).with_slice_axis(image, axis))


def as_stored(
    image: Grid,
    path: Path,
    stack: np.ndarray,
    start: int,
    extremes: tuple[float, float],
    shape: tuple[int, ...],
) -> np.ndarray:
    """Return slices of a result with the values that a reader of `path` will find.

    DICOM stores integers.

    Args:
        image: image that the result continues.
        path: output; its ending determines the format.
        stack: slices (N, rows, columns), from index `start` on.
        start: index of the first slice.
        extremes: smallest and largest value of the whole result.
        shape: shape of the whole result.
    """
    return codec_of(format_to_write(path)).as_stored(image, stack, start, extremes, shape)


def output_layout(path: Path, ndim: int) -> tuple[int, ...]:
    """Return the axes of an array, from the slowest to the fastest in a file written to `path`."""
    return format_to_write(path).layout(ndim)


def result_format(image: Named, kind: str | None = None) -> Format:
    """Return the format of an input's results, or the format of the name `kind`.

    Raises MRCascadeError where `kind` is DICOM and the input is not.
    """
    own = image_file(image).format
    found = format_named(kind or own.results or own.name)
    if found.own_only and own is not found:
        raise MRCascadeError(f"{image}{found.own_only}")
    return found


def result_ending(image: Named, kind: str | None = None) -> str:
    """Return the ending of an input's results. Raises MRCascadeError as `result_format` does."""
    return result_format(image, kind).endings[0]


def check_writable(
    image: Grid,
    path: Path,
    derivation: Derivation | None = None,
    axes: Axes | None = None,
    headers: bool = True,
) -> None:
    """Raise MRCascadeError if `write_blocks_into` would refuse `path` for a result of `image`.

    The check belongs before a long computation.

    Args:
        image: image that the result continues.
        path: output; its ending determines the format.
        derivation: provenance; DICOM needs it.
        axes: in-plane axes that were changed.
        headers: whether to check the headers of all DICOM files.
    """
    found = format_to_write(path)
    if found.read_only:
        raise MRCascadeError(f"{path}{found.read_only}")
    if image.affine is not None and not found.geometry:
        raise MRCascadeError(
            f"{path} would lose the geometry of {image.source}; write .nii.gz instead"
        )
    codec_of(found).check(image, path, derivation, axes, headers)
    if len(image.shape) > found.dimensions:
        raise MRCascadeError(f"{path} can hold one slice only; write .npy instead")
