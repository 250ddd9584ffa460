"""`sr --isotropic`: results, sidecars, resumption and batches."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from tests.conftest import write_random_prior
from thick_images import AFFINE, phantom, thick_file

import mrcascade
from mrcascade.operators.profile import SliceProfile
from mrcascade.prior.cascade import CascadePrior
from mrcascade.restore.volume import ThickSlices, least_squares

EXACT = ("--noise", "0", "--mode", "mean")


def sidecar(folder: Path, name: str = "a_desc-sriso") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "out" / f"{name}.json").read_text())
    return found


def result(folder: Path, name: str = "a_desc-sriso") -> np.ndarray:
    found: np.ndarray = nib.load(folder / "out" / f"{name}.nii.gz").get_fdata()
    return found


def missed(volume: np.ndarray, slices: np.ndarray, thick: ThickSlices) -> float:
    """Relative residual of (..., n) by an independent product."""
    error = np.einsum("sn,hwn->hws", thick.matrix(), volume) - slices
    return float(np.linalg.norm(error) / np.linalg.norm(slices))


def test_every_slice_is_kept(tmp_path: Path, sr: Callable, capsys) -> None:
    data = phantom()
    path = thick_file(tmp_path / "a.nii.gz", data)
    before = path.read_bytes()
    assert sr(path, *EXACT) == 0
    printed = capsys.readouterr().out
    assert "6 slices of 4 mm (assumed: as thick as they are apart)" in printed
    assert "become 24 of 1 mm; gaussian profile" in printed
    assert path.read_bytes() == before
    names = {f"a_desc-sriso{ending}" for ending in (".nii.gz", ".png", ".json")}
    assert {p.name for p in (tmp_path / "out").iterdir()} == names
    volume, told = result(tmp_path), sidecar(tmp_path)
    assert volume.shape == (36, 32, 24)
    thick = ThickSlices(6, 24)
    # Slices and results are float32.
    assert missed(volume, data, thick) < 1e-6
    assert told["Residual"] < 1e-6
    assert told["ResidualStored"] < 1e-6
    assert told["ThickSlices"] == {
        "Axis": 2,
        "Slices": 6,
        "SliceThickness": pytest.approx(4),
        "SliceThicknessOrigin": "assumed: as thick as they are apart",
        "SpacingBetweenSlices": pytest.approx(4),
        "Profile": "gaussian",
        "SpacingAsked": pytest.approx(1.0),
    }
    assert told["SliceThickness"] == told["SpacingBetweenSlices"] == pytest.approx(1)
    assert told["Settings"]["Name"] == "mean"
    assert set(told["EvaluationsPerPlane"]) == {"1", "2", "3"}
    assert told["Request"]["Isotropic"]["Thickness"] is None
    assert told["InPlaneMatrix"] == [36, 32]
    assert "not for diagnosis" in told["Description"]
    expected = AFFINE.copy()
    expected[:3, 2] /= 4
    expected[:3, 3] -= AFFINE[:3, 2] * 3 / 8  # half a slice less half a new one
    np.testing.assert_allclose(
        nib.load(tmp_path / "out" / "a_desc-sriso.nii.gz").affine, expected, atol=1e-5
    )


def test_pixels_below_an_eighth_of_the_distance_give_eight_slices_for_each(
    tmp_path: Path, sr: Callable, capsys
) -> None:
    path = thick_file(tmp_path / "a.nii.gz", phantom(), np.diag([0.4, 0.4, 4.0, 1.0]))
    assert sr(path, "--mode", "lsq") == 0
    assert "would be more than 8 for each; the new ones are 0.5 mm" in capsys.readouterr().out
    assert result(tmp_path).shape == (36, 32, 48)
    assert sidecar(tmp_path)["SpacingBetweenSlices"] == pytest.approx(0.5)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("direction", [1, -1])
def test_slices_may_follow_any_axis_either_way(
    axis: int, direction: int, tmp_path: Path, prior: CascadePrior
) -> None:
    data, affine = phantom(), AFFINE.copy()
    if direction < 0:
        data, affine[:3, 3] = data[..., ::-1], affine[:3, 3] + 5 * affine[:3, 2]
        affine[:3, 2] *= -1
    order = [0, 1]
    order.insert(axis, 2)
    moved = thick_file(tmp_path / "a.nii", data.transpose(order), affine[:, [*order, 3]])
    made = mrcascade.make_isotropic_file(moved, tmp_path / "out", prior, mode="lsq")
    thin = nib.load(made[0])
    volume = thin.get_fdata().transpose(np.argsort(order))[..., ::direction]
    expected = least_squares(phantom().transpose(2, 0, 1), ThickSlices(6, 24))
    # Rounding of float32 values up to 900.
    np.testing.assert_allclose(volume, expected.transpose(1, 2, 0), atol=2e-3)
    assert thin.shape[axis] == 24


def test_samples_have_a_mean_and_a_deviation(tmp_path: Path, prior: CascadePrior) -> None:
    data = phantom((36, 32, 12))
    path = thick_file(tmp_path / "a.nii.gz", data)
    options: dict[str, Any] = {"samples": 2, "steps": 4, "noise": 0.0, "spacing": 1.5}
    said: list[str] = []
    made = mrcascade.make_isotropic_file(path, tmp_path / "out", prior, say=said.append, **options)
    label = "a_desc-sriso1p5mm"
    endings = (".nii.gz", "sample.nii.gz", "std.nii.gz", ".png", ".json")
    assert [p.name for p in made] == [f"{label}{ending}" for ending in endings]
    mean, sample, std = (nib.load(p).get_fdata() for p in made[:3])
    assert mean.shape == sample.shape == std.shape == (36, 32, 32)
    for volume in (mean, sample):
        assert missed(volume, data, ThickSlices(12, 32)) < 1e-5
    assert std.max() > 0
    # The deviation of two samples is their distance over the root of 2, times a factor.
    spread = json.loads(made[-1].read_text())["Settings"].get("Spread", 1.0)
    np.testing.assert_allclose(std, np.abs(mean - sample) * np.sqrt(2) * spread, atol=2e-3)
    assert any("evaluations per plane and sample" in line for line in said)


def test_planes_may_be_enlarged_first(tmp_path: Path, sr: Callable, capsys) -> None:
    path = thick_file(tmp_path / "a.nii.gz")
    assert sr(path, "--isotropic", "--factor", "2", *EXACT) == 0
    assert "in plane: " in capsys.readouterr().out
    volume, told = result(tmp_path, "a_desc-sr2xiso"), sidecar(tmp_path, "a_desc-sr2xiso")
    assert volume.shape == (72, 64, 48)  # pixels of 0.5 mm
    assert told["InPlane"]["Residual"] < 1e-5
    assert told["Residual"] < 1e-6
    # Seen through thick slices and a smaller k-space, the result is the input.
    seen = np.einsum("sn,hwn->shw", ThickSlices(6, 48).matrix(), volume)
    operator = mrcascade.SeparableOperator.from_kernel("fourier", 2, (72, 64))
    low = operator @ seen
    error = np.linalg.norm(low - phantom().transpose(2, 0, 1)) / np.linalg.norm(phantom())
    assert error < 1e-5
    assert told["Resolution"].startswith("in-plane matrix enlarged by 2 x 2, slices ")


@pytest.mark.parametrize("stated", ["thick", -3, [3]])
def test_a_thickness_that_is_no_length_is_told(
    tmp_path: Path, sr: Callable, capsys, stated
) -> None:
    path = thick_file(tmp_path / "a.nii", SliceThickness=stated)
    assert sr(path, "--mode", "lsq") == 0
    line = "warning: SliceThickness by the JSON file beside it is no length, and does not count"
    assert line in capsys.readouterr().out
    assert sidecar(tmp_path)["ThickSlices"]["SliceThickness"] == pytest.approx(4)


def test_what_is_stated_of_the_slices_counts(tmp_path: Path, sr: Callable, capsys) -> None:
    """A slice profile file, a thickness and a contradiction, and where each is from."""
    path = thick_file(tmp_path / "a.nii", SliceThickness=3.0, SpacingBetweenSlices=1.0)
    profile = tmp_path / "profile.txt"
    profile.write_text("# position; weight\n-0.5; 0\n\n0, 2\n0.5 0\n")
    assert sr(path, "--mode", "lsq", "--slice-profile", profile) == 0
    printed = capsys.readouterr().out
    assert "6 slices of 3 mm (by the JSON file beside it)" in printed
    assert "warning: SpacingBetweenSlices is 1 mm by the JSON file beside it, but" in printed
    assert "warning: between slices are gaps of 1 mm, which nothing measured" in printed
    told = sidecar(tmp_path)
    assert told["ThickSlices"]["Profile"] == "measured"
    assert len(told["ThickSlices"]["Notes"]) == 2
    assert told["Request"]["Isotropic"]["Profile"]["Weights"] == [0, 2, 0]
    triangle = SliceProfile("measured", (-0.5, 0.0, 0.5), (0.0, 2.0, 0.0))
    expected = ThickSlices(6, 24, triangle, 3 / 4)
    assert missed(result(tmp_path), phantom(), expected) < 1e-6
    assert sr(path, "--mode", "lsq", "--slice-thickness", "5", "--overwrite") == 0
    printed = capsys.readouterr().out
    assert "6 slices of 5 mm (--slice-thickness)" in printed
    assert "warning: slices overlap by 1 mm" in printed


def test_each_volume_of_a_series_is_restored(tmp_path: Path, prior: CascadePrior) -> None:
    data = np.stack([phantom(seed=s) for s in range(2)], -1)
    path = thick_file(tmp_path / "a.nii.gz", data)
    made = mrcascade.make_isotropic_file(path, tmp_path / "out", prior, mode="lsq")
    volumes = nib.load(made[0]).get_fdata()
    for k in range(2):
        expected = least_squares(data[..., k].transpose(2, 0, 1), ThickSlices(6, 24))
        np.testing.assert_allclose(volumes[..., k], expected.transpose(1, 2, 0), atol=2e-3)


def test_complex_volumes_stay_complex(tmp_path: Path) -> None:
    prior = CascadePrior.from_pretrained(write_random_prior(tmp_path / "complex", channels=2))
    data = (phantom((36, 32, 12)) * np.exp(1j * np.linspace(0, 3, 12))).astype(np.complex64)
    path = thick_file(tmp_path / "a.nii.gz", data)
    options: dict[str, Any] = {"noise": 0.0, "mode": "mean", "spacing": 2.0}
    made = mrcascade.make_isotropic_file(path, tmp_path / "out", prior, **options)
    volume = np.asanyarray(nib.load(made[0]).dataobj)
    assert volume.dtype == np.complex64
    error = np.einsum("sn,hwn->hws", ThickSlices(12, 24).matrix(), volume) - data
    assert np.linalg.norm(error) < 1e-5 * np.linalg.norm(data)


def test_a_batch_goes_on_and_skips_what_is_done(tmp_path: Path, sr: Callable, capsys) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    thick_file(folder / "a.nii.gz")
    thick_file(folder / "b.nii.gz", phantom(seed=1))
    thick_file(folder / "c.nii.gz", phantom((36, 32, 2)))
    assert sr(folder, "--mode", "lsq") == 1
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert [one["Status"] for one in record["Results"]] == ["done", "done", "failed"]
    assert "2 slices" in record["Results"][2]["Error"]
    assert record["Request"]["Isotropic"]["Spacing"] is None
    (folder / "c.nii.gz").unlink()
    (tmp_path / "out" / "b_desc-sriso.json").unlink()
    capsys.readouterr()
    assert sr(folder, "--mode", "lsq", "--resume") == 1  # a result without its sidecar
    for left in (tmp_path / "out").glob("b_*"):
        left.unlink()
    assert sr(folder, "--mode", "lsq", "--resume") == 0
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert [one["Status"] for one in record["Results"]] == ["skipped", "done"]
    capsys.readouterr()
    assert sr(folder, "--mode", "lsq", "--resume", "--slice-profile", "rect") == 2
    assert "come from other isotropic" in capsys.readouterr().err
    # Results are no inputs.
    assert sr(tmp_path / "out", "--mode", "lsq") == 2
    assert "every image in it is a result of sr" in capsys.readouterr().err


def test_a_dry_run_says_sizes_and_writes_nothing(tmp_path: Path, sr: Callable, capsys) -> None:
    path = thick_file(tmp_path / "a.nii.gz")
    assert sr(path, "--dry-run", "--mode", "lsq") == 0
    printed = capsys.readouterr().out
    assert "36 x 32 x 6 -> 36 x 32 x 24, 0 network evaluations" in printed
    assert "become 24 of 1 mm" in printed
    assert not (tmp_path / "out").exists()
