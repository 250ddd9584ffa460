"""A kernel that a user registers goes through every command, and its geometry is right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mrcascade.cli import main
from mrcascade.errors import MRCascadeError
from mrcascade.io import read_image
from mrcascade.operators import KERNELS, down_matrix, register_kernel
from mrcascade.operators.baselines import bicubic
from tests.dicom.dicom_series import phantom, series
from tests.toy_kernel import TRIANGLE

AFFINE = np.array([[0, -0.9, 0.1, 30], [1.1, 0, 0.2, -40], [0.2, 0.1, 4, 7], [0, 0, 0, 1.0]])


@pytest.fixture(params=["edges", "voxel"])
def triangle(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    kernel = register_kernel(replace(TRIANGLE, origin=request.param))
    monkeypatch.setitem(KERNELS, kernel.name, KERNELS.pop(kernel.name))  # taken out afterwards
    return str(request.param)


def fixed_point(origin: str) -> np.ndarray:
    """The voxel index, on every grid, of a place that the kernel keeps."""
    return np.array([-0.5, -0.5, 0, 1]) if origin == "edges" else np.array([0, 0, 0, 1.0])


def check_geometry(before: np.ndarray, after: np.ndarray, step: float, origin: str) -> None:
    """In-plane steps are ``step`` times as long, and the kept place stays where it is."""
    sizes = np.array([step, step, 1])
    np.testing.assert_allclose(after[:3, :3], before[:3, :3] * sizes, rtol=0, atol=1e-5)
    place = fixed_point(origin)
    np.testing.assert_allclose(after @ place, before @ place, rtol=0, atol=1e-4)


def test_sr_of_nifti(triangle: str, prior_folder: Path, tmp_path: Path) -> None:
    pixels = 60 + 15 * np.random.default_rng(0).normal(size=(16, 18, 2)).astype(np.float32)
    nib.save(nib.Nifti1Image(pixels, AFFINE), tmp_path / "low.nii.gz")
    arguments = ["sr", tmp_path / "low.nii.gz", "-o", tmp_path, "--factor", "2", "--noise", "0"]
    arguments += ["--kernel", "triangle", "--prior", prior_folder, "--device", "cpu"]
    assert main([*map(str, arguments), "--axes", "0,1"]) == 0
    result = nib.load(tmp_path / "low_desc-sr2x.nii.gz")
    assert result.shape == (32, 36, 2)
    check_geometry(AFFINE, result.affine, 0.5, triangle)
    rows, columns = (down_matrix("triangle", 2 * n, n) for n in (16, 18))
    measured = np.einsum("ij,jks,lk->ils", rows, result.get_fdata(), columns)
    np.testing.assert_allclose(measured, pixels, rtol=1e-4)
    assert (tmp_path / "low_desc-sr2x.png").is_file()


def test_sr_of_dicom(triangle: str, prior_folder: Path, tmp_path: Path) -> None:
    low = series(tmp_path / "low", phantom((3, 16, 20)), "oblique")
    arguments = ["sr", low, "-o", tmp_path / "out.dicom", "--factor", "2", "--noise", "0"]
    arguments += ["--kernel", "triangle", "--prior", prior_folder, "--device", "cpu"]
    assert main([*map(str, arguments)]) == 0
    before, after = read_image(low), read_image(tmp_path / "out.dicom")
    assert after.shape == (40, 32, 3)
    assert before.affine is not None
    assert after.affine is not None
    check_geometry(before.affine, after.affine, 0.5, triangle)


def test_simulate(triangle: str, tmp_path: Path) -> None:
    """A blob in the middle stays where it is in the world, on grids that share their edges."""
    r, c = np.mgrid[:48, :40]
    blob = np.exp(-((r - 22.3) ** 2 + (c - 19.1) ** 2) / 18)[..., None].repeat(2, 2)
    nib.save(nib.Nifti1Image(blob.astype(np.float32), AFFINE), tmp_path / "truth.nii")
    arguments = ["simulate", tmp_path / "truth.nii", "-o", tmp_path / "low.nii", "--factor", "2"]
    assert main([*map(str, arguments), "--kernel", "triangle", "--axes", "0,1"]) == 0
    low = nib.load(tmp_path / "low.nii")
    assert low.shape == (24, 20, 2)
    check_geometry(AFFINE, low.affine, 2, triangle)
    if triangle == "edges":  # where the formula puts its samples
        seen, true = (centroid(d, a) for d, a in ((low.get_fdata(), low.affine), (blob, AFFINE)))
        np.testing.assert_allclose(seen, true, rtol=0, atol=0.01)


def centroid(data: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """World position of the centre of mass (mm)."""
    index = np.stack(np.meshgrid(*map(np.arange, data.shape), indexing="ij"))
    return affine[:3, :3] @ ((index * data).sum((1, 2, 3)) / data.sum()) + affine[:3, 3]


def test_the_bicubic_baseline_asks_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its places follow the origin, its border whether the kernel is periodic."""
    y = np.random.default_rng(0).normal(size=(1, 8, 8))
    found = {}
    for origin in ("edges", "voxel"):
        for periodic in (False, True):
            kernel = replace(TRIANGLE, origin=origin, periodic=periodic)
            monkeypatch.setitem(KERNELS, "triangle", kernel)
            found[origin, periodic] = bicubic(y, "triangle", (16, 16))
    np.testing.assert_array_equal(found["edges", False], bicubic(y, "area", (16, 16)))
    np.testing.assert_array_equal(found["voxel", False], bicubic(y, "gaussian", (16, 16)))
    np.testing.assert_array_equal(found["voxel", True], bicubic(y, "fourier", (16, 16)))
    assert np.abs(found["edges", True] - found["edges", False]).max() > 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "fourier"}, "exists already"),
        ({"name": "My kernel"}, "lower-case"),
    ],
)
def test_names_that_cannot_be_registered(change: dict, message: str) -> None:
    before = dict(KERNELS)
    with pytest.raises(MRCascadeError, match=message):
        register_kernel(replace(TRIANGLE, **change))
    assert before == KERNELS


@pytest.mark.parametrize(
    ("down", "message"),
    [
        (lambda n, m: np.eye(n), "returned a matrix of shape"),
        (lambda n, m: np.full((m, n), 0.5), "changes constants"),
        (lambda n, m: np.full((m, n), np.nan), "changes constants"),
    ],
)
def test_wrong_formulas_are_named(down, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KERNELS, "triangle", replace(TRIANGLE, down=down))
    with pytest.raises(MRCascadeError, match=f"kernel 'triangle' {message}"):
        down_matrix("triangle", 12, 4)


def test_a_name_may_be_given_to_another_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Matrices are kept for a record, and not for its name."""
    monkeypatch.setitem(KERNELS, "triangle", TRIANGLE)
    first = down_matrix("triangle", 12, 6)
    other = replace(TRIANGLE, down=KERNELS["area"].down)
    monkeypatch.setitem(KERNELS, "triangle", other)
    np.testing.assert_array_equal(down_matrix("triangle", 12, 6), KERNELS["area"].down(12, 6))
    assert np.abs(first - KERNELS["area"].down(12, 6)).max() > 0.1
