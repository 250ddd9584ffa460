"""From files to files: geometry, names, sidecars, atomic outputs, errors."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from mrcascade import CascadePrior, MRCascadeError
from mrcascade.io import read_image
from mrcascade.jobs import (
    Simulation,
    SuperResolution,
    factor_label,
    simulate_file,
    super_resolve_file,
)
from mrcascade.jobs.common import input_seed
from mrcascade.operators import SeparableOperator
from mrcascade.sampling import Recipe

AFFINE = np.array(
    [[-0.5, 0.02, 0.1, 80.0], [0.01, 0.6, -0.3, -70.0], [0.03, 0.05, 3.0, 20.0], [0, 0, 0, 1]]
)
SHORT = Recipe("short", steps=6)


def volume(shape: tuple[int, ...] = (64, 72, 3)) -> np.ndarray:
    rng = np.random.default_rng(0)
    rows, cols = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape[:2]), indexing="ij")
    disc = (rows**2 + cols**2 < 0.8)[(...,) + (None,) * (len(shape) - 2)]
    return (disc * (500 + 100 * rng.normal(size=shape))).astype(np.int16)


def save(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)
    return path


def restore(path: Path, output: Path, prior: CascadePrior, **options) -> list[Path]:
    job = SuperResolution(**{"factor": (4, 4), "noise": 0.0, "mode": SHORT, **options})
    return super_resolve_file(
        path, output, prior, job, say=lambda _: None, progress=lambda _: lambda _: None
    )


def simulate(path: Path, output: Path, **options) -> Path:
    job = Simulation(**{"factor": (4, 4), **options})
    return simulate_file(path, output, job, say=lambda _: None)[0]


@pytest.mark.parametrize("kernel", ["fourier", "area", "bicubic", "gaussian"])
def test_simulated_and_restored_grid_is_the_original(
    tmp_path: Path, prior: CascadePrior, kernel: str
) -> None:
    source = save(tmp_path / "t2.nii.gz", volume())
    low = simulate(source, tmp_path / "low", kernel=kernel)
    assert low.name == "t2_desc-low4x.nii.gz"
    assert nib.load(low).shape == (16, 18, 3)
    result = restore(low, tmp_path / "out", prior, kernel=kernel)[0]
    assert result.name == "t2_desc-sr4x.nii.gz"
    restored = nib.load(result)
    assert restored.shape == (64, 72, 3)
    # NIfTI stores affines in float32: 24 bits of an entry of at most 80.
    np.testing.assert_allclose(restored.affine, AFFINE, atol=80 * 2**-22)
    assert restored.get_data_dtype() == np.float32
    assert restored.header.get_xyzt_units() == ("mm", "sec")


def test_slice_axis_in_front_and_a_crop_keep_world_positions(
    tmp_path: Path, prior: CascadePrior
) -> None:
    data = np.moveaxis(volume((67, 74, 3)), 2, 0)
    affine = AFFINE[:, [2, 0, 1, 3]]
    source = save(tmp_path / "sag.nii.gz", data, affine)
    low = simulate(source, tmp_path / "low", factor=(4, 2))
    notes = json.loads(low.with_name("sag_desc-low4by2x.json").read_text())
    assert (notes["CroppedTo"], notes["InPlaneAxes"]) == ([64, 74], [1, 2])
    restored = nib.load(restore(low, tmp_path / "out", prior, factor=(4, 2))[0])
    assert restored.shape == (3, 64, 74)
    # 67 rows lose one at the start, so voxel 0 of the crop is voxel (0, 1, 0) of the file.
    expected = affine @ np.array([0, 1, 0, 1])
    np.testing.assert_allclose(restored.affine[:, 3], expected, atol=80 * 2**-22)
    np.testing.assert_allclose(restored.affine[:3, :3], affine[:3, :3], atol=3 * 2**-22)


def test_simulation_is_the_operator_plus_noise(tmp_path: Path) -> None:
    data = volume((64, 64, 40))
    source = save(tmp_path / "x.nii", data)
    operator = SeparableOperator.from_kernel("area", 2, (64, 64))
    clean = operator(torch.from_numpy(data.astype(np.float64)).permute(2, 0, 1))
    exact = read_image(simulate(source, tmp_path / "a", factor=(2, 2), kernel="area")).data
    # Sums of four float32 numbers of at most 900.
    np.testing.assert_allclose(np.moveaxis(exact, 2, 0), clean.numpy(), atol=900 * 2**-21)
    options = {"factor": (2, 2), "kernel": "area", "noise": 0.02, "seed": 3}
    noisy = read_image(simulate(source, tmp_path / "b", **options)).data
    sigma = 0.02 * np.quantile(np.abs(exact), 0.999)
    # The standard deviation of n normal numbers is known to 1 / sqrt(2 n); five of those.
    assert (noisy - exact).std() == pytest.approx(sigma, rel=5 / np.sqrt(2 * exact.size))
    again = read_image(simulate(source, tmp_path / "c", **options)).data
    np.testing.assert_array_equal(again, noisy)


@pytest.mark.slow
def test_noise_is_the_input_s_own(tmp_path: Path, prior: CascadePrior) -> None:
    """Two scans must not share invented detail, nor noise: what they share would pass for real."""
    same, other = volume(), volume()
    other[0, 0, 0] += 1
    paths = [save(tmp_path / f"{i}.nii", data) for i, data in enumerate((same, same, other))]

    def low(path: Path, seed: int) -> np.ndarray:
        folder = tmp_path / f"low{seed}"
        return read_image(simulate(path, folder, noise=0.05, seed=seed)).data

    def sample(path: Path, seed: int) -> np.ndarray:
        return read_image(restore(path, tmp_path / f"sample{seed}", prior, seed=seed)[0]).data

    for draw in (low, sample):
        # What two seeds do not share is noise alone; independent noise has a correlation of
        # 1 / sqrt(n), of which five, with one in sixteen of the pixels, as samples are smooth.
        a, b, c = (draw(path, 0) - draw(path, 1) for path in paths)
        np.testing.assert_array_equal(a, b)
        assert abs(np.corrcoef(a.ravel(), c.ravel())[0, 1]) < 5 / np.sqrt(a.size / 16)


def test_outputs_with_samples(tmp_path: Path, prior: CascadePrior) -> None:
    source = save(tmp_path / "sub-01_ses-2_T2w.nii.gz", volume((16, 18, 3)))
    before = source.read_bytes()
    written = restore(source, tmp_path / "out", prior, samples=3, batch_size=2)
    assert [p.name for p in written] == [
        "sub-01_ses-2_desc-sr4x_T2w.nii.gz",
        "sub-01_ses-2_desc-sr4xsample_T2w.nii.gz",
        "sub-01_ses-2_desc-sr4xstd_T2w.nii.gz",
        "sub-01_ses-2_desc-sr4x_T2w.png",
        "sub-01_ses-2_desc-sr4x_T2w.json",
    ]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(p.name for p in written)
    assert source.read_bytes() == before
    sidecar = json.loads(written[-1].read_text())
    assert sidecar["Sources"] == ["sub-01_ses-2_T2w.nii.gz"]
    assert sidecar["SourceSHA256"] == read_image(source).sha256
    assert sidecar["Settings"]["Samples"] == 3
    assert sidecar["Settings"]["Seed"] == input_seed(0, sidecar["SourceSHA256"])
    assert sidecar["EvaluationsPerSlice"] == {"1": 2, "2": 2, "3": 0}
    assert sidecar["Residual"] < 1e-5
    assert sidecar["ResidualStored"] < 1e-5
    assert "not for diagnosis" in sidecar["Description"]
    std = nib.load(written[2]).get_fdata()
    assert std.shape == (64, 72, 3)
    assert std.max() > 0


def test_noise_is_estimated_and_said(tmp_path: Path, prior: CascadePrior) -> None:
    rng = np.random.default_rng(0)
    radius = np.hypot(*(np.mgrid[:64, :64] - 31.5))[..., None]
    parts = rng.normal(size=(2, 64, 64, 4))
    data = 1000 * np.abs((radius < 18) + 0.05 * (parts[0] + 1j * parts[1])).astype(np.float32)
    source = save(tmp_path / "flat.nii.gz", data)
    said: list[str] = []
    job = SuperResolution(factor=(2, 2), mode="mean")
    written = super_resolve_file(
        source, tmp_path / "out", prior, job, say=said.append, progress=lambda _: lambda _: None
    )
    sidecar = json.loads(written[-1].read_text())
    assert sidecar["NoiseOrigin"] == "estimated from the air around the body"
    scale = np.quantile(np.abs(data), 0.999)
    # The median absolute deviation of some 5,000 correlated values varies by 2 %.
    assert sidecar["Settings"]["Noise"] == pytest.approx(50 / scale, rel=0.1)
    assert any("noise estimated" in line and "--noise" in line for line in said)


def test_fourth_dimension_and_npy(tmp_path: Path, prior: CascadePrior) -> None:
    data = np.repeat(volume((16, 16, 3))[..., None], 2, axis=3)
    source = save(tmp_path / "echo.nii.gz", data)
    result = nib.load(restore(source, tmp_path / "out", prior, mode="mean")[0])
    assert result.shape == (64, 64, 3, 2)
    # Both echoes are the same image and nothing is random.
    first, second = np.moveaxis(result.get_fdata(), 3, 0)
    np.testing.assert_allclose(first, second, atol=1e-4 * first.max())
    np.save(tmp_path / "a.npy", volume((16, 16)).astype(np.float64))
    written = restore(tmp_path / "a.npy", tmp_path / "out", prior)
    assert np.load(written[0]).shape == (64, 64)


def test_existing_output_is_kept_unless_overwritten(tmp_path: Path, prior: CascadePrior) -> None:
    source = save(tmp_path / "t2.nii.gz", volume((16, 18, 3)))
    first = restore(source, tmp_path / "out", prior)[0]
    stamp = first.read_bytes()
    with pytest.raises(MRCascadeError, match=r"t2_desc-sr4x.nii.gz already exists.*--overwrite"):
        restore(source, tmp_path / "out", prior)
    assert first.read_bytes() == stamp
    restore(source, tmp_path / "out", prior, overwrite=True, mode="mean")
    assert first.read_bytes() != stamp


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factor": (1.0, 1.0)}, "give factors above 1"),
        ({"factor": (8.0, 8.0)}, "t2.nii.gz: factor 8 is larger than prior"),
        ({"factor": (1.3, 1.3)}, "t2.nii.gz: 16 pixels times factor 1.3 is not a whole number"),
        ({"axes": "0,5"}, "in-plane axes '0,5'"),
        ({"mode": "best"}, "unknown mode 'best'"),
    ],
)
def test_bad_settings_leave_nothing_behind(
    tmp_path: Path, prior: CascadePrior, options: dict, message: str
) -> None:
    source = save(tmp_path / "t2.nii.gz", volume((16, 18, 3)))
    with pytest.raises(MRCascadeError, match=message):
        restore(source, tmp_path / "out", prior, **options)
    assert not (tmp_path / "out").exists()


def test_a_third_more_pixels(tmp_path: Path, prior: CascadePrior) -> None:
    """1.333 is read as 4/3, as ``simulate`` reads it."""
    source = save(tmp_path / "t2.nii.gz", volume((48, 48, 1)))
    restored = restore(source, tmp_path / "out", prior, factor=(1.333, 1.333))[0]
    assert restored.name == "t2_desc-sr1p333x.nii.gz"
    assert nib.load(restored).shape == (64, 64, 1)


def test_too_small_an_image_is_refused(tmp_path: Path, prior: CascadePrior) -> None:
    source = save(tmp_path / "t2.nii.gz", volume((8, 8, 4)))
    with pytest.raises(MRCascadeError, match=r"t2.nii.gz: the result would be 16x16; prior"):
        restore(source, tmp_path / "out", prior, factor=(2, 2), axes="0,1")


def test_factor_labels() -> None:
    assert factor_label((4.0, 4.0)) == "4x"
    assert factor_label((2.0, 1.0)) == "2by1x"
    assert factor_label((1.5, 1.5)) == "1p5x"
