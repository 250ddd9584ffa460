"""Helpers of the io tests: random affines, images in memory, NIfTI files with chosen headers."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mrcascade.io import Image


@pytest.fixture
def random_affine() -> Callable[[np.random.Generator], np.ndarray]:
    """An oblique affine, unequal spacing, any order and sign of axes (LAS included), any origin."""

    def make(rng: np.random.Generator) -> np.ndarray:
        rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        affine = np.eye(4)
        affine[:3, :3] = rotation * rng.choice([-1, 1], 3) * rng.uniform(0.4, 3.0, 3)
        affine[:3, 3] = rng.uniform(-150, 150, 3)
        return affine

    return make


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
