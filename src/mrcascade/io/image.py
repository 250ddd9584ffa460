"""The one image type of the library, and the table of file formats behind it."""

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.io import nifti, npy
from mrcascade.io.atomic import atomic_output

# The whole list of formats: file name ending -> name of the format.
SUFFIXES = {".nii.gz": "nifti", ".nii": "nifti", ".npy": "npy"}


@dataclass(frozen=True, eq=False)
class Image:
    """Pixels, where they are in the patient, and the file they came from.

    data: 2-D to 4-D, axis order of the file; float32, or complex64 for a complex image. Axes 0-2
        are spatial, axis 3 is anything else (time, echo, coil). The file's scaling is applied.
    affine: (4, 4) float64, voxel index -> RAS position in mm; None where the format has none.
    source: the file that was read; `sha256` is the hash of its bytes. Both stay when pixels are
        replaced (`with_data`): they say where an image came from.
    format: "nifti" or "npy". header: the original nibabel header (NIfTI), else None.
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
        axes = min(self.data.ndim, 3)
        if self.affine is None:
            return (1.0,) * axes
        return tuple(float(s) for s in np.linalg.norm(self.affine[:3, :axes], axis=0))

    def with_data(self, data: np.ndarray, affine: np.ndarray | None) -> "Image":
        """This image with other pixels on the grid of `affine`; header and provenance stay."""
        return replace(self, data=data, affine=affine)


def format_of(path: Path) -> str:
    """The entry of `SUFFIXES` for a file name; MRCascadeError if there is none."""
    for suffix, kind in SUFFIXES.items():
        if path.name.lower().endswith(suffix):
            return kind
    raise MRCascadeError(
        f"{path} has no supported ending; supported are {', '.join(SUFFIXES)}: convert it first"
    )


def read_image(path: str | os.PathLike[str]) -> Image:
    """Read an image file; the ending of its name picks the format (`SUFFIXES`).

    Any real type becomes float32 (after the file's own scaling) and any complex one complex64.
    Raises MRCascadeError if the file is missing, of another format, damaged, not 2-D to 4-D, in
    colour, without a usable affine (NIfTI), not finite or constant.
    """
    path = Path(path)
    kind = format_of(path)
    raw = _read_bytes(path)
    affine, header = None, None
    if kind == "nifti":
        pixels, affine, header = nifti.decode(raw, path)
    else:
        pixels = npy.decode(raw, path)
    data = _checked_pixels(pixels, path)
    return Image(data, affine, path, kind, header, hashlib.sha256(raw).hexdigest())


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
    with atomic_output(path, overwrite) as temporary:
        _encode(image, temporary)


def write_image_into(image: Image, temporary: Path) -> None:
    """Write `image` to a path that `atomic_outputs` handed out, replacing what is there.

    Raises MRCascadeError for an unsupported ending, values that are not finite, and where
    geometry would be lost (`.npy`) or invented (NIfTI): `image.affine` says which of the two a
    format must be able to hold.
    """
    _check_writable(image, temporary)
    _encode(image, temporary)


def _read_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise MRCascadeError(f"{path} is a folder; give the name of an image file")
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise MRCascadeError(f"{path} does not exist; check the name") from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise MRCascadeError(
            f"cannot read {path}: {reason.lower()}; check the file and its permissions"
        ) from error


def _checked_pixels(pixels: np.ndarray, path: Path) -> np.ndarray:
    """`pixels` as float32 or complex64, or the reason why they cannot be used."""
    if not 2 <= pixels.ndim <= 4:
        raise MRCascadeError(
            f"{path} has {pixels.ndim} dimension{'s' * (pixels.ndim != 1)}, expected 2 to 4; "
            "extract the image or series to restore"
        )
    if pixels.size == 0:
        raise MRCascadeError(f"{path} has no voxels (shape {pixels.shape}); check the export")
    _refuse_non_finite(pixels, f"{path} holds", "replace them (for instance by 0)")
    kind = np.complex64 if np.iscomplexobj(pixels) else np.float32
    with np.errstate(over="ignore"):  # found and named by the next line
        data = pixels.astype(kind)
    _refuse_non_finite(data, f"{path} holds values beyond float32:", "rescale them")
    if (data == data.flat[0]).all():
        raise MRCascadeError(
            f"{path} is constant (every voxel is {data.flat[0]:g}); check that it is the right file"
        )
    return data


def _refuse_non_finite(data: np.ndarray, found: str, remedy: str) -> None:
    bad = data.size - int(np.count_nonzero(np.isfinite(data)))
    if bad:
        voxels = "1 NaN or infinite voxel" if bad == 1 else f"{bad} NaN or infinite voxels"
        raise MRCascadeError(f"{found} {voxels}; {remedy} and try again")


def _check_writable(image: Image, path: Path) -> None:
    kind = format_of(path)
    if kind == "npy" and image.affine is not None:
        raise MRCascadeError(
            f"{path} would lose the geometry of {image.source}; write .nii.gz instead"
        )
    if kind == "nifti" and image.affine is None:
        raise MRCascadeError(
            f"{path} needs a geometry that {image.source} does not have; write .npy instead"
        )
    _refuse_non_finite(image.data, f"{path} not written: the result holds", "report this")


def _encode(image: Image, path: Path) -> None:
    data = image.data.astype(
        np.complex64 if np.iscomplexobj(image.data) else np.float32, copy=False
    )
    if image.affine is None:
        npy.encode(data, path)
        return
    header: Any = image.header
    nifti.encode(data, image.affine, header, path)
