"""A folder of fastMRI files as `--data`: splits by folder or patient, anatomies, evaluation."""

from __future__ import annotations

import csv
from pathlib import Path

import h5py
import numpy as np
import pytest
from fastmri_files import multicoil

from mrcascade.cli import main
from mrcascade.data.folder import list_data, read_slices
from mrcascade.evaluation.data import find_files, load_truth
from mrcascade.training.slices import load_volumes


def put(root: Path, name: str, patient: str | None = None, **more: object) -> Path:
    """A small file below `root`; without a patient its attributes are left out."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    without = () if patient else ("attributes",)
    multicoil(path, slices=2, coils=2, without=without, **more)
    if patient:
        with h5py.File(path, "a") as file:
            file.attrs["patient_id"] = patient
    return path


def test_fastmris_own_folders_are_splits(tmp_path: Path) -> None:
    names = {
        "knee/multicoil_train/file1000001.h5": ("knee", "train"),
        "brain/multicoil_val/file_brain_AXT2_200_2000020.h5": ("brain", "val"),
        "multicoil_test/file_brain_AXT1_1_1.h5": ("brain", "test"),
        "singlecoil_val/file1000002.h5": ("knee", "val"),
        "prostate/T2/validation/file_prostate_AXT2_001.h5": ("prostate", "val"),
        "training/file_prostate_AXT2_002.h5": ("prostate", "train"),
        "multicoil_train/other.h5": (tmp_path.name, "train"),
    }
    for name in names:
        put(tmp_path, name)
    found = {f.name: (f.group, f.split) for f in list_data(tmp_path, True, False)}
    assert found == names
    assert {v.file for v in load_volumes(tmp_path, 4, (2, 4)) if v.split == "val"} == {
        name for name, (_, split) in names.items() if split == "val"
    }
    assert [f.name for f in find_files(tmp_path, "test")] == [
        "multicoil_test/file_brain_AXT1_1_1.h5"
    ]


def test_a_folder_called_like_a_split_is_one_for_fastmri_alone(tmp_path: Path) -> None:
    (tmp_path / "my_test_scans").mkdir()
    np.save(tmp_path / "my_test_scans" / "x.npy", np.random.default_rng(0).random((8, 8, 2)))
    (file,) = list_data(tmp_path, True, False)
    assert (file.split, file.group) == (None, "my_test_scans")


def test_patients_are_kept_together(tmp_path: Path) -> None:
    """Where no folder says, a hash of the patient decides: 80, 10 and 10 % of them in the long
    run, of 60 some in each (none of 60 at 10 %: 0.9^60 = 0.2 %, for these names once and for
    all)."""
    for number in range(120):
        path = tmp_path / f"file{1000000 + number}.h5"
        with h5py.File(path, "w") as file:
            file["reconstruction_rss"] = np.ones((1, 8, 8), np.float32)
            file.attrs["patient_id"] = f"patient {number // 2}"
    splits = [file.split for file in list_data(tmp_path, True, False)]
    assert splits[0::2] == splits[1::2]
    counts = {split: splits.count(split) for split in ("train", "val", "test")}
    assert sum(counts.values()) == 120
    assert min(counts.values()) > 0
    assert counts["train"] > 60
    # A patient stays where it is when others come and go.
    for number in range(0, 100):
        (tmp_path / f"file{1000000 + number}.h5").unlink()
    assert [file.split for file in list_data(tmp_path, True, False)] == splits[100:]


def test_magnitudes_or_complex_images_at_the_acquired_matrix(tmp_path: Path) -> None:
    """Columns 8 to 31 of 40 are sampled, 24 about the centre: of the 32 that are kept of 40
    columns in the image, 24 / 40 * 32 = 19.2 carry signal."""
    path = put(tmp_path, "multicoil_val/file1000001.h5", keep=slice(8, 32))
    (magnitude,) = list_data(tmp_path, True, False)
    (complex_one,) = list_data(tmp_path, True, True)
    image, _, stack, acquired = read_slices(magnitude)
    assert (stack.shape, stack.dtype, acquired.matrix) == ((2, 32, 32), np.float32, (32, 19))
    other = read_slices(complex_one).stack
    assert other.dtype == np.complex64
    # ESPIRiT's maps have norm 1, so the magnitude is that of the coils together, up to the part of
    # their images that the maps do not explain.
    assert np.abs(np.abs(other) - stack).max() < 0.02 * stack.max()
    (file,) = find_files(tmp_path, "val", complex_images=False)
    assert file.path.paths == [path]
    truth = load_truth(file, (2.0, 2.0))
    assert truth.stack.shape == (2, 32, 18)
    # The same crop, by numpy alone: 19 of 32 samples about the centre, the mean kept.
    spectrum = np.fft.fftshift(np.fft.fft(stack, axis=2, norm="forward"), axes=2)[:, :, 7:26]
    cropped = np.fft.ifft(np.fft.ifftshift(spectrum, axes=2), axis=2, norm="forward").real
    np.testing.assert_allclose(truth.stack, cropped[:, :, :18], atol=1e-5 * stack.max())
    assert image.sha256 == truth.sha256


@pytest.mark.slow
def test_train_and_evaluate_from_the_command_line(
    tmp_path: Path, complex_prior: Path, prior_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    for split, number in (("train", 1), ("val", 2)):
        put(data, f"multicoil_{split}/file100000{number}.h5", size=(96, 72), recon=(64, 64))
    cache = tmp_path / "cache.hdf5"
    assert main(["cache", "--data", str(data), "--complex", "-o", str(cache)]) == 0
    assert {v.channels for v in load_volumes(cache, 4, (2, 4))} == {2}
    assert main(["train", "--data", str(cache), "--complex", "-o", str(tmp_path / "run")]) == 2
    assert "drop --complex here" in capsys.readouterr().err
    for prior, complex_columns in ((prior_folder, False), (complex_prior, True)):
        out = tmp_path / f"results-{complex_columns}"
        asked = ["evaluate", "--data", str(data), "--split", "val", "--factor", "2", "-o", str(out)]
        asked += ["--methods", "zero-fill,mean", "--prior", str(prior), "--device", "cpu"]
        asked += ["--noise-handling", "known"]
        assert main([*asked, "--anatomy-slices", "1"]) == 0
        with (out / "metrics.csv").open() as stream:
            rows = list(csv.DictReader(stream))
        assert [(r["anatomy"], r["method"]) for r in rows] == [
            ("knee", "zero-fill"),
            ("knee", "mean"),
        ]
        assert all(("nmse_complex" in row) == complex_columns for row in rows)
        assert all(float(row["residual"]) < 1e-5 for row in rows)
