"""The one image type of the library: reading and writing of whole files and of blocks."""

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
from mrcascade.io.source import open_source, spacing_of
from mrcascade.io.walk import files_below


@dataclass(frozen=True, eq=False)
class Image:
    """Pixels, where they are in the patient, and the file they came from.

    data: 2-D to 4-D, axis order of the file; float32, or complex64 for a complex image. Axes 0-2
        are spatial, axis 3 is anything else (time, echo, coil). The file's scaling is applied.
    affine: (4, 4) float64, voxel index -> RAS position in mm; None where the format has none.
    source: the file that was read; `sha256` is the hash of its bytes. Both stay when pixels are
        replaced (`with_data`): they say where an image came from.
    format: the name of its `Format`. header: the original nibabel header (NIfTI), the `Series`
        (DICOM), else None. acquired, off_grid, volume_seconds: as in `RawPixels`.

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
        return self.data.shape

    def __repr__(self) -> str:
        geometry = "no affine" if self.affine is None else f"{self.spacing} mm"
        return f"Image({self.data.dtype} {self.shape}, {geometry}, {str(self.source)!r})"

    def with_data(self, data: np.ndarray, affine: np.ndarray | None) -> "Image":
        """This image with other pixels on the grid of `affine`; header and provenance stay."""
        return replace(self, data=data, affine=affine)


def read_image(path: Named, complex_valued: bool = False) -> Image:
    """Read an `ImageFile`, or a path whose name or content picks the format (`format_of`).

    Any real type becomes float32 (after the file's own scaling) and any complex one complex64;
    complex_valued: whether k-space (fastMRI) gives its complex image instead of the magnitude.
    Raises MRCascadeError if the file is missing, of another format, damaged, not 2-D to 4-D, in
    colour, without a usable affine (NIfTI), not finite or constant, and as `open_source` does.

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
    """Every image file below ``root``, sorted; hidden files and folders are passed over.

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
    """As `list_images`, but there need not be any, as where a folder holds DICOM series alone."""
    if not folder.is_dir():
        raise MRCascadeError(f"{folder}: no such folder; give a folder that holds image files")
    return [p for p in files_below(folder) if format_by_ending(p)]


def write_image_into(image: Image, temporary: Path, derivation: Derivation | None = None) -> None:
    """Write `image` to a path that `atomic_outputs` handed out, replacing what is there.

    Raises MRCascadeError for an unsupported ending, values that are not finite, and where
    geometry would be lost (`.npy`, TIFF) or invented (NIfTI): `image.affine` says which of the two
    a format must be able to hold. DICOM is written from DICOM only.
    """
    data = image.data.transpose(output_layout(temporary, image.data.ndim))
    kind = np.dtype(np.complex64 if np.iscomplexobj(image.data) else np.float32)
    extremes = float(np.abs(data).min()), float(np.abs(data).max())
    if kind.kind == "f":
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
    """As `write_image_into`, for pixels that are fetched block by block as they are written.

    image: whose header and geometry the file continues. affine: of the new grid, where it is not
    that of `image`. shape, dtype (float32 or complex64): of the new pixels. fetch: returns a
    window on the array with its axes in the order `output_layout`. extremes, derivation: the
    smallest and largest value, and what the result is; DICOM needs both.
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
    """`image` with a header that says that slices follow `axis`, where files of the format can."""
    return replace(image, header=codec_of(record).with_slice_axis(image, axis))


def as_stored(
    image: Grid, path: Path, stack: np.ndarray, start: int, extremes: tuple[float, float]
) -> np.ndarray:
    """What a reader of `path` will make of slices `start` and on, (N, rows, columns), of a result.

    extremes: of the whole result. DICOM stores integers.
    """
    return codec_of(format_to_write(path)).as_stored(image, stack, start, extremes)


def output_layout(path: Path, ndim: int) -> tuple[int, ...]:
    """The axes of an array from the slowest to the fastest in a file that we write to `path`."""
    return format_to_write(path).layout(ndim)


def result_format(image: Named, kind: str | None = None) -> Format:
    """The format of results that are made from an input, or that of the name `kind`.

    Raises MRCascadeError where DICOM is asked for and the input is none.
    """
    own = image_file(image).format
    found = format_named(kind or own.results or own.name)
    if found.own_only and own is not found:
        raise MRCascadeError(f"{image}{found.own_only}")
    return found


def result_ending(image: Named, kind: str | None = None) -> str:
    """The ending of results that are made from an input; otherwise as `result_format`."""
    return result_format(image, kind).endings[0]


def check_writable(
    image: Grid,
    path: Path,
    derivation: Derivation | None = None,
    axes: Axes | None = None,
    headers: bool = True,
) -> None:
    """Raise MRCascadeError now if `write_blocks_into` would refuse `path` for a result of `image`.

    axes: the planes that were changed. headers: whether to go through the headers of all DICOM
    files. Worth calling before a long computation.
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
