"""Results without `-o`: beside their inputs, of a BIDS dataset in its derivatives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mrcascade.cli import main
from mrcascade.cli.places import beside_inputs, folder_beside
from mrcascade.errors import MRCascadeError
from mrcascade.io import read_image, write_image
from mrcascade.jobs import find_inputs
from tests.bids.bids_dataset import dataset
from tests.dicom.dicom_series import phantom, series

RNG = np.random.default_rng(3)


@pytest.fixture
def sr(prior_folder: Path) -> Callable[..., int]:
    def call(*words: object) -> int:
        fixed = ["--prior", prior_folder, "--device", "cpu", "--factor", "2", "--noise", "0.01"]
        return main([str(word) for word in ("sr", *words, *fixed)])

    return call


def image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, RNG.normal(100, 1, size=(16, 16)).astype(np.float32))
    return path


def below(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def places(*named: Path) -> list[Path]:
    output, items = beside_inputs(find_inputs(named), named)
    return [output / item.folder for item in items]


def test_a_file_has_its_result_beside_it(tmp_path: Path, sr: Callable, capsys) -> None:
    path = image(tmp_path / "in" / "sub-01_T2w.npy")
    before = path.read_bytes()
    assert sr(path) == 0
    made = ["sub-01_desc-sr2x_T2w.json", "sub-01_desc-sr2x_T2w.npy", "sub-01_desc-sr2x_T2w.png"]
    assert below(tmp_path) == [f"in/{name}" for name in sorted((*made, "sub-01_T2w.npy"))]
    # Never replaced unasked, and the input never.
    result = path.parent / made[1]
    kept = result.read_bytes()
    capsys.readouterr()
    assert sr(path) == 2
    assert f"{result} already exists" in capsys.readouterr().err
    assert (result.read_bytes(), path.read_bytes()) == (kept, before)
    assert sr(path, "--resume") == 0
    assert "already done" in capsys.readouterr().out


def test_a_relative_name(tmp_path: Path, sr: Callable, monkeypatch, capsys) -> None:
    image(tmp_path / "a.npy")
    monkeypatch.chdir(tmp_path)
    assert sr("a.npy") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "a_desc-sr2x.json"


def test_a_dry_run_tells_of_a_result_that_exists(tmp_path: Path, sr: Callable, capsys) -> None:
    path = image(tmp_path / "a.npy")
    taken = image(tmp_path / "a_desc-sr2x.npy")
    for named in ([], ["-o", tmp_path], ["-o", taken]):
        assert sr(path, "--dry-run", *named) == 0
        printed = capsys.readouterr()
        assert printed.err == ""
        (told,) = (line for line in printed.out.splitlines() if line.startswith(str(path)))
        assert "16 x 16 -> 32 x 32" in told
        assert told.endswith(
            f"; {taken} already exists, so sr refuses: use --overwrite or choose another folder"
        )
    assert sr(path, "--dry-run", "-o", tmp_path / "new") == 0
    assert "already exists" not in capsys.readouterr().out
    # A stranger's file is not replaced with --overwrite either, and a dry run says so.
    assert sr(path, "--dry-run", "--overwrite") == 2
    assert f"{taken} is not known as a file of mrcascade" in capsys.readouterr().err


def test_a_folder_s_images(tmp_path: Path) -> None:
    for name in ("a.npy", "s/b.npy", "s/t/c.npy"):
        image(tmp_path / name)
    expected = [tmp_path, tmp_path / "s", tmp_path / "s" / "t"]
    assert places(tmp_path) == expected
    assert places(tmp_path / "s" / "b.npy") == [tmp_path / "s"]
    assert places(tmp_path / "s") == expected[1:]
    assert folder_beside([tmp_path]) is None


def test_several_inputs_of_one_folder(tmp_path: Path) -> None:
    a, b = image(tmp_path / "a.npy"), image(tmp_path / "b.npy")
    assert places(a, b) == [tmp_path, tmp_path]
    assert folder_beside([a, b]) == tmp_path


def test_one_folder_may_have_two_names(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.npy", "b.npy"):
        np.save(tmp_path / "in" / name, np.ones((8, 8), np.float32))
    monkeypatch.chdir(tmp_path)
    named = [Path("in/a.npy"), tmp_path / "in" / "b.npy"]
    output, items = beside_inputs(find_inputs(named), named)
    assert output == tmp_path / "in"
    assert [item.folder for item in items] == [Path(), Path()]
    assert folder_beside(named).resolve() == tmp_path / "in"


def test_inputs_of_several_folders_need_a_folder(tmp_path: Path, sr: Callable, capsys) -> None:
    a, b = image(tmp_path / "1" / "a.npy"), image(tmp_path / "2" / "b.npy")
    assert sr(a, b) == 2
    error = capsys.readouterr().err
    assert f"the inputs lie in several folders, {a.parent} and {b.parent} among them" in error
    assert error.endswith("-o DIR\n")
    (tmp_path / "list.txt").write_text("1/a.npy\n2/b.npy\n")
    for named in ([tmp_path / "list.txt"], [tmp_path / "1", tmp_path / "2"]):
        with pytest.raises(MRCascadeError, match="in several folders"):
            places(*named)
    assert below(tmp_path) == ["1/a.npy", "2/b.npy", "list.txt"]


def test_a_bids_dataset_gets_a_derivative(tmp_path: Path) -> None:
    root = dataset(tmp_path / "raw")
    named = [root]
    items = find_inputs(named)
    output, found = beside_inputs(items, named)
    assert output == root / "derivatives" / "mrcascade"
    assert found == items  # with the folders of the dataset


def test_a_series_has_its_result_as_a_neighbour(tmp_path: Path, sr: Callable) -> None:
    folder = series(tmp_path / "exam" / "t2", phantom((3, 16, 18)))
    series(tmp_path / "exam" / "t1", phantom((3, 16, 18)), SeriesNumber=2)
    assert places(folder) == [tmp_path / "exam"]
    assert places(tmp_path / "exam") == [tmp_path / "exam"] * 2
    before = below(tmp_path)
    assert sr(folder) == 0
    made = sorted(set(below(tmp_path)) - set(before))
    assert {Path(name).parts[1] for name in made} == {
        "t2_desc-sr2x.dicom",
        "t2_desc-sr2x.json",
        "t2_desc-sr2x.png",
    }
    assert len(find_inputs([tmp_path / "exam"], "all")) == 2  # the result is no input


def test_a_series_named_by_the_current_folder_or_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written into the folder of a series, however it is named."""
    exam = tmp_path / "exam"
    folder = series(exam / "t2", phantom((3, 16, 18)))
    files = [Path(path.name) for path in sorted(folder.iterdir())]
    monkeypatch.chdir(folder)

    def named(*paths: Path) -> tuple[Path, list[str]]:
        output, items = beside_inputs(find_inputs(paths), paths)
        return output.resolve(), [(item.folder / item.image.name).as_posix() for item in items]

    for paths in ([Path()], [Path("../t2")], files, [folder / file for file in files]):
        assert named(*paths) == (exam, ["t2"])
    assert folder_beside(files) is None
    assert named(files[0]) == (exam, ["t2_IM003"])  # one file of the series
    lone = series(exam / "one", phantom((1, 16, 18)), SeriesNumber=2)
    monkeypatch.chdir(lone)
    for path in (Path(), Path("IM003.dcm"), lone):
        assert named(path) == (exam, ["one_IM003"])
    assert named(exam) == (exam, ["one_IM003", "t2"])
    # A file among other things is no series with a folder of its own.
    (lone / "notes.txt").write_text("")
    assert named(Path("IM003.dcm")) == (lone, ["IM003"])


def test_a_secret_does_not_lie_beside_the_results(tmp_path: Path, sr: Callable, capsys) -> None:
    folder = series(tmp_path / "exam" / "t2", phantom((3, 16, 18)))
    assert sr(folder, "--deidentify", "--salt-file", tmp_path / "exam" / "salt") == 2
    assert "which gives the secret away" in capsys.readouterr().err
    assert not (tmp_path / "exam" / "salt").exists()


def test_simulate_and_resample(tmp_path: Path, capsys) -> None:
    path = image(tmp_path / "a.npy")
    assert main(["simulate", str(path), "--factor", "2"]) == 0
    assert below(tmp_path) == ["a.npy", "a_desc-low2x.json", "a_desc-low2x.npy"]
    assert main(["simulate", str(path), "--factor", "2"]) == 2
    assert "already exists" in capsys.readouterr().err
    labels = nib.Nifti1Image(np.arange(64, dtype=np.uint8).reshape(4, 4, 4), np.eye(4))
    grid = nib.Nifti1Image(np.zeros((8, 8, 4), np.float32), np.diag([0.5, 0.5, 1, 1]))
    (tmp_path / "labels").mkdir()
    nib.save(labels, tmp_path / "labels" / "l.nii.gz")
    nib.save(grid, tmp_path / "g.nii.gz")
    words = ["resample", tmp_path / "labels" / "l.nii.gz", "--like", tmp_path / "g.nii.gz"]
    assert main([str(word) for word in words]) == 0
    made = ["l.nii.gz", "l_desc-resampled.json", "l_desc-resampled.nii.gz"]
    assert below(tmp_path / "labels") == made


def test_simulate_and_resample_write_beside_the_folder_of_a_series(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = series(tmp_path / "exam" / "t2", phantom((3, 16, 18)))
    before = below(folder)
    monkeypatch.chdir(folder)
    image = read_image(folder)
    write_image(image.data, tmp_path / "g.nii.gz", affine=image.affine)
    assert main(["simulate", ".", "--factor", "2"]) == 0
    assert main(["resample", ".", "--like", str(tmp_path / "g.nii.gz"), "--kind", "image"]) == 0
    assert below(folder) == before
    assert sorted(path.name for path in folder.parent.iterdir()) == [
        "t2",
        "t2_desc-low2x.dicom",
        "t2_desc-low2x.json",
        "t2_desc-resampled.json",
        "t2_desc-resampled.nii.gz",
    ]
