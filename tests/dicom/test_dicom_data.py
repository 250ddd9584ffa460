"""DICOM series as data of training and evaluation."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from dicom_series import annotated, phantom, series

from mrcascade.cli import main
from mrcascade.data.folder import list_data, read_slices
from mrcascade.data.subjects import digest
from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.data import find_files, load_truth
from mrcascade.training.config import TrainConfig
from mrcascade.training.selection import describe_selection
from mrcascade.training.slices import load_volumes, read_folder


def test_a_series_counts_as_a_file_where_its_folder_lies(tmp_path: Path) -> None:
    pixels = phantom((3, 16, 20))
    for folder in ("brain/train/t1", "brain/test/t1", "knee/val", "t2"):
        series(tmp_path / folder, pixels)
    np.save(tmp_path / "brain/test/x.npy", pixels)
    found = {f.name: (f.group, f.split) for f in list_data(tmp_path, True, False)}
    assert found == {
        "brain/test/t1": ("brain", "test"),
        "brain/test/x.npy": ("brain", "test"),
        "brain/train/t1": ("brain", "train"),
        "knee/val": ("knee", "val"),
        "t2": (tmp_path.name, None),
    }
    (alone,) = list_data(tmp_path / "t2", True, False)
    assert (alone.name, alone.group) == ("t2", "t2")


def test_its_slices_are_those_of_the_same_array(tmp_path: Path) -> None:
    """The header's matrix 16 x 18 (rows, columns) of 32 x 36 pixels is what the image is cropped
    to, as a table would say of the same numbers in a file that says nothing."""
    (tmp_path / "test").mkdir()
    annotated(tmp_path / "test" / "t2", (3, 32, 36))
    pixels = phantom((3, 32, 36)).astype(np.float32)
    np.save(tmp_path / "test" / "same.npy", pixels.transpose(1, 2, 0))
    table = tmp_path / "matrices.csv"
    table.write_text("test/same.npy,16,18\n")
    plain, dicom = find_files(tmp_path, "test", table)
    image, _, stack, acquired = read_slices(dicom.data)
    np.testing.assert_array_equal(stack, pixels)
    assert (acquired.matrix, acquired.evidence) == ((16, 18), "its header")
    assert image.format == "dicom"
    truths = [load_truth(file, (2, 2)) for file in (plain, dicom)]
    np.testing.assert_array_equal(*(truth.stack for truth in truths))
    assert [truth.told_by for truth in truths] == ["table", "header"]


def test_training_and_a_manifest_take_series(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        series(tmp_path / "brain" / "train" / name, phantom((2, 16, 24)))
    assert [v.file for v in load_volumes(tmp_path, 4, (2, 4))] == [
        f"brain/train/{name}" for name in ("a", "b", "c")
    ]
    facts = [{"file": "brain/train/b", "effective_matrix": [8, 20]}]
    (tmp_path / "manifest.json").write_text(json.dumps(facts))
    (volume,) = read_folder(tmp_path, (2, 4))
    assert volume.slices.shape == (2, 8, 20)  # rows, columns
    (tmp_path / "manifest.json").write_text(json.dumps([{"file": "brain/train"}]))
    with pytest.raises(MRCascadeError, match="holds 3 DICOM series; name the folder of one"):
        load_volumes(tmp_path, 4, (2, 4))


def test_the_header_says_whose_series_it_is(tmp_path: Path) -> None:
    """As a digest: a subject's number is no one's business. One without a number is nobody's, and
    a BIDS name goes before the header."""
    for name, patient in (
        ("a/one", "4711"),
        ("b/two", "4711"),
        ("c/three", "4712"),
        ("d/four", "ANONYMOUS"),
        ("sub-01/five", "4711"),
    ):
        series(tmp_path / name, phantom((2, 16, 24)), PatientID=patient)
    found = {f.name: f.subject for f in list_data(tmp_path, True, False)}
    assert found["a/one"] == found["b/two"] == f"patient {digest('4711')}"
    assert found["c/three"] == f"patient {digest('4712')}"
    assert (found["d/four"], found["sub-01/five"]) == (None, "sub-01")
    volumes = load_volumes(tmp_path, 4, (2, 4))
    assert all(volume.private and len(volume.sha256) == 64 for volume in volumes)
    splits = {volume.file: volume.split for volume in volumes}
    assert splits["a/one"] == splits["b/two"]
    assert "4711" not in json.dumps(describe_selection(volumes, [], TrainConfig()))


@pytest.mark.slow
def test_evaluate_takes_a_folder_of_series(tmp_path: Path) -> None:
    for name in ("one", "two"):
        series(tmp_path / "data" / name, phantom((2, 32, 32)))
    out = tmp_path / "out"
    methods = ["--methods", "zero-fill,bicubic", "--factor", "2", "--workers", "2"]
    assert main(["evaluate", "--data", str(tmp_path / "data"), "-o", str(out), *methods]) == 0
    rows = list(csv.DictReader((out / "metrics.csv").open()))
    assert {row["file"] for row in rows} == {"one", "two"}
    assert len(rows) == 2 * 2 * 2


def test_what_cannot_be_told_apart_or_read_is_refused(tmp_path: Path) -> None:
    series(tmp_path / "exam", phantom((2, 16, 16)), SeriesNumber=2)
    for path in series(tmp_path / "tmp", phantom((2, 16, 16)), SeriesNumber=7).iterdir():
        path.rename(tmp_path / "exam" / f"x{path.name}")
    (tmp_path / "tmp").rmdir()
    with pytest.raises(MRCascadeError, match=r"exam holds several DICOM series, such as series 2"):
        list_data(tmp_path, True, False)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "a.dcm").write_bytes(b"nothing")
    with pytest.raises(MRCascadeError, match=r"a\.dcm"):
        list_data(broken, True, False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(MRCascadeError, match="no image found; give a folder with DICOM series"):
        list_data(tmp_path / "empty", True, False)
    with pytest.raises(MRCascadeError, match="no such folder"):
        list_data(tmp_path / "absent", True, False)
