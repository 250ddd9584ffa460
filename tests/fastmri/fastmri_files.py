"""Files in fastMRI's published layout, simulated with NumPy: coils, k-space, header."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

HEADER = """<?xml version="1.0" encoding="utf-8"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
 <acquisitionSystemInformation><receiverChannels>4</receiverChannels>
 </acquisitionSystemInformation>
 <encoding>
  <encodedSpace>
   <matrixSize><x>{e[0]}</x><y>{e[1]}</y><z>1</z></matrixSize>
   <fieldOfView_mm><x>{ef[0]}</x><y>{ef[1]}</y><z>7.5</z></fieldOfView_mm>
  </encodedSpace>
  <reconSpace>
   <matrixSize><x>{r[0]}</x><y>{r[1]}</y><z>1</z></matrixSize>
   <fieldOfView_mm><x>{rf[0]}</x><y>{rf[1]}</y><z>4.5</z></fieldOfView_mm>
  </reconSpace>
  <encodingLimits><kspace_encoding_step_1>
   <minimum>0</minimum><maximum>{last}</maximum><center>{middle}</center>
  </kspace_encoding_step_1></encodingLimits>
  <trajectory>cartesian</trajectory>
 </encoding>
</ismrmrdHeader>
"""
PIXEL = 0.5, 0.6  # mm, rows and columns
UNIT = 1e-5  # fastMRI's values are tiny


def header(encoded: tuple[int, int], recon: tuple[int, int], **changed: Any) -> str:
    """The XML of a scan with pixels of `PIXEL`, cropped from `encoded` to `recon` (rows, columns).

    changed: other fields of view, ef and rf (mm), or lines of k-space, last and middle.
    """
    fields = {"ef": encoded, "rf": recon}
    sizes = {k: [n * p for n, p in zip(v, PIXEL, strict=True)] for k, v in fields.items()}
    lines = {"middle": encoded[1] // 2, "last": encoded[1] - 1}
    return HEADER.format(e=encoded, r=recon, **(sizes | lines | changed))


def grid(size: tuple[int, int], extent: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Centred coordinates of an image of `size`; those of one of `extent` end at -1 and 1."""
    rows, columns = ((np.arange(n) - n // 2) / (m / 2) for n, m in zip(size, extent, strict=True))
    return rows[:, None], columns[None]


def phantom(slices: int, size: tuple[int, int], recon: tuple[int, int]) -> np.ndarray:
    """A complex object (slices, rows, columns) that ends within `recon`, smooth in phase."""
    y, x = grid(size, recon)
    stack = []
    for number in range(slices):
        body = ((x / 0.8) ** 2 + (y / 0.9) ** 2 < 1) * (1 + 0.4 * np.sin(9 * x) * np.cos(7 * y))
        hole = (x - 0.2) ** 2 + (y - 0.05 * number) ** 2 < 0.05
        stack.append(body * (1 - 0.7 * hole) * np.exp(1j * (0.3 + 1.5 * x + 1.2 * y**2)))
    return UNIT * np.stack(stack)


def coil_maps(coils: int, size: tuple[int, int], recon: tuple[int, int]) -> np.ndarray:
    """Sensitivities (coils, rows, columns) of a ring of coils around the object."""
    y, x = grid(size, recon)
    angles = 2 * np.pi * np.arange(coils)[:, None, None] / coils
    towards = x * np.cos(angles) + y * np.sin(angles)
    distance = x**2 + y**2 - 2.4 * towards + 1.44
    return np.exp(-distance / 1.5 + 1j * (1.2 * towards + angles))


def to_kspace(images: np.ndarray) -> np.ndarray:
    """Centred, orthonormal Fourier transform of the last two axes, complex64."""
    axes = (-2, -1)
    turned = np.fft.fft2(np.fft.ifftshift(images, axes), norm="ortho")
    return np.fft.fftshift(turned, axes).astype(np.complex64)


def to_images(kspace: np.ndarray, recon: tuple[int, int]) -> np.ndarray:
    """The inverse, in double precision, cropped to `recon` as fastMRI crops."""
    axes = (-2, -1)
    shifted = np.fft.ifftshift(kspace.astype(np.complex128), axes)
    images = np.fft.fftshift(np.fft.ifft2(shifted, norm="ortho"), axes)
    return crop(images, recon)


def crop(images: np.ndarray, recon: tuple[int, int]) -> np.ndarray:
    rows, columns = ((n - m) // 2 for n, m in zip(images.shape[-2:], recon, strict=True))
    return images[..., rows : rows + recon[0], columns : columns + recon[1]]


@dataclass
class Scan:
    """What a multi-coil file was made of: the truth within the reconstructed matrix."""

    path: Path
    kspace: np.ndarray
    image: np.ndarray
    maps: np.ndarray
    rss: np.ndarray


def multicoil(
    path: Path,
    slices: int = 3,
    coils: int = 4,
    size: tuple[int, int] = (64, 40),
    recon: tuple[int, int] = (32, 32),
    noise: float = 0.0,
    keep: Any = None,
    objects: np.ndarray | None = None,
    without: tuple[str, ...] = (),
    **storage: Any,
) -> Scan:
    """Write a fully sampled multi-coil file.

    noise: of the coil images, as a fraction of the object's scale. keep: which columns of k-space
    are not set to 0 (an index). without: fields to leave out. storage: how h5py stores the arrays.
    """
    image = phantom(slices, size, recon) if objects is None else objects
    maps = coil_maps(coils, size, recon)
    seen = image[:, None] * maps
    rng = np.random.default_rng(1)
    drawn = rng.normal(size=(2, *seen.shape))
    kspace = to_kspace(seen + noise * UNIT * (drawn[0] + 1j * drawn[1]))
    if keep is not None:
        kept = np.zeros(size[1], bool)
        kept[keep] = True
        kspace[..., ~kept] = 0
    rss = np.sqrt((np.abs(to_images(kspace, recon)) ** 2).sum(axis=1))
    arrays = {"kspace": kspace, "reconstruction_rss": rss.astype(np.float32)}
    write(path, arrays, header(size, recon), without, **storage)
    return Scan(path, kspace, crop(image, recon), crop(maps, recon), rss)


def write(
    path: Path,
    arrays: dict[str, np.ndarray],
    xml: str = "",
    without: tuple[str, ...] = (),
    **storage: Any,
) -> Path:
    """An HDF5 file with fastMRI's attributes."""
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            if name not in without:
                file.create_dataset(name, data=values, **storage)
        if xml and "ismrmrd_header" not in without:
            file["ismrmrd_header"] = xml.encode()
        if "attributes" not in without:
            rss = next(iter(arrays.values()))
            file.attrs["max"] = float(np.abs(rss).max())
            file.attrs["norm"] = float(np.linalg.norm(rss))
            file.attrs["acquisition"] = "AXT2"
            file.attrs["patient_id"] = "0beb8905d9b7fad304389b9d4263c57d"
    return path
