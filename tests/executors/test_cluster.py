"""A real Dask scheduler with two workers: results, the death of a worker, Ctrl-C."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.loopback_cluster import WAIT, LoopbackCluster
from tests.conftest import ROOT
from tests.processes import ended
from tests.test_turns import content

from mrcascade.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.preview]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackCluster]:
    with LoopbackCluster(tmp_path_factory.mktemp("dask"), 2) as made:
        yield made


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As the workers have, so that a serial run rounds alike."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write(folder: Path, count: int, slices: int) -> None:
    folder.mkdir(parents=True)
    for seed in range(count):
        noise = np.random.default_rng(seed).normal(size=(32, 32, slices))
        np.save(folder / f"{seed}.npy", np.abs(60 + 15 * noise).astype(np.float32))


def when(ready: Callable[[], bool], act: Callable[[], object]) -> threading.Thread:
    """Act, in a thread, as soon as something is ready."""

    def watch() -> None:
        until = time.monotonic() + WAIT
        while not ready() and time.monotonic() < until:
            time.sleep(0.01)
        act()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_a_batch_goes_on_where_a_worker_dies(
    cluster: LoopbackCluster, tmp_path: Path, prior_folder: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "in", 6, 2)
    np.save(tmp_path / "in" / "flat.npy", np.ones((16, 16), np.float32))
    options = ["sr", "in", "--factor", "2", "--noise", "0", "--device", "cpu", "--mode", "sample"]
    options += ["--steps", "6", "--samples", "2", "--prior", os.path.relpath(prior_folder)]
    assert main([*options, "-o", "one"]) == 1
    capsys.readouterr()
    out = tmp_path / "two"
    killer = when(lambda: bool([*out.glob("*.json")]), cluster.workers[0].kill)
    assert main([*options, "-o", "two", "--scheduler", cluster.address]) == 1
    killer.join()
    assert cluster.workers[0].wait(WAIT) == -signal.SIGKILL
    said = capsys.readouterr()
    assert "7 files: 6 done, 1 failed" in said.out
    assert "0.npy: axes 0,1" in said.out
    assert "flat.npy" in said.err
    assert content(out) == content(tmp_path / "one")
    assert not [path for path in out.rglob(".*") if path.suffix != ".lock"]
    assert len(json.loads((out / "run.json").read_text())["Results"]) == 7


def test_an_evaluation_on_a_cluster_has_the_rows_of_a_serial_one(
    cluster: LoopbackCluster, tmp_path: Path, prior_folder: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "data" / "brain" / "test", 2, 3)
    options = ["evaluate", "--data", "data", "--factor", "2", "--device", "cpu", "--batch-size"]
    options += ["2", "--prior", str(prior_folder), "--methods", "bicubic,sample", "--steps", "3"]
    assert main([*options, "-o", "one"]) == 0
    assert main([*options, "-o", "two", "--scheduler", cluster.address]) == 0
    rows = []
    for name in ("one", "two"):
        with (tmp_path / name / "metrics.csv").open() as file:
            kept = [{k: v for k, v in r.items() if k != "seconds"} for r in csv.DictReader(file)]
        rows.append(sorted(kept, key=lambda r: (r["file"], r["method"], int(r["slice"]))))
    assert len(rows[0]) == 12
    assert rows[1] == rows[0]


def test_ctrl_c_leaves_nothing_half_written(
    cluster: LoopbackCluster, tmp_path: Path, prior_folder: Path
) -> None:
    write(tmp_path / "in", 1, 400)
    command = [sys.executable, "-m", "mrcascade", "sr", "in", "-o", "new/out", "--factor", "2"]
    command += ["--noise", "0", "--device", "cpu", "--mode", "paper", "--steps", "50"]
    command += ["--prior", str(prior_folder), "--scheduler", cluster.address]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell may ignore
    try:
        with ended(
            subprocess.Popen(
                command,
                cwd=tmp_path,
                env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
                stderr=subprocess.PIPE,
                text=True,
            )
        ) as process:
            when(
                lambda: bool([*(tmp_path / "new").rglob(".*")]),
                lambda: process.send_signal(signal.SIGINT),
            ).join()
            assert process.stderr is not None
            said = [row for row in process.stderr if "elapsed" not in row]  # progress
            assert said == ["mrcascade: interrupted\n"]
            assert process.wait(WAIT) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert not (tmp_path / "new").exists()
