"""Outputs: what they may replace, one writer at a time, and leftovers of killed processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mrcascade.cli import main
from mrcascade.errors import MRCascadeError
from mrcascade.storage.atomic import atomic_outputs, remove_leftovers
from mrcascade.storage.outputs import Claim, claim_result, only_writer, read_record, refuse_inputs
from tests.conftest import take_name
from tests.dicom.dicom_series import phantom, series

pytestmark = pytest.mark.slow

Sr = Callable[..., int]
OURS = {"Software": [{"Name": "mrcascade"}]}


@pytest.fixture
def image(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    values = 60 + 15 * np.random.default_rng(1).normal(size=(16, 16, 2))
    np.save(tmp_path / "in" / "a.npy", values.astype(np.float32))
    return tmp_path / "in" / "a.npy"


@pytest.fixture
def sr(tmp_path: Path, prior_folder: Path) -> Sr:
    fixed = ["-o", str(tmp_path / "out"), "--prior", str(prior_folder), "--device", "cpu"]

    def call(*arguments: object) -> int:
        return main(["sr", *map(str, arguments), *fixed, "--factor", "2", "--noise", "0"])

    return call


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def test_an_output_is_no_input_by_any_name(tmp_path: Path) -> None:
    inside = tmp_path / "data" / "deep"
    inside.mkdir(parents=True)
    (inside / "a.npy").write_bytes(b"a")
    (tmp_path / "other.npy").write_bytes(b"b")
    os.link(inside / "a.npy", tmp_path / "hard.npy")
    os.symlink(inside / "a.npy", tmp_path / "soft.npy")
    os.symlink(inside, tmp_path / "folder")
    linked = tmp_path / "folder" / "a.npy"
    for name in ("hard.npy", "soft.npy", "data/deep/../deep/a.npy"):
        for given in (inside / "a.npy", linked, tmp_path / "soft.npy"):
            with pytest.raises(MRCascadeError, match="is itself an input"):
                refuse_inputs([tmp_path / "new.npy", tmp_path / name], [given])
    for around in ("data", "data/deep", "folder", "."):
        with pytest.raises(MRCascadeError, match=r"holds the input .*a\.npy"):
            refuse_inputs([tmp_path / around], [linked])
    refuse_inputs([tmp_path / "other.npy", tmp_path / "new.npy"], [linked, tmp_path / "none"])


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        (json.dumps(OURS), True),
        (json.dumps({"Software": [{"Name": "dcm2niix"}]}), False),
        (json.dumps({"Software": "mrcascade"}), False),
        (json.dumps([OURS]), False),
        ("[" * 100_000, False),
        ("\xff", False),
    ],
)
def test_a_record_names_its_maker(tmp_path: Path, text: str, ours: bool) -> None:
    path = tmp_path / "a.json"
    path.write_text(text, encoding="latin-1")
    assert (read_record(path) is not None) == ours
    os.symlink(path, tmp_path / "b.json")  # which mrcascade does not make
    assert read_record(tmp_path / "b.json") is None


def test_a_sidecar_covers_what_it_lists(tmp_path: Path) -> None:
    sidecar, result, other = (tmp_path / n for n in ("a.json", "a.npy", "a_std.npy"))
    sidecar.write_text(json.dumps(OURS | {"Files": {"Result": "a.npy"}}))
    result.write_bytes(b"result")
    other.write_bytes(b"stranger")
    claim_result([result, sidecar], sidecar, [], True)
    with pytest.raises(MRCascadeError, match=r"a_std\.npy is not known as a file of mrcascade"):
        claim_result([result, other, sidecar], sidecar, [], True)
    result.rename(tmp_path / "moved")
    os.symlink(tmp_path / "moved", result)
    with pytest.raises(MRCascadeError, match=r"a\.npy is not known as a file of mrcascade"):
        claim_result([result, sidecar], sidecar, [], True)


def test_the_sidecar_of_an_input_stays(tmp_path: Path) -> None:
    sidecar, source = tmp_path / "a.json", tmp_path / "a.nii.gz"
    sidecar.write_text(json.dumps(OURS | {"Files": {"Result": "a.nii.gz"}}))
    source.write_bytes(b"input")
    with pytest.raises(MRCascadeError, match=r"a\.nii\.gz is itself an input"):
        claim_result([tmp_path / "a.nii", sidecar], sidecar, [source], True)


def test_a_folder_with_something_else_in_it_stays(tmp_path: Path, sr: Sr, capsys) -> None:
    series(tmp_path / "scan", phantom((2, 16, 16)))
    assert sr(tmp_path / "scan") == 0
    folder = tmp_path / "out" / "scan_desc-sr2x.dicom"
    (folder,) = (tmp_path / "out").glob("*.dicom")
    for name in ("notes.txt", "0003.dcm", "deep"):
        stranger = folder / name
        stranger.mkdir() if name == "deep" else stranger.write_bytes(b"mine")
        assert sr(tmp_path / "scan", "--overwrite") == 2
        assert f"{folder} is not known as a file of mrcascade" in capsys.readouterr().err
        assert stranger.exists()
        stranger.rmdir() if name == "deep" else stranger.unlink()
    assert sr(tmp_path / "scan", "--overwrite") == 0
    assert sorted(p.name for p in folder.iterdir()) == ["0001.dcm", "0002.dcm"]


def test_overwriting_leaves_no_part_of_the_old_result(image: Path, tmp_path: Path, sr: Sr) -> None:
    out = tmp_path / "out"
    assert sr(image, "--samples", 2, "--steps", 2) == 0
    (out / "a_desc-sr2xstd.json").write_text("mine")
    assert sr(image, "--overwrite") == 0
    names = {"a_desc-sr2x.npy", "a_desc-sr2x.png", "a_desc-sr2x.json", "a_desc-sr2xstd.json"}
    assert contents(out).keys() == names
    assert sr(image, "--samples", 2, "--steps", 2, "--overwrite") == 0
    assert (out / "a_desc-sr2xstd.json").read_text() == "mine"


def test_one_input_is_not_written_over_by_another(image: Path, tmp_path: Path, sr: Sr) -> None:
    assert sr(image) == 0
    result = tmp_path / "out" / "a_desc-sr2x.npy"
    before = contents(tmp_path / "out")
    assert sr(image, result, "--overwrite") == 2
    assert contents(tmp_path / "out") == before


def test_two_jobs_on_one_output(image: Path, tmp_path: Path, sr: Sr, capsys) -> None:
    out = tmp_path / "out"
    with only_writer(out / "a_desc-sr2x.json"):
        (lock,) = out.iterdir()
        assert lock.name.startswith(".mrcascade-")
        assert sr(image) == 2
        assert "another process is writing it" in capsys.readouterr().err
        assert list(out.iterdir()) == [lock]
    assert list(out.iterdir()) == []
    lock.write_bytes(b"mine")  # not a lock
    assert sr(image) == 2
    assert contents(out) == {lock.name: b"mine"}


def test_what_changed_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    paths = [tmp_path / "a", tmp_path / "b", tmp_path / "c.dicom"]
    paths[1].write_bytes(b"1")
    paths[2].mkdir()
    claim = Claim(paths)
    claim.check()
    for change in (
        lambda: paths[0].write_bytes(b"new"),
        lambda: os.replace(shutil.copy(paths[1], tmp_path / "copy"), paths[1]),
        lambda: (paths[2] / "notes.txt").write_bytes(b"mine"),
    ):
        claim = Claim(paths)
        change()
        with pytest.raises(MRCascadeError, match="was written by another process meanwhile"):
            claim.check()


_KILLED = """
import os, sys
from mrcascade.storage import atomic
from mrcascade.cli import main

calls, replace = [], os.replace

def deadly(*names):
    if len(calls) == {count}:
        os._exit(9)
    calls.append(names)
    replace(*names)

atomic.os.replace = deadly
main(sys.argv[1:])
"""


@pytest.mark.parametrize(("count", "more"), [(0, []), (1, []), (2, ["--overwrite"])])
def test_a_kill_between_the_renames(
    count: int, more: list[str], image: Path, tmp_path: Path, sr: Sr, prior_folder: Path
) -> None:
    """The next run knows the files that have their names already, and clears up."""
    out = tmp_path / "out"
    assert sr(image) == 0
    whole = contents(out)
    arguments = ["-o", str(out), "--prior", str(prior_folder), "--device", "cpu", *more]
    if not more:
        shutil.rmtree(out)
    command = ["sr", str(image), *arguments, "--factor", "2", "--noise", "0"]
    done = subprocess.run(
        [sys.executable, "-c", _KILLED.format(count=count), *command], check=False
    )
    assert done.returncode == 9
    left = contents(out)
    assert "a_desc-sr2x.json" not in left  # which would say that all are there
    assert any(name.endswith(".tmp.json") for name in left)
    (out / ".a_desc-sr2x.mine.tmp.npy").write_bytes(b"mine")
    assert sr(image, "--resume") == 0
    assert contents(out) == whole | {".a_desc-sr2x.mine.tmp.npy": b"mine"}


@pytest.mark.parametrize("output", ["data", ".", "data/../data"])
@pytest.mark.parametrize("command", ["evaluate", "reproduce", "train"])
def test_a_folder_of_results_is_not_around_the_data(
    image: Path, tmp_path: Path, command: str, output: str, capsys
) -> None:
    image.parent.rename(tmp_path / "data")
    (tmp_path / "data" / "table.md").write_bytes(b"mine")
    before = contents(tmp_path / "data")
    more = [] if command == "train" else ["--overwrite"]
    more += ["--factor", "2"] if command == "evaluate" else []
    given = ["--data", str(tmp_path / "data"), "-o", str(tmp_path / output), *more]
    assert main([command, *given, "--device", "cpu"]) == 2
    message = capsys.readouterr().err
    assert "is itself an input" in message or "holds the input" in message
    assert message.count("\n") == 1
    assert contents(tmp_path / "data") == before


@pytest.mark.parametrize(
    ("command", "name"),
    [
        *(("evaluate", name) for name in ("table.md", "slices.png", "metrics.csv", "slices")),
        *(("reproduce", name) for name in ("results.md", "all.csv", "table1-2x/table.json")),
        *(("train", name) for name in ("loss.png", "level2.jsonl", "prior/prior.json")),
        *(("train", name) for name in ("prior", "level1-snapshot-8.safetensors")),
        *((command, "evaluation.json") for command in ("evaluate",)),
        *(("reproduce", "study.json"), ("train", "training.json")),
    ],
)
def test_foreign_files_are_refused_before_any_work(
    image: Path, tmp_path: Path, command: str, name: str, capsys
) -> None:
    stranger = tmp_path / "out" / name
    stranger.parent.mkdir(parents=True)
    stranger.write_bytes(b"{}")
    more = ["--factor", "2"] if command == "evaluate" else []
    given = ["--data", str(image.parent), "-o", str(tmp_path / "out"), *more, "--device", "cpu"]
    assert main([command, *given]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"mrcascade: {stranger}")
    assert "move it away or choose another folder" in message
    assert message.count("\n") == 1
    assert [p for p in (tmp_path / "out").rglob("*") if p.is_file()] == [stranger]
    assert stranger.read_bytes() == b"{}"


def test_leftovers_are_those_of_the_output(tmp_path: Path) -> None:
    names = [".a.1.0.tmp.nii.gz", ".a.22.3.tmp.nii.gz", ".b.1.0.tmp.nii.gz", ".a.1.0.tmp.nii"]
    names += [".a.x.0.tmp.nii.gz", "a.1.0.tmp.nii.gz", ".a.nii.gz"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    remove_leftovers([tmp_path / "a.nii.gz"])
    assert {p.name for p in tmp_path.iterdir()} == set(names[2:])


def test_the_last_file_comes_back_if_publishing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / "a.npy", tmp_path / "a.json"]
    for path in paths:
        path.write_bytes(b"old")
    replace = os.replace

    def failing(source: Path, target: Path) -> None:
        if target == paths[0]:
            raise OSError(5, "Input/output error")
        replace(source, target)

    monkeypatch.setattr("mrcascade.storage.atomic.os.replace", failing)
    with pytest.raises(MRCascadeError, match="input/output error"), atomic_outputs(paths, True):
        pass
    assert contents(tmp_path) == {"a.npy": b"old", "a.json": b"old"}


def test_no_file_keeps_its_name_if_a_later_one_cannot_have_its_own(
    image: Path, tmp_path: Path, sr: Sr, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def failing(source: Path, target: Path) -> None:
        if Path(target).suffix == ".png":
            raise OSError(5, "Input/output error")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("mrcascade.storage.atomic.os.replace", failing)
        assert sr(image) == 2
    assert not (tmp_path / "out").exists() or contents(tmp_path / "out") == {}
    assert sr(image, "--resume") == 0


def test_resume_removes_what_a_killed_process_left_beside_whole_results(
    image: Path, tmp_path: Path, sr: Sr
) -> None:
    out = tmp_path / "out"
    assert sr(image) == 0
    whole = contents(out)
    sidecar = next(path for path in out.glob("*.json"))
    (out / f".{sidecar.stem}.4194304.1.tmp.json").write_bytes(sidecar.read_bytes())
    assert sr(image, "--resume") == 0
    assert contents(out) == whole


def test_a_result_without_sidecar_stays(image: Path, tmp_path: Path, sr: Sr, capsys) -> None:
    out = tmp_path / "out"
    assert sr(image) == 0
    before = contents(out)
    take_name(out / "a_desc-sr2x.json")
    (leftover,) = out.glob(".*")
    leftover.unlink()
    for option in ("--resume", "--overwrite"):
        assert sr(image, option) == 2
        assert "a_desc-sr2x.npy is not known as a file of mrcascade" in capsys.readouterr().err
    del before["a_desc-sr2x.json"]
    assert contents(out) == before
