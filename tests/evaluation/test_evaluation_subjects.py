"""Subjects of a test set: their count, overlap with the training data, and the warning."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import write_random_prior

from mrcascade.cli import main
from mrcascade.data.folder import DataFile
from mrcascade.data.subjects import digest
from mrcascade.evaluation.data import TestFile
from mrcascade.evaluation.job import Surveyed
from mrcascade.evaluation.subjects import (
    Seen,
    describe_subjects,
    notes_on_subjects,
    read_subjects,
)

SUBJECTS = {
    "brain/test/a_t1.npy": "anna",
    "brain/test/a_t2.npy": "anna",
    "brain/test/b_t1.npy": "berta",
    "knee/test/c_1.npy": "clara",
    "knee/test/c_2.npy": "clara",
    "knee/train/c_3.npy": "clara",
    "brain/train/d_1.npy": "dora",
}
FILES = [name for name in SUBJECTS if "/test/" in name]


def surveyed(name: str) -> Surveyed:
    file = TestFile(DataFile(Path(name), name, name.split("/")[0], None, False, {}), None)
    return Surveyed(file, np.array([0]), np.array([1.0]), 50, 10.0, 0, "1")


SURVEY = [surveyed(name) for name in FILES]


def test_people_are_counted_not_files() -> None:
    assert describe_subjects(SURVEY, SUBJECTS) == "brain 2 (3 files), knee 1 (2 files)"
    known = {"brain/test/a_t1.npy": "anna", "brain/test/a_t2.npy": "anna"}
    assert describe_subjects(SURVEY, known) == (
        "brain 2 (3 files), knee 2 (2 files); 3 files of unknown subjects count as one each"
    )


def notes(**provenance: list[str]) -> list[str]:
    return notes_on_subjects(SURVEY, SUBJECTS, Seen.by([provenance]))


def test_one_person_and_people_of_the_training_are_named() -> None:
    single, seen = notes(files=["knee/train/c_3.npy", "brain/train/d_1.npy"])
    assert single.startswith("One subject each: knee.")
    assert seen.startswith("Careful: 2 of 5 files (knee) are of subjects that a prior was trained")
    assert "same files" not in seen
    (single,) = notes(files=["brain/train/d_1.npy"])
    assert "knee" in single
    _, seen = notes(files=["knee/test/c_1.npy"])
    assert "2 of 5 files (knee)" in seen
    assert "1 of them, such as knee/test/c_1.npy, are the same files" in seen


@pytest.mark.parametrize("kind", ["", "validation_"])
def test_digests_name_people_and_contents_wherever_they_lie(kind: str) -> None:
    """Of a prior with digests the names of files say nothing: other folders have them too."""
    known = {f"{kind}contents": ["0" * 16], f"{kind}files": ["brain/test/b_1.npy"]}
    (single,) = notes(**known)
    assert single.startswith("One subject each")
    _, seen = notes(**known, **{f"{kind}subjects": [digest("anna")]})
    assert "2 of 5 files (brain) are of subjects" in seen
    _, seen = notes(**{f"{kind}contents": [SURVEY[0].sha256[:16]]})
    assert "5 of 5 files" in seen  # the survey's files share one hash
    assert "5 of them" in seen


def test_a_manifest_need_not_name_people(tmp_path: Path) -> None:
    assert read_subjects(tmp_path) == {}
    entries = [
        {"file": "a.npy", "subject": "anna"},
        {"file": "b.npy"},
        {"file": "c", "subject": ""},
    ]
    (tmp_path / "manifest.json").write_text(json.dumps(entries))
    assert read_subjects(tmp_path) == {"a.npy": "anna"}


def test_an_evaluation_says_whom_it_is_of(
    test_set: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("brain/test/a_1.npy", "brain/test/b_1.npy", "knee/test/c_1.npy", "knee/test/c_2.npy")
    root = test_set(names)
    entries = [{"file": name, "subject": name.split("/")[2][0]} for name in names]
    entries.append({"file": "knee/train/c_3.npy", "subject": "c"})
    test_set(("knee/train/c_3.npy",))
    (root / "manifest.json").write_text(json.dumps(entries))
    prior = write_random_prior(tmp_path / "prior")
    document = json.loads((prior / "prior.json").read_text())
    document["provenance"]["files"] = ["knee/train/c_3.npy"]
    (prior / "prior.json").write_text(json.dumps(document))
    output = tmp_path / "out"
    command = ["evaluate", "--data", str(root), "--methods", "zero-fill,mean", "-o", str(output)]
    assert main([*command, "--factor", "2", "--prior", str(prior), "--device", "cpu"]) == 0
    told = " ".join("".join(capsys.readouterr()).split())
    for text in (told, (output / "table.md").read_text()):
        assert "One subject each: knee." in text
        assert "Careful: 2 of 4 files (knee) are of subjects that a prior was trained" in text
    assert "**Subjects:** brain 2 (2 files), knee 1 (2 files)" in (output / "table.md").read_text()
    table = json.loads((output / "table.json").read_text())
    groups = {(g["name"], g["method"]): g for g in table["slices"]}
    assert groups["knee", "mean"]["metrics"]["psnr_slice"]["low"] is None
    assert groups["brain", "mean"]["metrics"]["psnr_slice"]["low"] is not None
    assert table["subjects"]["knee/test/c_2.npy"] == "c"
