"""Volumes for tests on thick slices, and the shared reference of forward model and scores."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from mrcascade.data.folder import DataFile
from mrcascade.evaluation.data import TestFile
from mrcascade.evaluation.isotropic.volumes import ThinVolume, read_thin_volume
from mrcascade.io.file import image_file

ROOT = Path(__file__).resolve().parents[2]


def reference() -> ModuleType:
    """The script whose definitions ours are; the test is skipped where it is absent."""
    path = ROOT.parent / "shared" / "isotropic" / "bench.py"
    if not path.is_file():
        pytest.skip(f"no reference of forward model and scores at {path}")
    spec = importlib.util.spec_from_file_location("isotropic_reference", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blobs(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """A body with detail at all scales, off the centre, on exact zeros."""
    rng = np.random.default_rng(seed)
    place = np.meshgrid(*(np.arange(n) / n for n in shape), indexing="ij")
    body = sum((p - c) ** 2 for p, c in zip(place, (0.5, 0.55, 0.45), strict=True)) < 0.16
    detail = gaussian_filter(rng.normal(size=shape), 1.0) + 0.3 * rng.normal(size=shape)
    return np.where(body, 100 + 40 * detail, 0.0).clip(0).astype(np.float32)


def write_volume(path: Path, values: np.ndarray, spacing: tuple[float, float, float]) -> Path:
    """Write a NIfTI file with an oblique affine."""
    turn = np.array([[0.96, -0.28, 0.0], [0.28, 0.96, 0.0], [0.0, 0.0, 1.0]])
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing
    affine[:3, 3] = 3.0, -7.0, 11.0
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, affine), path)
    return path


def test_file(path: Path, **facts: object) -> TestFile:
    """The file as an evaluation finds it."""
    return TestFile(DataFile(image_file(path), path.name, "brain", None, False, dict(facts)), None)


def thin_volume(path: Path, values: np.ndarray, axis: int = 2) -> ThinVolume:
    """The volume of an array, by way of a file."""
    write_volume(path, values, (1.0, 1.05, 0.98))
    return read_thin_volume(test_file(path, slice_axis=axis))


test_file.__test__ = False  # type: ignore[attr-defined]
