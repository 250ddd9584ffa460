"""The one image type of the library: reading and writing of whole files and of blocks."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.io import nifti_write, npy, picture
from mrcascade.io.affine_precision import check_precision
from mrcascade.io.blocks import Axes, Block, file_blocks
from mrcascade.io.derivation import Derivation, check_derivation
from mrcascade.io.dicom import Series, write
from mrcascade.io.dicom.storage import storage_for
from mrcascade.io.source import (
    SUFFIXES,
    Input,
    Source,
    count_non_finite,
    format_of,
    open_source,
    refuse_non_finite,
    spacing_of,
)
from mrcascade.io.walk import files_below
from mrcascade.storage.atomic import FOLDER_ENDING


@dataclass(frozen=True, eq=False)
class Image:
    """Pixels, where they are in the patient, and the file they came from.

    data: 2-D to 4-D, axis order of the file; float32, or complex64 for a complex image. Axes 0-2
        are spatial, axis 3 is anything else (time, echo, coil). The file's scaling is applied.
    affine: (4, 4) float64, voxel index -> RAS position in mm; None where the format has none.
    source: the file that was read; `sha256` is the hash of its bytes. Both stay when pixels are
        replaced (`with_data`): they say where an image came from.
    format: as `format_of` says. header: the original nibabel header (NIfTI), the `Series` (DICOM),
        else None. acquired: as in `RawPixels`.

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


def read_image(path: Input | str | os.PathLike[str], complex_valued: bool = False) -> Image:
    """Read an image file, pair or DICOM series; the ending of a name picks the format
    (`format_of`).

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
        )


def list_images(root: str | os.PathLike[str]) -> list[Path]:
    """Every image file below ``root``, sorted; hidden files and folders are passed over.

    Raises MRCascadeError where ``root`` is no folder or holds no image.
    """
    folder = Path(root)
    found = images_below(folder)
    if not found:
        raise MRCascadeError(f"{folder}: no image found; files must end in {', '.join(SUFFIXES)}")
    return found


def images_below(folder: Path) -> list[Path]:
    """As `list_images`, but there need not be any, as where a folder holds DICOM series alone."""
    if not folder.is_dir():
        raise MRCascadeError(f"{folder}: no such folder; give a folder that holds image files")
    return [p for p in files_below(folder) if p.name.lower().endswith(tuple(SUFFIXES))]


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
    image: "Image | Source",
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
    kind = format_of(temporary)
    if kind == "dicom":
        assert extremes is not None and derivation is not None  # noqa: PT018 (check_writable)
        _write_series(image, shape, fetch, temporary, affine, extremes, derivation)
        return
    lengths = [shape[a] for a in output_layout(temporary, len(shape))]
    blocks = _finite(fetch, file_blocks(lengths), image.source)
    if kind == "nifti":
        assert affine is not None  # check_writable saw to it
        nifti_write.encode(blocks, shape, dtype, affine, _nifti_header(image), temporary)
    elif kind == "npy":
        npy.encode(blocks, shape, dtype, temporary)
    else:
        whole = np.empty(shape, dtype)
        for block, values in zip(file_blocks(shape), blocks, strict=True):
            whole[block] = values
        picture.encode(whole, temporary)


def with_slice_axis(image: Image, axis: int | None) -> Image:
    """`image` with a NIfTI header whose `dim_info` says that slices follow `axis`."""
    header = nifti_write.with_slice_axis(_nifti_header(image), axis)
    return replace(image, header=header)


def volume_seconds(image: "Image | Source") -> float | None:
    """Time from one volume of a DICOM series to the next; None for others and where unknown."""
    return image.header.stack.seconds if isinstance(image.header, Series) else None


def _nifti_header(image: "Image | Source") -> Any:
    """The header that a NIfTI file made of `image` continues."""
    if image.header is None or isinstance(image.header, Series):
        return nifti_write.new_header(volume_seconds(image))
    return image.header


def _write_series(
    image: "Image | Source",
    shape: tuple[int, ...],
    fetch: Callable[[Block], np.ndarray],
    folder: Path,
    affine: np.ndarray | None,
    extremes: tuple[float, float],
    derivation: Derivation,
) -> None:
    series = _series(image)
    plane = (slice(0, shape[1]), slice(0, shape[0]))

    def frame(number: int) -> np.ndarray:
        volume, place = divmod(number, shape[2])
        outer = (volume, place) if len(shape) == 4 else (place,)
        block = (*(slice(i, i + 1) for i in outer), *plane)
        (values,) = _finite(fetch, [block], image.source)
        return values.reshape(shape[1], shape[0])

    storage = storage_for(series, *extremes, derivation.quantity)
    write.encode(series, shape, affine, frame, storage, derivation, folder)


def as_stored(
    image: "Image | Source", kind: str, stack: np.ndarray, start: int, extremes: tuple[float, float]
) -> np.ndarray:
    """What a reader will make of slices `start` and on, (N, rows, columns), of a result.

    kind: the format it is written in. extremes: of the whole result. DICOM stores integers.
    """
    if kind != "dicom":
        return stack
    series = _series(image)
    storage = storage_for(series, *extremes)
    frames = series.stack.frames[start : start + len(stack)]
    pairs = zip(stack, frames, strict=True)
    stored = [storage.decoded(storage.encoded(values, f), f) for values, f in pairs]
    return np.stack(stored).astype(stack.dtype)


def _series(image: "Image | Source") -> Series:
    assert isinstance(image.header, Series)  # check_writable saw to it
    return image.header


def output_layout(path: Path, ndim: int) -> tuple[int, ...]:
    """The axes of an array from the slowest to the fastest in a file that we write to `path`."""
    axes = tuple(range(ndim))
    return axes[::-1] if format_of(path) in ("nifti", "dicom") else axes


def result_ending(image: Input, kind: str | None = None) -> str:
    """The ending of results that are made from an input, in its own format or in `kind`.

    PNG cannot hold float32, and fastMRI's files hold k-space. Raises MRCascadeError where DICOM is
    asked for and the input is none.
    """
    own = format_of(image)
    if kind == "dicom" and own != "dicom":
        raise _no_dicom(image)
    endings = {"nifti": ".nii.gz", "npy": ".npy", "png": ".tif", "tiff": ".tif"}
    endings |= {"fastmri": ".nii.gz"}
    return (endings | {"dicom": FOLDER_ENDING})[kind or own]


def check_writable(
    image: "Image | Source",
    path: Path,
    derivation: Derivation | None = None,
    axes: Axes | None = None,
    headers: bool = True,
) -> None:
    """Raise MRCascadeError now if `write_blocks_into` would refuse `path` for a result of `image`.

    axes: the planes that were changed. headers: whether to go through the headers of all DICOM
    files. Worth calling before a long computation.
    """
    kind = format_of(path)
    if kind == "png":
        raise MRCascadeError(
            f"{path} has no supported ending: PNG cannot hold a result without rounding; write"
            " .nii.gz, .nii, .npy or .tif"
        )
    if kind == "fastmri":
        raise MRCascadeError(f"{path}: results are not written as k-space; write .nii.gz instead")
    if kind == "dicom":
        if not isinstance(image.header, Series):
            raise _no_dicom(image.source)
        if axes is not None and sorted(axes) != [0, 1]:
            raise MRCascadeError(
                f"{image.source}: a DICOM result keeps the planes of its source's images, axes 1,0;"
                " leave --axes out, or add --format nifti"
            )
        derivation = check_derivation(derivation)
        if headers:
            write.check_headers(image.header, derivation)
        return
    if kind != "nifti" and image.affine is not None:
        raise MRCascadeError(
            f"{path} would lose the geometry of {image.source}; write .nii.gz instead"
        )
    if kind == "nifti":
        _check_grid(image, path)
    if kind == "tiff" and len(image.shape) != 2:
        raise MRCascadeError(f"{path} can hold one slice only; write .npy instead")


def _check_grid(image: "Image | Source", path: Path) -> None:
    if isinstance(image.header, Series):
        if image.affine is None:
            raise MRCascadeError(
                f"{image.source} does not say where its images lie; write DICOM, without --format"
            )
        if irregular := image.header.stack.irregular:
            raise MRCascadeError(
                f"{image.source}: {irregular}, which NIfTI cannot say; a slice may be missing:"
                " export it again, or write DICOM, without --format"
            )
    elif image.affine is None:
        raise MRCascadeError(
            f"{path} needs a geometry that {image.source} does not have; write .npy instead"
        )
    assert image.affine is not None  # for the type checker
    check_precision(image.affine, image.shape, image.source)


def _no_dicom(source: Input) -> MRCascadeError:
    return MRCascadeError(
        f"{source} is no DICOM series, and only from one can a DICOM series be made: patient, study"
        " and scanner are unknown; leave --format out, or give the series"
    )


def _finite(
    fetch: Callable[[Block], np.ndarray], blocks: Iterable[Block], source: Path
) -> Iterator[np.ndarray]:
    bad = 0
    for block in blocks:
        values = fetch(block)
        bad += count_non_finite(values)
        yield values
    refuse_non_finite(bad, f"{source}: the result is not written, it holds", "report this")
