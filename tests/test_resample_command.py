"""`mrcascade resample`: labels on the grid of a result, and back; types, headers, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mrcascade.cli import main
from mrcascade.io import read_labels, write_image
from tests.dicom.dicom_series import phantom, series

AFFINE = np.array([[0.0, 0, 3, -20], [-0.8, 0.1, 0, 30], [0.1, 0.8, 0, -40], [0, 0, 0, 1]])
SHAPE = (40, 36, 3)
KINDS = (np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64)


def save(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE, **header: object) -> Path:
    image = nib.Nifti1Image(data, affine, dtype=data.dtype)
    for key, value in header.items():
        image.header[key] = value
    nib.save(image, path)
    return path


def regions(shape: tuple[int, ...] = SHAPE, kind: type = np.uint8) -> np.ndarray:
    """Regions of several voxels with the largest value of the type, and single voxels of 1."""
    rng = np.random.default_rng(3)
    data = np.kron(rng.integers(0, 2, [n // 2 + 1 for n in shape]), np.ones([2] * len(shape)))
    result = data[tuple(map(slice, shape))].astype(kind) * np.iinfo(kind).max
    result[rng.random(shape) < 0.05] = 1
    return result


def scan(path: Path, shape: tuple[int, ...] = SHAPE) -> Path:
    return save(path, np.random.default_rng(4).random(shape).astype(np.float32) + 0.1)


def resample(*words: object) -> int:
    return main(["resample", *map(str, words)])


@pytest.mark.parametrize("kernel", ["fourier", "area"])
def test_labels_of_an_original_on_its_result_and_back(
    kernel: str, tmp_path: Path, prior_folder: Path, capsys: pytest.CaptureFixture
) -> None:
    original, out = scan(tmp_path / "t2.nii.gz"), tmp_path / "out"
    labels = save(tmp_path / "tumour.nii.gz", regions(), intent_code=1002, cal_max=5)
    words = [
        "--factor",
        "2",
        "--kernel",
        kernel,
        "--prior",
        prior_folder,
        "--noise",
        "0",
        "-o",
        out,
    ]
    assert main(["sr", str(original), *map(str, words)]) == 0
    result = out / "t2_desc-sr2x.nii.gz"
    assert resample(labels, "--like", result, "-o", out) == 0
    said = capsys.readouterr().out.splitlines()
    made = out / "tumour_desc-sr2x.nii.gz"
    assert f"tumour.nii.gz: 2 labels on {80} x {72} x 3 voxels, nearest" in said
    assert str(made) in said
    new, like = nib.load(made), nib.load(result)
    assert np.array_equal(new.affine, like.affine)
    assert new.shape == like.shape
    assert new.get_data_dtype() == np.uint8
    assert new.header["intent_code"] == 1002
    assert new.header["sform_code"] == like.header["sform_code"]
    assert new.header["scl_slope"] in (1, np.nan) or np.isnan(new.header["scl_slope"])
    back = tmp_path / "back.nii"
    assert resample(made, "--like", original, "-o", back) == 0
    assert "voxels of t2.nii.gz are up to 2 times as long" in capsys.readouterr().out
    assert np.array_equal(np.asarray(nib.load(back).dataobj), regions())
    assert nib.load(back).get_data_dtype() == np.uint8


@pytest.mark.parametrize("kind", KINDS)
def test_integers_keep_type_and_value(kind: type, tmp_path: Path) -> None:
    data = regions(kind=kind)
    labels, like = save(tmp_path / "a.nii", data), scan(tmp_path / "like.nii")
    assert resample(labels, "--like", like, "-o", tmp_path / "out.nii.gz") == 0
    stored = nib.load(tmp_path / "out.nii.gz")
    assert stored.get_data_dtype() == kind
    assert np.array_equal(np.asarray(stored.dataobj), data)
    again = read_labels(tmp_path / "out.nii.gz")
    write_image(again, tmp_path / "again.nii")
    assert np.array_equal(np.asarray(nib.load(tmp_path / "again.nii").dataobj), data)


def test_whole_floats_get_the_smallest_type(tmp_path: Path) -> None:
    like = scan(tmp_path / "like.nii")
    for most, kind in ((255, np.uint8), (256, np.int16), (-1, np.int16), (2.0**20, np.int32)):
        data = np.zeros(SHAPE)
        data[4:8] = most
        save(tmp_path / "a.nii", data)
        assert resample(tmp_path / "a.nii", "--like", like, "-o", tmp_path, "--overwrite") == 0
        stored = nib.load(tmp_path / "a_desc-resampled.nii.gz")
        assert stored.get_data_dtype() == kind
        assert np.array_equal(stored.get_fdata(), data)


def test_the_scaling_of_a_file_is_applied(tmp_path: Path) -> None:
    save(tmp_path / "a.nii", regions())
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[112:120] = np.array([2.0, 1.0], "<f4").tobytes()
    (tmp_path / "a.nii").write_bytes(raw)
    labels = read_labels(tmp_path / "a.nii")
    assert labels.data.dtype == np.int16
    assert np.array_equal(labels.data, regions().astype(np.int16) * 2 + 1)


def test_the_sidecar_and_the_lines_say_what_was_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    data = np.zeros(SHAPE, np.int16)
    data[5, 5, 0], data[20:24, 8, :] = 7, 9  # 1 and 12 voxels
    labels = save(tmp_path / "a.nii", data)
    cut = AFFINE.copy()
    cut[:3, 3] += AFFINE[:3, :3] @ [0, 0, 1]
    like = save(tmp_path / "like_desc-cut.nii", np.ones((40, 36, 3), np.float32), cut)
    assert resample(labels, "--like", like, "-o", tmp_path / "out") == 0
    out = capsys.readouterr().out
    assert "38.5 % of the labelled voxels lie outside like_desc-cut.nii" in out
    assert "no voxel of the result has label 7\n" in out
    assert "33.3 % of the voxels lie outside a.nii and are 0" in out
    facts = json.loads((tmp_path / "out" / "a_desc-cut.json").read_text())
    assert facts["Sources"] == ["a.nii"]
    assert facts["SpatialReference"] == "like_desc-cut.nii"
    assert facts["Files"] == {"Result": "a_desc-cut.nii.gz"}
    assert (facts["Kind"], facts["Method"]) == ("labels", "nearest")
    assert facts["LabelledOutside"] == pytest.approx(5 / 13)
    assert facts["LabelsLost"] == [7]


def test_no_labels_are_labels(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    labels = save(tmp_path / "a.nii", np.zeros(SHAPE, np.uint8))
    assert resample(labels, "--like", scan(tmp_path / "b.nii"), "-o", tmp_path / "c.nii") == 0
    assert "a.nii: no labels on 40 x 36 x 3 voxels" in capsys.readouterr().out


def test_bids_names(tmp_path: Path) -> None:
    labels = save(tmp_path / "sub-01_space-orig_dseg.nii.gz", regions())
    like = scan(tmp_path / "sub-01_desc-sr2x_T2w.nii.gz")
    assert resample(labels, "--like", like, "-o", tmp_path) == 0
    assert (tmp_path / "sub-01_space-orig_desc-sr2x_dseg.nii.gz").is_file()


def test_an_image_over_thick_slices(tmp_path: Path) -> None:
    fine = np.random.default_rng(0).random((40, 36, 12)).astype(np.float32)
    thin = AFFINE.copy()
    thin[:3, 2] /= 4
    thin[:3, 3] -= thin[:3, 2] * 1.5  # the edges of the slices meet
    image, like = save(tmp_path / "map.nii", fine, thin), scan(tmp_path / "t2.nii")
    words = ("--kind", "image", "--method", "mean")
    assert resample(image, "--like", like, "-o", tmp_path / "out.nii", *words) == 0
    stored = nib.load(tmp_path / "out.nii")
    assert stored.get_data_dtype() == np.float32
    expected = fine.astype(np.float64).reshape(*SHAPE, 4).mean(-1)
    # Places are known to some 1e-5 voxels, and neighbours differ by 1 at most.
    np.testing.assert_allclose(stored.get_fdata(), expected, atol=5e-5)


def test_a_time_series_keeps_its_time(tmp_path: Path) -> None:
    moving = np.stack([regions(), regions()[::-1]], -1)
    labels = save(tmp_path / "a.nii", moving, pixdim=[1, 1, 1, 1, 2.5, 0, 0, 0], xyzt_units=10)
    like = scan(tmp_path / "like.nii")
    assert resample(labels, "--like", like, "-o", tmp_path / "out.nii.gz") == 0
    stored = nib.load(tmp_path / "out.nii.gz")
    assert np.array_equal(np.asarray(stored.dataobj), moving)
    assert stored.header["pixdim"][4] == 2.5
    assert stored.header.get_xyzt_units()[1] == "sec"
    assert np.array_equal(stored.affine, nib.load(like).affine)


def test_blocks_of_a_large_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels, like = save(tmp_path / "a.nii", regions()), scan(tmp_path / "like.nii", (50, 30, 4))
    for method in ("nearest", "linear"):
        words = ("--like", like, "--method", method, "-o")
        assert resample(labels, *words, tmp_path / f"{method}.nii") == 0
        with monkeypatch.context() as patch:
            patch.setattr("mrcascade.io.blocks.BLOCK_VOXELS", 700)
            assert resample(labels, *words, tmp_path / f"{method}-blocks.nii") == 0
        one, other = (tmp_path / f"{method}{end}.nii" for end in ("", "-blocks"))
        assert one.read_bytes() == other.read_bytes()


def test_labels_on_a_dicom_series(tmp_path: Path) -> None:
    folder = tmp_path / "scan"
    series(folder, phantom((2, 24, 20)))
    assert resample(folder, "--like", folder, "--kind", "image", "-o", tmp_path / "i.nii") == 0
    image = nib.load(tmp_path / "i.nii")
    data = (image.get_fdata() > 500).astype(np.uint8)
    labels = save(tmp_path / "a.nii", data, image.affine)
    assert resample(labels, "--like", folder, "-o", tmp_path / "out.nii.gz") == 0
    assert 0 < data.mean() < 1
    assert np.array_equal(nib.load(tmp_path / "out.nii.gz").get_fdata(), data)


def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    labels, like = save(tmp_path / "a.nii", regions()), scan(tmp_path / "like.nii")
    np.save(tmp_path / "a.npy", regions())
    wave = save(tmp_path / "wave.nii", regions().astype(np.complex64) * 1j)
    half = save(tmp_path / "half.nii", regions() / 2)
    away = save(tmp_path / "away.nii", regions(), np.diag([1.0, 1, 1, 1]) + 1e3 * np.eye(4, k=3))
    out = tmp_path / "out"
    for words, said in (
        ((tmp_path / "a.npy", "--like", like), "a.npy does not say where its voxels lie"),
        ((labels, "--like", tmp_path / "a.npy"), "a.npy does not say where its voxels lie"),
        ((wave, "--like", like), "wave.nii holds complex values, not labels"),
        ((wave, "--like", like, "--kind", "image"), "wave.nii is complex"),
        ((half, "--like", like), "half.nii holds 127.5, and labels are whole numbers"),
        ((away, "--like", like), "away.nii and"),
        ((labels, "--like", tmp_path / "none.nii"), "none.nii does not exist"),
        ((tmp_path / "none.nii", "--like", like), "none.nii does not exist"),
        ((labels, "--like", like, "-o", tmp_path / "x.npy"), "ends in .nii.gz or .nii"),
        ((labels, "--like", like, "-o", labels), "a.nii"),
        ((labels, "--like", like, "-o", labels, "--overwrite"), "a.nii is itself an input"),
        ((labels, "--like", like, "-o", like, "--overwrite"), "like.nii is itself an input"),
    ):
        before = sorted(tmp_path.rglob("*"))
        assert resample(*words, *(() if "-o" in words else ("-o", out))) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
        assert sorted(tmp_path.rglob("*")) == before


def test_results_are_replaced_only_when_asked_and_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    labels, like = save(tmp_path / "a.nii", regions()), scan(tmp_path / "like.nii")
    words = (labels, "--like", like, "-o", tmp_path / "out.nii")
    (tmp_path / "out.nii").write_text("precious")
    assert resample(*words, "--overwrite") == 2
    assert (tmp_path / "out.nii").read_text() == "precious"
    (tmp_path / "out.nii").unlink()
    assert resample(*words) == 0
    assert resample(*words) == 2
    assert "already exists" in capsys.readouterr().err
    assert resample(*words, "--overwrite") == 0
