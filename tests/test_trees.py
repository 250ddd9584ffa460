"""Folders as inputs: results keep the sub-folders of their inputs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mrcascade.cli import main
from mrcascade.jobs import find_inputs
from tests.conftest import take_name

Sr = Callable[..., int]


@pytest.fixture
def sr(tmp_path: Path, prior_folder: Path) -> Sr:
    fixed = ["--factor", "2", "--noise", "0", "--device", "cpu", "--prior", str(prior_folder)]

    def call(*arguments: object, output: str = "out") -> int:
        return main(["sr", *map(str, arguments), "-o", str(tmp_path / output), *fixed])

    return call


def volume(path: Path, seed: int, affine: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = 60 + 15 * np.random.default_rng(seed).normal(size=(16, 18, 3))
    nib.save(nib.Nifti1Image(values.astype(np.float32), affine), path)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two images of one name, on grids that differ."""
    root = tmp_path / "in"
    for seed, name in enumerate(("anna/t2.nii.gz", "bert/day 2/t2.nii.gz", "t2.nii.gz")):
        volume(root / name, seed, np.diag([1.0 + seed, 2.0 + seed, 9, 1]))
    return root


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_results_mirror_the_tree(tree: Path, tmp_path: Path, sr: Sr, capsys) -> None:
    assert sr(tree) == 0
    output = tmp_path / "out"
    endings = (".nii.gz", ".png", ".json")
    places = ("anna", "bert/day 2", ".")
    expected = {(Path(p) / f"t2_desc-sr2x{e}").as_posix() for p in places for e in endings}
    assert files(output) == expected | {"run.json"}
    for seed, place in enumerate(places):
        affine = nib.load(output / place / "t2_desc-sr2x.nii.gz").affine
        # Fourier keeps the centre of voxel 0 and halves the in-plane steps.
        np.testing.assert_array_equal(affine, np.diag([(1 + seed) / 2, (2 + seed) / 2, 9, 1]))
    first = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in first if re.match("[1-3]/3 ", line)] == [
        "1/3 anna/t2.nii.gz",
        "2/3 bert/day 2/t2.nii.gz",
        "3/3 t2.nii.gz",
    ]
    record = json.loads((output / "run.json").read_text())["Results"]
    assert record[1]["Outputs"][0] == "bert/day 2/t2_desc-sr2x.nii.gz"

    before = {p: p.stat().st_mtime_ns for p in output.rglob("*.nii.gz")}
    take_name(output / "anna" / "t2_desc-sr2x.json")
    assert sr(tree, "--resume") == 0
    assert "3 files: 1 done, 2 skipped" in capsys.readouterr().out
    changed = {p for p in before if p.stat().st_mtime_ns != before[p]}
    assert changed == {output / "anna" / "t2_desc-sr2x.nii.gz"}


def test_what_is_named_itself_has_no_folder(tree: Path, tmp_path: Path, sr: Sr) -> None:
    # As Windows' editors write text, with a mark at its begin.
    (tmp_path / "list.txt").write_text("in/anna/t2.nii.gz\n", encoding="utf-8-sig")
    items = find_inputs([tmp_path / "list.txt", tree / "bert"])
    assert [(str(item), item.folder) for item in items] == [
        (str(tree / "anna/t2.nii.gz"), Path()),
        (str(tree / "bert/day 2/t2.nii.gz"), Path("day 2")),
    ]
    assert sr(tree / "anna") == 0
    assert (tmp_path / "out" / "t2_desc-sr2x.nii.gz").exists()


def test_two_trees_that_meet_are_refused(tree: Path, sr: Sr, capsys) -> None:
    assert sr(tree / "anna", tree / "anna" / "t2.nii.gz", "--dry-run") == 0  # the same file
    capsys.readouterr()
    assert sr(tree / "anna", tree / "bert" / "day 2", "--dry-run") == 2
    assert "would both write" in capsys.readouterr().err


def test_results_inside_the_tree_are_no_inputs(tree: Path, sr: Sr) -> None:
    assert sr(tree, output="in/done") == 0
    before = files(tree)
    assert sr(tree, "--resume", output="in/done") == 0
    assert files(tree) == before


def test_nothing_is_left_where_nothing_was_written(tmp_path: Path, sr: Sr) -> None:
    (tmp_path / "in" / "a").mkdir(parents=True)
    np.save(tmp_path / "in" / "a" / "flat.npy", np.ones((16, 16), np.float32))
    assert sr(tmp_path / "in") == 2
    assert files(tmp_path) == {"in/a/flat.npy"}
    assert not (tmp_path / "out").exists()
