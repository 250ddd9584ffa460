"""Images of a fastMRI file, one slice at a time, in the units of its k-space."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.io.fastmri.averages import open_averages
from mrcascade.io.fastmri.coils import MOST_COILS, combine, estimate_maps, virtual_coil
from mrcascade.io.fastmri.file import FastMRI, open_file
from mrcascade.io.fastmri.header import centred_affine
from mrcascade.io.fastmri.kspace import (
    Matrix,
    central,
    coil_images,
    root_sum_of_squares,
    sampling_of,
)
from mrcascade.io.raw import RawPixels, Runs
from mrcascade.io.stream import bytes_sha256


@contextmanager
def open_images(path: Path, complex_valued: bool) -> Iterator[RawPixels]:
    """Open the images of a fastMRI file as (rows, columns, slices).

    Fully sampled k-space gives the root sum of squares of the coils, or, complex_valued, their
    combination (`coils`). A file without it gives its stored reconstruction. The averages of the
    prostate give their stored reconstruction, or, complex_valued, their combination (`averages`).

    Raises:
        MRCascadeError: `open_file` refuses the file; the k-space is undersampled, and a complex
            image is asked for or no reconstruction is stored; averages are refused by
            `open_averages`; maps have another size than the k-space; or there are more coils than
            `coils.MOST_COILS` and no maps.
    """
    with open_file(path) as file:
        if complex_valued and file.averages > 1:
            yield _from_averages(file)
        elif not file.obstacle:
            yield _from_kspace(file, complex_valued)
        else:
            check_usable(file, complex_valued)
            yield _stored(file)


def check_usable(file: FastMRI, complex_valued: bool) -> None:
    """Raise MRCascadeError where `open_images` has no image to give."""
    if file.obstacle and complex_valued:
        raise MRCascadeError(
            f"{file.path}: {file.obstacle}, so that it gives no complex image; take a magnitude"
            " prior, or reconstruct the k-space first"
        )
    if file.obstacle and file.reconstruction[0] is None:
        raise MRCascadeError(
            f"{file.path}: {file.obstacle}, and no reconstruction is stored with it; reconstruct"
            " it first"
        )


def _stored(file: FastMRI) -> RawPixels:
    dataset, name = file.reconstruction
    runs = Runs(file.read_reconstruction(i) for i in range(dataset.shape[0]))
    slices, rows, columns = (int(n) for n in dataset.shape)
    shape = rows, columns, slices
    affine = centred_affine(shape, file.header.voxel(None))
    origin = f"the stored {name}, as {file.obstacle}"
    finish = partial(bytes_sha256, file.path)
    return RawPixels(shape, (2, 0, 1), False, runs.read, finish, affine, origin=origin)


def _from_averages(file: FastMRI) -> RawPixels:
    averages = open_averages(file)
    images, origin = _estimated(file, averages.coil_images)
    origin = f"{file.averages} averages completed by GRAPPA, {origin}"
    return _transformed(file, images, True, averages.acquired, origin)


def _from_kspace(file: FastMRI, complex_valued: bool) -> RawPixels:
    images, origin = _complex(file) if complex_valued else _magnitude(file)
    return _transformed(file, images, complex_valued, file.sampling.acquired, origin)


def _transformed(
    file: FastMRI,
    images: Iterator[np.ndarray],
    complex_valued: bool,
    sampled: Matrix,
    origin: str,
) -> RawPixels:
    """Return images of k-space, of which (rows, columns) samples of the `grid` were acquired."""
    shape = (*file.matrix, file.slices)
    pairs = zip(file.matrix, file.grid, sampled, strict=True)
    acquired = [min(n, round(n * reached / whole)) for n, whole, reached in pairs]
    return RawPixels(
        shape=shape,
        layout=(2, 0, 1),
        complex=complex_valued,
        read=Runs(images).read,
        finish=partial(bytes_sha256, file.path),
        affine=centred_affine(shape, file.header.voxel(file.grid)),
        acquired=dict(enumerate(acquired)),
        acquired_by="the zeros around its k-space",
        origin=origin,
    )


def _magnitude(file: FastMRI) -> tuple[Iterator[np.ndarray], str]:
    """Return the slices in order, and their description."""
    of = "magnitude" if file.coils == 1 else f"root sum of squares of {file.coils} coils"
    return (root_sum_of_squares(_coils(file, i)) for i in range(file.slices)), of


def _complex(file: FastMRI) -> tuple[Iterator[np.ndarray], str]:
    if file.coils == 1:
        return (_coils(file, i)[0] for i in range(file.slices)), "the complex image of one coil"
    if file.maps[0] is not None:
        _check_maps(file)
        images = (combine(_coils(file, i), _maps(file, i)) for i in range(file.slices))
        return images, f"{file.coils} coils combined with {file.maps[1]}"
    return _estimated(file, partial(_coils, file, matrix=file.grid))


def _estimated(
    file: FastMRI, coils: Callable[[int], np.ndarray]
) -> tuple[Iterator[np.ndarray], str]:
    """Return the slices combined with estimated maps, and their description.

    Args:
        file: the open file.
        coils: returns the coils' images (coils, rows, columns) of a slice; their central `matrix`
            is combined.
    """
    if file.coils > MOST_COILS:
        raise MRCascadeError(
            f"{file.path} has {file.coils} coils, and maps can be estimated for up to"
            f" {MOST_COILS}; compress the coils, or store maps with it"
        )
    return _combined(file, coils), f"{file.coils} coils combined with maps by ESPIRiT"


def _combined(file: FastMRI, coils: Callable[[int], np.ndarray]) -> Iterator[np.ndarray]:
    virtual = virtual_coil(coils(file.slices // 2))
    for number in range(file.slices):
        images = coils(number)
        maps = estimate_maps(images, virtual, file.matrix)
        yield combine(central(images, file.matrix), maps)


def _coils(file: FastMRI, number: int, matrix: Matrix | None = None) -> np.ndarray:
    """Return the coils' images of a fully sampled slice, cropped to a matrix, else the file's."""
    kspace = file.read_kspace(number)
    if not sampling_of(kspace).full:
        raise MRCascadeError(
            f"{file.path}: the k-space of slice {number} is undersampled; reconstruct it first"
        )
    return coil_images(kspace, matrix or file.matrix)


def _check_maps(file: FastMRI) -> None:
    shape = file.maps[0].shape
    sizes = (file.kspace_matrix, file.matrix)
    if shape[:2] != (file.slices, file.coils) or shape[2:] not in sizes:
        raise MRCascadeError(
            f"{file.path}: {file.maps[1]} of shape {shape} does not fit its k-space of"
            f" {file.slices} slices, {file.coils} coils; remove it, so that maps are estimated"
        )


def _maps(file: FastMRI, number: int) -> np.ndarray:
    """Return the maps of a slice, cropped to the matrix of the images."""
    return central(file.read_maps(number), file.matrix)
