"""Inputs of the fingerprinted cases, with the same bytes on every machine.

The seed of a drawn result comes from its input's bytes. So pixels come from integer arithmetic, and
DICOM files have fixed UIDs and no library version. PNG and TIFF depend on the version of their
compressors, so only cases that draw nothing use them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image
from pydicom.uid import UID

from tests.dicom.dicom_series import classic

# Oblique, with entries that float32 holds exactly.
AFFINE = np.array(
    [[-0.5, 0.03125, 0.125, 80], [0.0625, 0.625, -0.25, -70], [0.03125, 0.125, 3, 20], [0, 0, 0, 1]]
)
_UID = "1.2.826.0.1.3680043.8.498.1"


def head(rows: int, columns: int, slices: int, cut: int = 0) -> np.ndarray:
    """(rows, columns, slices) int16 from 0 to some 900: air with a floor, a disc, grainy tissue.

    cut: columns by which the disc leaves the field of view.
    """
    r, c, s = np.ogrid[:rows, :columns, :slices]
    dr, dc = 2 * r + 1 - rows, 2 * (c - cut) + 1 - columns
    # The radius of the disc is 9/10 of half a side, that of the inner one 4/10.
    distance = 100 * (dr * dr * columns * columns + dc * dc * rows * rows)
    side = rows * rows * columns * columns
    inside, inner = distance < 81 * side, distance < 16 * side
    grain = ((r * 73856093) ^ (c * 19349663) ^ (s * 83492791)) // 7 % 23
    waves = 60 * ((r // 3 + c // 5 + s) % 4)
    return (inside * (400 + waves + 20 * s) + inner * 200 + grain).astype(np.int16)


def waves(rows: int, columns: int, slices: int) -> np.ndarray:
    """Complex64 (rows, columns, slices) of whole numbers, whose phase varies over the image."""
    r, c, _ = np.ogrid[:rows, :columns, :slices]
    magnitude = head(rows, columns, slices).astype(np.int32)
    real, imaginary = magnitude * (r + 8) // (rows + 8), magnitude * (columns - c) // columns
    return (real + 1j * imaginary).astype(np.complex64)


def _masked(data: np.ndarray) -> np.ndarray:
    """Air is 0, so that an offset is seen to be one."""
    return np.where(data < 50, np.int16(0), data)


def nifti(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)
    return path


def _dicom(path: Path, data: np.ndarray) -> Path:
    path.mkdir()
    for place, dataset in enumerate(classic(data.transpose(2, 0, 1), "oblique")):
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{_UID}.1", f"{_UID}.2"
        dataset.FrameOfReferenceUID = f"{_UID}.3"
        dataset.SOPInstanceUID = f"{_UID}.4.{place + 1}"
        meta = dataset.file_meta
        meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        meta.ImplementationClassUID, meta.ImplementationVersionName = UID(f"{_UID}.5"), "TEST"
        dataset.save_as(path / f"{place:02d}.dcm", enforce_file_format=True)
    return path


def _npy(path: Path, data: np.ndarray) -> Path:
    np.save(path, data)
    return path


def _picture(path: Path, data: np.ndarray) -> Path:
    Image.fromarray(data[..., 0].astype(np.uint16)).save(path)
    return path


def _quarter_turns(path: Path) -> Path:
    """Magnitude and phase side by side; the path is that of the magnitude."""
    r, c, s = np.ogrid[:32, :24, :2]
    turns = (np.pi / 2 * ((r // 8 + c // 8 + 0 * s) % 4)).astype(np.float32)
    phase = nifti(path.with_name(path.name.replace("mag", "phase")), turns)
    phase.with_suffix(".json").write_text('{"Units": "rad"}')
    return nifti(path, head(*_LOW))


def _subjects(path: Path) -> Path:
    path.mkdir()
    nifti(path / "sub-01_T2w.nii", head(64, 48, 2))
    nifti(path / "sub-02_T2w.nii", head(48, 64, 2)[::-1])
    return path


def _scans(path: Path) -> Path:
    path.mkdir()
    for number in (1, 2):
        _npy(path / f"scan{number}.npy", waves(64, 48, number))
    return path


_LOW = (32, 24, 2)
#: Each writes its input at a path and returns it.
SOURCES: dict[str, Callable[[Path], Path]] = {
    "low.nii": lambda path: nifti(path, head(*_LOW)),
    "lower.nii": lambda path: nifti(path, head(16, 12, 2)),
    "wide.nii": lambda path: nifti(path, head(20, 40, 2)),
    "full.nii": lambda path: nifti(path, head(50, 42, 3)),
    "cut.nii": lambda path: nifti(path, head(32, 24, 2, cut=7)),
    "zero.nii": lambda path: nifti(path, _masked(head(*_LOW)) + np.int16(300)),
    "series.nii": lambda path: nifti(path, np.stack([head(*_LOW)] * 2, axis=3)),
    "front.nii": lambda path: nifti(path, head(*_LOW).transpose(2, 0, 1), AFFINE[:, [2, 0, 1, 3]]),
    "middle.nii": lambda path: nifti(path, head(18, 34, 3).transpose(0, 2, 1)),
    "dicom": lambda path: _dicom(path, head(*_LOW)),
    "low.npy": lambda path: _npy(path, head(*_LOW).astype(np.float64)),
    "waves.npy": lambda path: _npy(path, waves(*_LOW)),
    "low.png": lambda path: _picture(path, head(*_LOW)),
    "wide.tif": lambda path: _picture(path, head(20, 40, 1)),
    "waves.nii": lambda path: nifti(path, waves(*_LOW)),
    "sub-01_part-mag_T2w.nii": _quarter_turns,
    "subjects": _subjects,
    "scans": _scans,
}
