"""Files of a batch that overlap, and batches shared out over processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mrcascade.cli import main
from mrcascade.errors import MRCascadeError
from mrcascade.executors import LocalWorkers, local
from mrcascade.executors.task import Job
from mrcascade.jobs import batch, turns
from mrcascade.jobs.publish import Publication
from mrcascade.restore import Restorer
from tests.dicom.dicom_series import phantom, series
from tests.processes import ended

FILES = ("a.npy", "b.npy", "c.npy")
OF_THE_RUN = {"Seconds", "Written", "Notes"}
WAIT = 60.0  # seconds after which a test has failed; nothing takes so long


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for seed, name in enumerate(FILES):
        noise = np.random.default_rng(seed).normal(size=(16, 16, 3))
        np.save(folder / name, (60 + 15 * noise).astype(np.float32))
    return folder


@pytest.fixture
def sr(tmp_path: Path, prior_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.chdir(tmp_path)

    def call(output: str, *more: object) -> int:
        fixed = ["--factor", "2", "--device", "cpu", "--prior", str(prior_folder)]
        return main(["sr", "in", "-o", output, *fixed, *map(str, more)])

    return call


def content(folder: Path) -> dict[str, object]:
    """All files but hidden ones, JSON without what tells of the run."""
    found: dict[str, object] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if not path.name.startswith("."):
            found[path.relative_to(folder).as_posix()] = (
                without_run(json.loads(path.read_text()))
                if path.suffix == ".json"
                else path.read_bytes()
            )
    return found


def without_run(document: object) -> object:
    if isinstance(document, dict):
        return {k: without_run(v) for k, v in document.items() if k not in OF_THE_RUN}
    return [without_run(v) for v in document] if isinstance(document, list) else document


# ---- one process ----


def test_a_file_is_written_while_the_next_is_restored(
    inputs: Path, tmp_path: Path, sr: Callable, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """Lines and record keep the order of the files, and results are the same as by themselves."""
    for name in FILES:
        assert main(["sr", f"in/{name}", "-o", "alone", *sr_options(sr)]) == 0
    capsys.readouterr()
    write, restore = Publication.write, Restorer.__call__
    restored, calls = threading.Event(), []

    def late(self):
        if not restored.is_set():
            assert restored.wait(WAIT), "the next file waits for this one"
        return write(self)

    def counted(self, *arguments, **more):
        calls.append(1)
        result = restore(self, *arguments, **more)
        if len(calls) == 2:
            restored.set()
        return result

    monkeypatch.setattr(Publication, "write", late)
    monkeypatch.setattr(Restorer, "__call__", counted)
    assert sr("out", "--batch-size", 3) == 0
    said = [line.split(":")[0] for line in capsys.readouterr().out.splitlines()]
    expected = []
    for number, name in enumerate(FILES, start=1):
        expected += [name] * 3 + [f"{number}/3 {name}"]
    assert said == [*expected, "3 files"]
    found = content(tmp_path / "out")
    record = found.pop("run.json")
    assert [r["Status"] for r in record["Results"]] == ["done"] * 3
    assert found == content(tmp_path / "alone")


def sr_options(sr: Callable) -> list[str]:
    prior = sr.__closure__[0].cell_contents
    return ["--factor", "2", "--device", "cpu", "--prior", str(prior), "--batch-size", "3"]


def test_a_file_that_cannot_be_written_fails_by_itself(
    inputs: Path, tmp_path: Path, sr: Callable, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    write, calls = Publication.write, []

    def failing(self):
        calls.append(1)
        if len(calls) == 2:
            raise MRCascadeError("the disk is full")
        return write(self)

    monkeypatch.setattr(Publication, "write", failing)
    assert sr("out") == 1
    document = json.loads((tmp_path / "out" / "run.json").read_text())
    assert [r["Status"] for r in document["Results"]] == ["done", "failed", "done"]
    assert "b.npy: the disk is full" in document["Results"][1]["Error"]
    assert not list((tmp_path / "out").glob("b*"))
    assert not list((tmp_path / "out").glob(".*"))
    assert "b.npy: the disk is full" in capsys.readouterr().err


def test_files_take_turns_where_the_disk_is_nearly_full(
    inputs: Path, sr: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, restore, events = Publication.write, turns.Turn._restored, []

    def watched(self):
        time.sleep(0.2)  # in which the next file would begin
        events.append("written")
        return write(self)

    def begun(self, *arguments):
        result = restore(self, *arguments)
        events.append("restored")
        return result

    usage = type("Usage", (), {"free": 1})
    monkeypatch.setattr(turns.shutil, "disk_usage", lambda folder: usage)
    monkeypatch.setattr(Publication, "write", watched)
    monkeypatch.setattr(turns.Turn, "_restored", begun)
    assert sr("out") == 0
    assert events == ["restored", "written"] * 3


# ---- several processes ----


@pytest.mark.slow
@pytest.mark.preview
def test_workers_give_the_results_and_the_record_of_a_serial_run(
    inputs: Path, tmp_path: Path, sr: Callable, capsys
) -> None:
    image = np.load(inputs / "a.npy")
    nib.Nifti1Image(image[::-1], np.eye(4)).to_filename(inputs / "d.nii.gz")
    series(inputs / "x", phantom((2, 32, 32)))
    np.save(inputs / "broken.npy", np.ones((16, 16, 3), np.float32))
    options = ["--samples", "2", "--steps", "3"]
    assert sr("one", *options) == 1
    capsys.readouterr()
    assert sr("two", *options, "--workers", "2") == 1
    said = capsys.readouterr()
    assert content(tmp_path / "two") == content(tmp_path / "one")
    assert "6 files: 5 done, 1 failed" in said.out
    assert "broken.npy" in said.err
    assert not list((tmp_path / "two").rglob(".*"))
    assert sr("two", *options, "--workers", "2", "--resume") == 1
    statuses = json.loads((tmp_path / "two" / "run.json").read_text())["Results"]
    assert sorted(r["Status"] for r in statuses) == ["failed", *["skipped"] * 5]


@pytest.mark.slow
def test_nothing_is_left_where_every_file_fails_in_workers(
    tmp_path: Path, sr: Callable, capsys
) -> None:
    (tmp_path / "in").mkdir()
    for name in FILES[:2]:
        np.save(tmp_path / "in" / name, np.ones((16, 16, 3), np.float32))
    assert sr("new/out", "--workers", "2") == 2
    assert not (tmp_path / "new").exists()
    assert "2 of 2 files failed" in capsys.readouterr().err


def in_worker(device: str) -> Callable:
    def work(task: str) -> object:
        if task == "device":
            return device
        if task == "end":
            os._exit(1)
        raise MRCascadeError(task)

    return work


def cannot_start(device: str) -> Callable:
    raise MRCascadeError("no prior here")


def test_what_a_worker_raises_is_raised_here() -> None:
    with LocalWorkers(1, "cpu") as workers:

        def did(make: Callable[[str], Callable], task: str) -> list[object]:
            return list(workers.results(Job.of(make, "cpu"), [task], lost=pytest.fail))

        assert did(in_worker, "device") == [("device", "cpu")]
        with pytest.raises(MRCascadeError, match="a task failed"):
            did(in_worker, "a task failed")
        with pytest.raises(MRCascadeError, match="no prior here"):
            did(cannot_start, "device")
        with pytest.raises(MRCascadeError, match="a worker process died"):
            did(in_worker, "end")


def test_ctrl_c_waits_until_processes_are_started() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    done = threading.Event()
    other = threading.Thread(target=done.wait)  # gets the signal where the main thread does not
    other.start()
    reached = []

    def interrupted() -> None:
        with local._held_back():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
            reached.append(signal.pthread_sigmask(signal.SIG_BLOCK, []))

    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert reached == [{signal.SIGINT}]
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        done.set()
        other.join()
        signal.signal(signal.SIGINT, before)


def test_processes_that_start_end_with_the_command(capfd: pytest.CaptureFixture) -> None:
    def tasks() -> Iterator[str]:
        yield from ("device", "device")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), LocalWorkers(2, "cpu") as workers:
        list(workers.results(Job.of(in_worker, "cpu"), tasks(), lost=pytest.fail))
    assert not multiprocessing.active_children()
    assert capfd.readouterr().err == ""


def test_the_death_of_a_worker_ends_the_others() -> None:
    with pytest.raises(MRCascadeError, match="a worker process died"), LocalWorkers(2, "cpu") as w:
        list(w.results(Job.of(in_worker, "cpu"), ["device", "device", "end"], lost=pytest.fail))
    assert not multiprocessing.active_children()


def start(folder: Path, prior: Path) -> subprocess.Popen[str]:
    """A long batch in two processes, in a group of its own, started until its first file is
    done."""
    (folder / "in").mkdir()
    small = np.random.default_rng(0).normal(60, 15, size=(16, 16, 2)).astype(np.float32)
    np.save(folder / "in" / "a.npy", small)
    for seed, name in enumerate(FILES[1:], start=1):
        long = np.random.default_rng(seed).normal(60, 15, size=(16, 16, 400))
        np.save(folder / "in" / name, long.astype(np.float32))
    command = [sys.executable, "-u", "-m", "mrcascade", "sr", str(folder / "in")]
    command += ["--no-report"]
    command += ["-o", str(folder / "out"), "--factor", "2", "--noise", "0", "--device", "cpu"]
    command += ["--prior", str(prior), "--workers", "2"]
    command += ["--mode", "paper", "--steps", "20"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    while not (line := process.stdout.readline()).startswith("1/3 a.npy"):
        assert line
    return process


def wait_for_end(group: int) -> None:
    """Wait until no process of a group is left."""
    until = time.monotonic() + WAIT
    while True:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        assert time.monotonic() < until, "workers go on"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("everyone", [True, False])
@pytest.mark.parametrize("times", [1, 3])
def test_ctrl_c_ends_workers_and_leaves_nothing_half_written(
    tmp_path: Path, prior_folder: Path, everyone: bool, times: int
) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with ended(start(tmp_path, prior_folder)) as process:
            for number in range(times):
                time.sleep(0.05 * (number > 0))
                if everyone:  # as a terminal sends it
                    os.killpg(process.pid, signal.SIGINT)
                else:
                    process.send_signal(signal.SIGINT)
            assert process.stderr is not None
            said = [row for row in process.stderr if "elapsed" not in row]  # progress
            assert said == ["mrcascade: interrupted\n"]
            assert process.wait(WAIT) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    wait_for_end(process.pid)
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == ["a_desc-sr2x.json", "a_desc-sr2x.npy", "a_desc-sr2x.png", "run.json"]


@pytest.mark.slow
def test_workers_of_a_killed_run_end(tmp_path: Path, prior_folder: Path) -> None:
    with ended(start(tmp_path, prior_folder)) as process:
        process.kill()
    wait_for_end(process.pid)
    assert not list((tmp_path / "out").glob("[bc]_*"))


def test_the_record_takes_a_small_share_of_the_time_and_is_complete(
    inputs: Path, tmp_path: Path, sr: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    original = batch.write_document

    def watched(path: Path, document: dict) -> None:
        written.append(len(document["Results"]))
        original(path, document)

    monkeypatch.setattr(batch, "write_document", watched)
    monkeypatch.setattr(batch, "_RECORD_SHARE", 1e-9)  # the next one is due in years
    assert sr("out", "--noise", "0") == 0
    assert written == [1, 3]
    results = json.loads((tmp_path / "out" / "run.json").read_text())["Results"]
    assert [result["Status"] for result in results] == ["done"] * 3
