"""The one image type of the library: reading and writing of whole files and of blocks."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.io import nifti, npy, picture
from mrcascade.io.atomic import atomic_output
from mrcascade.io.blocks import Block, file_blocks
from mrcascade.io.source import (
    SUFFIXES,
    Source,
    count_non_finite,
    format_of,
    open_source,
    refuse_non_finite,
    spacing_of,
)


@dataclass(frozen=True, eq=False)
class Image:
    """Pixels, where they are in the patient, and the file they came from.

    data: 2-D to 4-D, axis order of the file; float32, or complex64 for a complex image. Axes 0-2
        are spatial, axis 3 is anything else (time, echo, coil). The file's scaling is applied.
    affine: (4, 4) float64, voxel index -> RAS position in mm; None where the format has none.
    source: the file that was read; `sha256` is the hash of its bytes. Both stay when pixels are
        replaced (`with_data`): they say where an image came from.
    format: a value of `SUFFIXES`. header: the original nibabel header (NIfTI), else None.
    """

    data: np.ndarray
    affine: np.ndarray | None
    source: Path
    format: str
    header: object | None
    sha256: str

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel size along each spatial axis of the array (mm); ones without an affine."""
        return spacing_of(self.shape, self.affine)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    def with_data(self, data: np.ndarray, affine: np.ndarray | None) -> "Image":
        """This image with other pixels on the grid of `affine`; header and provenance stay."""
        return replace(self, data=data, affine=affine)


def read_image(path: str | os.PathLike[str]) -> Image:
    """Read an image file; the ending of its name picks the format (`SUFFIXES`).

    Any real type becomes float32 (after the file's own scaling) and any complex one complex64.
    Raises MRCascadeError if the file is missing, of another format, damaged, not 2-D to 4-D, in
    colour, without a usable affine (NIfTI), not finite or constant.
    """
    with open_source(path) as source:
        data = np.empty(source.shape, source.dtype)
        in_file_order = data.transpose(source.layout)
        for block, values in source.blocks():
            in_file_order[block] = values
        return Image(
            data, source.affine, source.source, source.format, source.header, source.sha256
        )


def list_images(root: str | os.PathLike[str]) -> list[Path]:
    """Every image file below ``root``, sorted; hidden files and folders are passed over.

    Raises MRCascadeError where ``root`` is no folder or holds no image.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise MRCascadeError(f"{folder}: no such folder; give a folder that holds image files")
    names = (
        p
        for p in folder.rglob("*")
        if not any(q.startswith(".") for q in p.parts[len(folder.parts) :])
    )
    found = sorted(p for p in names if p.is_file() and p.name.lower().endswith(tuple(SUFFIXES)))
    if not found:
        raise MRCascadeError(f"{folder}: no image found; files must end in {', '.join(SUFFIXES)}")
    return found


def write_image(image: Image, path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Write `image` so that `path` appears whole or not at all (see `atomic_output`).

    Always float32 or complex64. Raises MRCascadeError as `write_image_into` and `atomic_output`
    do, and, also with `overwrite`, if `path` is the file that the image was read from.
    """
    path = Path(path)
    if path.exists() and image.source.exists() and path.samefile(image.source):
        raise MRCascadeError(f"{path} is the input itself; choose another name for the output")
    _check_writable(image, path)
    refuse_non_finite(
        count_non_finite(image.data), f"{path} not written: the result holds", "report this"
    )
    with atomic_output(path, overwrite) as temporary:
        write_image_into(image, temporary)


def write_image_into(image: Image, temporary: Path) -> None:
    """Write `image` to a path that `atomic_outputs` handed out, replacing what is there.

    Raises MRCascadeError for an unsupported ending, values that are not finite, and where
    geometry would be lost (`.npy`, TIFF) or invented (NIfTI): `image.affine` says which of the two
    a format must be able to hold.
    """
    data = image.data.transpose(output_layout(temporary, image.data.ndim))
    kind = np.dtype(np.complex64 if np.iscomplexobj(image.data) else np.float32)
    write_blocks_into(image, image.shape, kind, lambda block: data[block], temporary)


def write_blocks_into(
    image: "Image | Source",
    shape: tuple[int, ...],
    dtype: np.dtype,
    fetch: Callable[[Block], np.ndarray],
    temporary: Path,
    affine: np.ndarray | None = None,
) -> None:
    """As `write_image_into`, for pixels that are fetched block by block as they are written.

    image: whose header and geometry the file continues. affine: of the new grid, where it is not
    that of `image`. shape, dtype (float32 or complex64): of the new pixels. fetch: returns a
    window on the array with its axes in the order `output_layout`.
    """
    affine = image.affine if affine is None else affine
    _check_writable(image, temporary)
    lengths = [shape[a] for a in output_layout(temporary, len(shape))]
    blocks = _finite(fetch, lengths, image.source)
    kind = format_of(temporary)
    if kind == "nifti":
        assert affine is not None  # _check_writable saw to it
        nifti.encode(blocks, shape, dtype, affine, image.header, temporary)
    elif kind == "npy":
        npy.encode(blocks, shape, dtype, temporary)
    else:
        whole = np.empty(shape, dtype)
        for block, values in zip(file_blocks(shape), blocks, strict=True):
            whole[block] = values
        picture.encode(whole, temporary)


def output_layout(path: Path, ndim: int) -> tuple[int, ...]:
    """The axes of an array from the slowest to the fastest in a file that we write to `path`."""
    axes = tuple(range(ndim))
    return axes[::-1] if format_of(path) == "nifti" else axes


def result_ending(path: Path) -> str:
    """The ending of results that are made from the file `path`: PNG cannot hold float32."""
    return {"nifti": ".nii.gz", "npy": ".npy", "png": ".tif", "tiff": ".tif"}[format_of(path)]


def _finite(
    fetch: Callable[[Block], np.ndarray], lengths: Sequence[int], source: Path
) -> Iterator[np.ndarray]:
    bad = 0
    for block in file_blocks(lengths):
        values = fetch(block)
        bad += count_non_finite(values)
        yield values
    refuse_non_finite(bad, f"{source}: the result is not written, it holds", "report this")


def _check_writable(image: "Image | Source", path: Path) -> None:
    kind = format_of(path)
    if kind == "png":
        raise MRCascadeError(
            f"{path} has no supported ending: PNG cannot hold a result without rounding; write"
            " .nii.gz, .nii, .npy or .tif"
        )
    if kind != "nifti" and image.affine is not None:
        raise MRCascadeError(
            f"{path} would lose the geometry of {image.source}; write .nii.gz instead"
        )
    if kind == "nifti" and image.affine is None:
        raise MRCascadeError(
            f"{path} needs a geometry that {image.source} does not have; write .npy instead"
        )
    if kind == "tiff" and len(image.shape) != 2:
        raise MRCascadeError(f"{path} can hold one slice only; write .npy instead")
