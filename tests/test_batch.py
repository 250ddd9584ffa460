"""Batches: resuming, parts, the record, interruptions and too little memory."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mrcascade.cli import main
from mrcascade.restore import Restorer
from tests.conftest import take_name
from tests.processes import ended
from tests.quick import slow

FILES = ("a.npy", "b.npy", "c.npy")
Sr = Callable[..., int]


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for seed, name in enumerate(FILES):
        noise = np.random.default_rng(seed).normal(size=(16, 16, 3))
        np.save(folder / name, (60 + 15 * noise).astype(np.float32))
    return folder


def options(output: Path, prior: Path) -> list[str]:
    fixed = ["--factor", "2", "--noise", "0", "--device", "cpu", "--prior", str(prior)]
    return ["-o", str(output), *fixed]


@pytest.fixture
def sr(tmp_path: Path, prior_folder: Path) -> Sr:
    def call(*arguments: object) -> int:
        return main(["sr", *map(str, arguments), *options(tmp_path / "out", prior_folder)])

    return call


def record(output: Path, name: str = "run.json") -> dict[str, str]:
    """Status by file name."""
    document = json.loads((output / name).read_text())
    return {Path(r["Input"]).name: r["Status"] for r in document["Results"]}


def results(output: Path) -> dict[str, bytes]:
    """All that a batch wrote, but for the record, which tells the time, and hidden leftovers."""
    return {
        p.name: p.read_bytes()
        for p in sorted(output.iterdir())
        if not p.name.startswith((".", "run"))
    }


def test_resume_does_what_is_left(inputs: Path, tmp_path: Path, sr: Sr, capsys) -> None:
    output = tmp_path / "out"
    assert sr(inputs) == 0
    whole = results(output)
    assert len(whole) == 3 * 3
    assert record(output) == dict.fromkeys(FILES, "done")
    said = capsys.readouterr().out.splitlines()
    # Each file has its notes, under its name, and a line at its end.
    notes = {"a.npy": [], "b.npy": [], "c.npy": []}
    for result in json.loads((output / "run.json").read_text())["Results"]:
        notes[Path(result["Input"]).name] = result["Notes"]
    assert [len(lines) for lines in notes.values()] == [2, 2, 2]  # planes, and what it took
    expected = []
    for number, name in enumerate(FILES, start=1):
        expected += [f"{name}: {line}" for line in notes[name]] + [f"{number}/3 {name}: done"]
    assert [re.sub(r": done, [0-9.]+ s$", ": done", line) for line in said[:-1]] == expected
    assert said[-1].startswith("3 files: 3 done; ")
    # As a kill between the renames leaves it: results, but not the sidecar, which comes last.
    take_name(output / "b_desc-sr2x.json")
    (output / "b_desc-sr2x.npy").write_bytes(b"half")
    before = {p: p.stat().st_mtime_ns for p in output.glob("[ac]_*")}
    assert sr(inputs, "--resume", "--dry-run") == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.rsplit(":", 1)[1][:13] == " already done" for line in said] == [True, False, True]
    assert sr(inputs, "--resume") == 0
    assert record(output) == {"a.npy": "skipped", "b.npy": "done", "c.npy": "skipped"}
    assert "3 files: 1 done, 2 skipped" in capsys.readouterr().out
    assert results(output) == whole
    assert {p: p.stat().st_mtime_ns for p in output.glob("[ac]_*")} == before
    # Without --resume nothing is replaced.
    assert sr(inputs) == 2
    assert "already exists" in capsys.readouterr().err


def test_missing_inputs_are_named_as_missing(inputs: Path, tmp_path: Path, sr: Sr, capsys) -> None:
    (tmp_path / "a.mgz").write_bytes(b"x")
    names = ("gone", "gone.mgz", "gone.npy", "in/a.npy/gone", "a.mgz")
    assert sr(inputs / "a.npy", *(tmp_path / name for name in names)) == 1
    errors = capsys.readouterr().err.splitlines()
    reasons = ["does not exist; check the name"] * 3
    reasons += ["not a directory", "has no supported ending"]
    assert len(errors) == len(names) + 1
    for error, name, reason in zip(errors, names, reasons, strict=False):
        assert f"{tmp_path / name}" in error
        assert reason in error


def test_resume_refuses_results_of_something_else(
    inputs: Path, tmp_path: Path, sr: Sr, capsys
) -> None:
    output = tmp_path / "out"
    assert sr(inputs) == 0
    whole = results(output)
    np.save(inputs / "a.npy", np.load(inputs / "a.npy") + 1)
    (output / "b_desc-sr2x.npy").unlink()
    (output / "c_desc-sr2x.json").write_text("{}")
    capsys.readouterr()
    assert sr(inputs, "--resume") == 2
    errors = capsys.readouterr().err.splitlines()
    assert "a.npy: " in errors[0]
    assert "come from other input; add --overwrite" in errors[0]
    assert "lack b_desc-sr2x.npy" in errors[1]
    assert "c_desc-sr2x.json: not a sidecar of this version" in errors[2]
    assert sr(inputs, "--resume", "--mode", "paper", "--steps", "3") == 2
    assert "come from other mode, steps" in capsys.readouterr().err
    assert sr(inputs, "--resume", "--acquired-matrix", "auto") == 2
    assert "b.npy: its results in " in (said := capsys.readouterr().err)
    assert "come from other acquired matrix; add --overwrite" in said
    assert results(output)["a_desc-sr2x.npy"] == whole["a_desc-sr2x.npy"]
    # The results of c are not known as such, so they stay.
    assert sr(inputs, "--resume", "--overwrite") == 1
    assert record(output) == dict.fromkeys(FILES[:2], "done") | {"c.npy": "failed"}
    assert results(output)["c_desc-sr2x.npy"] == whole["c_desc-sr2x.npy"]
    assert results(output)["c_desc-sr2x.json"] == b"{}"


def test_resume_with_overwrite_redoes_what_was_made_otherwise_alone(
    inputs: Path, tmp_path: Path, sr: Sr
) -> None:
    output = tmp_path / "out"
    assert sr(inputs) == 0
    whole = results(output)
    np.save(inputs / "a.npy", np.load(inputs / "a.npy") + 1)
    (output / "b_desc-sr2x.npy").unlink()
    both = ("--resume", "--overwrite")
    assert sr(inputs, *both) == 0
    assert record(output) == {"a.npy": "done", "b.npy": "done", "c.npy": "skipped"}
    assert results(output)["a_desc-sr2x.npy"] != whole["a_desc-sr2x.npy"]
    assert results(output)["b_desc-sr2x.npy"] == whole["b_desc-sr2x.npy"]
    assert sr(inputs, *both) == 0
    assert record(output) == dict.fromkeys(FILES, "skipped")
    assert sr(inputs / "a.npy", inputs / "b.npy", *both, "--mode", "mean:orientations=2") == 0
    assert record(output) == dict.fromkeys(FILES[:2], "done")
    assert sr(inputs, *both, "--mode", "mean:orientations=2") == 0
    assert record(output) == {"a.npy": "skipped", "b.npy": "skipped", "c.npy": "done"}


def test_parts_share_the_files_out(inputs: Path, tmp_path: Path, sr: Sr, capsys) -> None:
    output = tmp_path / "out"
    assert sr(inputs, "--num-parts", 2, "--part-id", 1) == 0
    assert record(output, "run-part1of2.json") == {"b.npy": "done"}
    assert sr(inputs, "--num-parts", 2, "--part-id", 0) == 0
    assert record(output, "run-part0of2.json") == {"a.npy": "done", "c.npy": "done"}
    assert len(results(output)) == 3 * 3
    assert sr(inputs, "--num-parts", 5, "--part-id", 4, "--resume") == 0
    assert "0 files: none for this part" in capsys.readouterr().out
    assert sr(inputs, "--num-parts", 2, "--part-id", 2) == 2
    assert "part 2 of 2: --part-id counts from 0" in capsys.readouterr().err


def test_a_failure_is_recorded(inputs: Path, tmp_path: Path, sr: Sr) -> None:
    np.save(inputs / "b.npy", np.ones((16, 16, 3), np.float32))
    assert sr(inputs) == 1
    assert record(tmp_path / "out") == {"a.npy": "done", "b.npy": "failed", "c.npy": "done"}
    entry = json.loads((tmp_path / "out" / "run.json").read_text())["Results"][1]
    assert "b.npy" in entry["Error"]
    assert entry["Outputs"] == []


def test_a_foreign_record_stays(inputs: Path, tmp_path: Path, sr: Sr, capsys) -> None:
    output = tmp_path / "out"
    output.mkdir()
    for text in ("{}", "not JSON"):
        (output / "run.json").write_text(text)
        assert sr(inputs) == 2
        assert "is not a record of mrcascade" in capsys.readouterr().err
        assert (output / "run.json").read_text() == text
        assert len(list(output.iterdir())) == 1


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        slow(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")),
        slow(MemoryError()),
    ],
)
def test_too_little_memory_halves_the_batch(
    inputs: Path, tmp_path: Path, sr: Sr, monkeypatch, capsys, error: Exception
) -> None:
    path, output = inputs / "a.npy", tmp_path / "out"
    assert sr(path, "--batch-size", 1) == 0
    alone = np.load(output / "a_desc-sr2x.npy")
    original, sizes = Restorer.__call__, []

    def short(*arguments, batch_size, **more):
        sizes.append(batch_size)
        if batch_size > largest:
            raise error
        return original(*arguments, batch_size=batch_size, **more)

    monkeypatch.setattr(Restorer, "__call__", short)
    largest = 1
    assert sr(path, "--batch-size", 4, "--overwrite") == 0
    assert sizes == [4, 2, 1]  # and from then on 1, for a chunk of three slices
    np.testing.assert_allclose(np.load(output / "a_desc-sr2x.npy"), alone, rtol=1e-5)
    assert json.loads((output / "a_desc-sr2x.json").read_text())["BatchSize"] == 1
    assert "batches of 1 from here on" in capsys.readouterr().out
    largest = 0
    assert sr(path, "--batch-size", 4, "--overwrite") == 2
    assert "a.npy: not enough memory on cpu for one slice" in capsys.readouterr().err


def test_other_runtime_errors_are_not_taken_for_it(
    inputs: Path, sr: Sr, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def broken(*arguments, **more):
        raise RuntimeError("a bug")

    monkeypatch.setattr(Restorer, "__call__", broken)
    assert sr(inputs / "a.npy") == 2
    assert "a.npy: unexpected RuntimeError: a bug" in capsys.readouterr().err


def start(inputs: Path, output: Path, prior: Path) -> subprocess.Popen[str]:
    """A batch in a process of its own, started until its first line."""
    command = [sys.executable, "-u", "-m", "mrcascade", "sr", str(inputs), "--resume"]
    command += ["--no-report"]
    command += ["--mode", "paper", "--steps", "60", "--samples", "2", *options(output, prior)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    while not (line := process.stdout.readline()).startswith("1/3 a.npy"):
        assert line.startswith("a.npy: ")
    return process


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, prior_folder: Path
) -> tuple[Path, dict[str, bytes]]:
    folder = tmp_path_factory.mktemp("whole")
    (folder / "in").mkdir()
    for seed, name in enumerate(FILES):
        noise = np.random.default_rng(seed).normal(size=(16, 16, 3))
        np.save(folder / "in" / name, (60 + 15 * noise).astype(np.float32))
    with ended(start(folder / "in", folder / "out", prior_folder)) as process:
        assert process.wait() == 0
    return folder / "in", results(folder / "out")


@pytest.mark.slow
def test_ctrl_c_leaves_finished_files_whole(
    tmp_path: Path, prior_folder: Path, undisturbed: tuple[Path, dict[str, bytes]]
) -> None:
    (tmp_path / "in").mkdir()
    inputs, whole = undisturbed
    shutil.copy(inputs / "a.npy", tmp_path / "in")
    # So much that the signal comes in time, however busy the machine is.
    long = np.random.default_rng(1).normal(60, 15, size=(16, 16, 2000))
    for name in FILES[1:]:
        np.save(tmp_path / "in" / name, long.astype(np.float32))
    # Background jobs of a shell ignore Ctrl-C, and so would what they start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with ended(start(tmp_path / "in", tmp_path / "out", prior_folder)) as process:
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert results(tmp_path / "out") == {n: c for n, c in whole.items() if n.startswith("a_")}
    assert not list((tmp_path / "out").glob(".*"))
