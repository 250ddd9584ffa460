"""Images with a value of no signal other than 0: same result as without the offset."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from mrcascade import CascadePrior, MRCascadeError, SeparableOperator, super_resolve
from mrcascade.arrays.intensity import Intensity
from mrcascade.cli import main
from mrcascade.measurement.noise import estimate_noise, zero_level
from mrcascade.operators import KERNELS

SIDE = 64
ROWS, COLUMNS = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
BODY = ROWS**2 / 0.6 + COLUMNS**2 / 0.8 < 1
NOISE = 20.0


def clean() -> np.ndarray:
    return np.where(BODY, 600 + 200 * np.sin(2 * ROWS) + 100 * np.sign(np.sin(9 * COLUMNS)), 0)


def masked(seed: int = 0) -> np.ndarray:
    """Noise in the body, zeros in the air."""
    return clean() + BODY * np.random.default_rng(seed).normal(0, NOISE, BODY.shape)


def rician(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.abs(
        clean() + NOISE * (rng.normal(size=BODY.shape) + 1j * rng.normal(size=BODY.shape))
    )


@pytest.mark.parametrize(("slope", "offset"), [(1.0, -1024.0), (1.0, 3000.0), (0.005, -2.7)])
def test_zero_level_of_masked_air_is_exact(slope: float, offset: float) -> None:
    image = (slope * masked() + offset).astype(np.float32)
    assert zero_level([image]) == np.float32(offset)


@pytest.mark.parametrize(("slope", "offset"), [(1.0, -1024.0), (1.0, 3000.0), (0.005, -2.7)])
def test_zero_level_of_noisy_air_is_where_magnitudes_begin(slope: float, offset: float) -> None:
    """The smallest of 1,000 Rayleigh magnitudes or more is under 0.15 of the noise; it lies above
    sigma sqrt(2 t / n) with probability exp(-t), and t is 11 here."""
    image = (slope * rician() + offset).astype(np.float32)
    assert 0 <= zero_level([image]) - offset < 0.15 * slope * NOISE


def test_zero_level_of_normal_noise_is_in_its_middle() -> None:
    image = clean() + np.random.default_rng(0).normal(0, NOISE, BODY.shape)
    assert zero_level([image]) == 0
    # The median of 1,000 values is off by 1.25 sigma / sqrt(1000) = 0.04 sigma.
    assert zero_level([image - 1024]) == pytest.approx(-1024, abs=0.2 * NOISE)


def test_images_that_keep_zero() -> None:
    """Magnitudes; signed images, such as phase-sensitive ones, whose air is 0 or noise around it;
    complex images; a slice of tissue alone; a background of next to nothing; padding below an air
    of noise."""
    noise = np.random.default_rng(0).normal(0, NOISE, BODY.shape)
    signed = np.where(COLUMNS < 0, 1, -1) * clean()
    kept = [masked(), rician(), signed, signed + noise, clean() * 1j - 1024]
    kept += [600 + 40 * np.sin(9 * ROWS) + 40 * COLUMNS]
    kept += [masked() + 0.001 * masked().max()]
    kept += [np.pad(rician(), ((16, 0), (0, 0)), constant_values=-2000)]
    assert [zero_level([image]) for image in kept] == [0.0] * len(kept)


def test_a_crop_without_air_keeps_zero() -> None:
    """Deep brain, whose darkest places are ventricles, with values below 0 by interpolation."""
    path = files("nibabel") / "tests/data/anatomical.nii"
    voxels = nib.load(str(path)).get_fdata()
    assert [zero_level(np.moveaxis(voxels, axis, 0)) for axis in range(3)] == [0.0, 0.0, 0.0]


def test_an_intensity_goes_back_and_forth() -> None:
    unit = Intensity(4.0, -8.0)
    np.testing.assert_array_equal(unit.above_zero(np.array([-8.0, -4.0])), [0.0, 4.0])
    np.testing.assert_array_equal(unit.restored(np.array([0.0, 1.0])), [-8.0, -4.0])
    assert unit.window == (-8.0, -4.0)
    negative_zero = Intensity(1.0).restored(np.array([-0.0]))
    assert np.signbit(negative_zero[0])  # values without an offset keep every bit


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("factor", [2, 3, 4, (1, 2)])
def test_kernels_keep_constants(kernel: str, factor: float) -> None:
    """So that an offset of the image is one of its measurement, and the other way round."""
    operator = SeparableOperator.from_kernel(kernel, factor, (48, 48))
    constant = operator(torch.full((1, 48, 48), -1024.0, dtype=torch.float64))
    np.testing.assert_allclose(constant.numpy(), -1024.0, rtol=1e-12)


@pytest.mark.parametrize("mode", ["mean", "sample"])
@pytest.mark.parametrize(("slope", "offset"), [(1.0, -1024.0), (1 / 180, -2.7)])
def test_restoring_is_affine(prior: CascadePrior, slope: float, offset: float, mode: str) -> None:
    """Up to what float32 drops of 3,000: half of 2^-12 in the data, which the networks may
    enlarge."""
    operator = SeparableOperator.from_kernel("fourier", 2, (2 * SIDE, 2 * SIDE))
    image = masked().astype(np.float32)
    plain = super_resolve(image, operator, prior, noise=0.02, mode=mode)
    moved = (slope * image.astype(np.float64) + offset).astype(np.float32)
    found = super_resolve(moved, operator, prior, noise=0.02, mode=mode)
    np.testing.assert_allclose((found.mean - offset) / slope, plain.mean, atol=0.02)
    assert found.settings["zero"] == np.float32(offset)
    assert "zero" not in plain.settings
    assert found.settings["scale"] == pytest.approx(slope * plain.settings["scale"], rel=1e-5)
    np.testing.assert_allclose(found.residual, plain.residual, rtol=1e-3)


def test_rician_noise_with_an_offset(prior: CascadePrior) -> None:
    """The zero level is off by under 0.15 of the noise, and with it the result."""
    operator = SeparableOperator.from_kernel("fourier", 2, (2 * SIDE, 2 * SIDE))
    image = rician().astype(np.float32)
    plain = super_resolve(image, operator, prior)
    moved = super_resolve(image - 1024, operator, prior)
    np.testing.assert_allclose(moved.mean + 1024, plain.mean, atol=0.3 * NOISE)
    assert moved.settings["noise"] == pytest.approx(plain.settings["noise"], rel=0.1)


def test_a_part_of_a_volume_is_told_its_zero_level(prior: CascadePrior) -> None:
    operator = SeparableOperator.from_kernel("fourier", 2, (2 * SIDE, 2 * SIDE))
    image = (masked() - 1024).astype(np.float32)
    intensity = Intensity.of(image, zero=-1024.0)
    told = super_resolve(image, operator, prior, noise=0.0, intensity=intensity)
    found = super_resolve(image, operator, prior, noise=0.0)
    np.testing.assert_array_equal(told.mean, found.mean)
    alone = super_resolve(image, operator, prior, noise=0.0, intensity=Intensity(intensity.scale))
    assert "zero" not in alone.settings


def test_an_operator_that_changes_constants_has_no_zero_level(prior: CascadePrior) -> None:
    kept = SeparableOperator.from_kernel("fourier", 2, (2 * SIDE, 2 * SIDE))
    operator = SeparableOperator(2 * kept.rows, kept.cols, "doubling")
    image = (masked() - 1024).astype(np.float32)
    assert "zero" not in super_resolve(image, operator, prior, noise=0.0).settings
    intensity = Intensity.of(image, zero=-1024.0)
    with pytest.raises(MRCascadeError, match="doubling changes constants"):
        super_resolve(image, operator, prior, noise=0.0, intensity=intensity)


def save(path: Path, stack: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(stack.astype(np.float32), np.diag([1.0, 1.0, 3.0, 1.0])), path)
    return path


@pytest.mark.parametrize("offset", [-1024.0, 3000.0])
def test_sr_of_a_volume_with_an_offset(
    tmp_path: Path, prior_folder: Path, capsys: pytest.CaptureFixture[str], offset: float
) -> None:
    """One zero level for the volume, also for its slice without air."""
    stack = np.stack([masked(0), masked(1), 600 + 0 * clean()], -1)
    stack[..., 2] += np.random.default_rng(2).normal(0, NOISE, BODY.shape)
    results, notes, lines = {}, {}, {}
    for name, data in (("plain", stack), ("moved", stack + offset)):
        path = save(tmp_path / f"{name}.nii.gz", data)
        command = ["sr", str(path), "-o", str(tmp_path / name), "--factor", "2", "--noise", "0.02"]
        assert (
            main([*command, "--samples", "2", "--prior", str(prior_folder), "--device", "cpu"]) == 0
        )
        lines[name] = capsys.readouterr().out
        for kind in ("", "sample", "std"):
            result = nib.load(tmp_path / name / f"{name}_desc-sr2x{kind}.nii.gz")
            results[name, kind] = result.get_fdata()
        notes[name] = json.loads((tmp_path / name / f"{name}_desc-sr2x.json").read_text())
    assert main(["info", str(path)]) == 0
    lines["moved"] += capsys.readouterr().out
    # Seeds follow the bytes of the file, so that the samples differ: their measurement does not.
    down = SeparableOperator.from_kernel("fourier", 2, (2 * SIDE, 2 * SIDE))
    plain, moved = (torch.from_numpy(results[n, ""].transpose(2, 0, 1)) for n in ("plain", "moved"))
    error = (down(moved) - offset - down(plain)).square().mean().sqrt()
    assert error < NOISE
    assert results["moved", "std"].max() < 2 * results["plain", "std"].max()
    plain_settings, settings = (notes[n]["Settings"] for n in ("plain", "moved"))
    assert settings["Zero"] == offset
    assert "Zero" not in plain_settings
    assert settings["Scale"] == pytest.approx(plain_settings["Scale"], rel=1e-6)
    assert notes["moved"]["ResidualStored"] < 2 * notes["plain"]["ResidualStored"]
    assert f"have the value {offset:g}" in lines["moved"]
    assert f"above the zero level, {offset:g}" in lines["moved"]
    assert "warning" not in lines["moved"]
    assert "signal" not in lines["plain"]


@pytest.mark.parametrize("offset", [-1024.0, 3000.0])
def test_sr_mean_of_a_volume_with_an_offset(
    tmp_path: Path, prior_folder: Path, offset: float
) -> None:
    """The mean draws nothing, so that results are equal up to what float32 drops."""
    stack = np.stack([masked(0), masked(1)], -1)
    found = []
    for name, data in (("plain", stack), ("moved", stack + offset)):
        path = save(tmp_path / f"{name}.nii.gz", data)
        command = ["sr", str(path), "-o", str(tmp_path / name), "--factor", "2", "--noise", "0.02"]
        assert main([*command, "--prior", str(prior_folder), "--device", "cpu"]) == 0
        found.append(nib.load(tmp_path / name / f"{name}_desc-sr2x.nii.gz").get_fdata())
    np.testing.assert_allclose(found[1] - offset, found[0], atol=0.02)


def test_simulate_takes_noise_as_a_share_of_the_maximum_above_the_zero_level(
    tmp_path: Path,
) -> None:
    low = {}
    for name, offset in (("plain", 0.0), ("moved", -1024.0)):
        path = save(tmp_path / f"{name}.nii.gz", np.stack([masked(0), masked(1)], -1) + offset)
        for noise in ("0", "0.05"):
            output, options = tmp_path / noise, ["--factor", "2", "--noise", noise]
            assert main(["simulate", str(path), "-o", str(output), *options]) == 0
            image = nib.load(next(output.glob(f"{name}_desc-low*.nii.gz")))
            low[name, noise] = image.get_fdata()
    np.testing.assert_allclose(low["moved", "0"] + 1024, low["plain", "0"], atol=1e-3)
    spread = {name: (low[name, "0.05"] - low[name, "0"]).std() for name in ("plain", "moved")}
    # Of 2,048 pixels or more, each with a seed of its file: equal to 2 / sqrt(2 * 2048) = 3 %.
    assert spread["moved"] == pytest.approx(spread["plain"], rel=0.1)


def test_noise_of_a_volume_with_an_offset() -> None:
    plain, moved = ([rician(s) + o for s in range(3)] for o in (0.0, -1024.0))
    told = estimate_noise(moved, zero=-1024.0).sigma
    assert told == pytest.approx(estimate_noise(plain).sigma, rel=1e-6)
    assert estimate_noise(moved).sigma == pytest.approx(told, rel=0.05)
