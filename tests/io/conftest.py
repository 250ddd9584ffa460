"""Helpers of the io tests: random affines, images in memory, NIfTI files with chosen headers."""

from collections.abc import Callable
from pathlib import Path

import affines
import nibabel as nib
import numpy as np
import pytest

from mrcascade.io import Image


@pytest.fixture
def random_affine() -> Callable[[np.random.Generator], np.ndarray]:
    return affines.random_affine


@pytest.fixture
def image_of() -> Callable[..., Image]:
    """An Image in memory from an array and (optionally) an affine."""

    def make(data: np.ndarray, affine: np.ndarray | None = None, header: object = None) -> Image:
        kind = "npy" if affine is None else "nifti"
        return Image(data, affine, Path("memory"), kind, header, "0" * 64)

    return make


@pytest.fixture
def nifti_file(tmp_path: Path) -> Callable[..., Path]:
    """Write an array as NIfTI through plain nibabel; return the path."""

    def make(
        data: np.ndarray,
        affine: np.ndarray | None = None,
        name: str = "scan.nii.gz",
        header: nib.Nifti1Header | None = None,
    ) -> Path:
        path = tmp_path / name
        affine = np.diag([2.0, 2.0, 3.0, 1.0]) if affine is None else affine
        kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
        kind(data, affine, header).to_filename(path)
        return path

    return make


@pytest.fixture
def ramp() -> Callable[..., np.ndarray]:
    """A float32 array whose values are all different."""

    def make(*shape: int) -> np.ndarray:
        return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)

    return make
