"""Commands killed at random moments: no user file changes and no output is half written.

The same command then continues to the same bits. The environment variable ``MRCASCADE_KILLS`` sets
how many kills each kind of run gets.
"""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.dicom.dicom_series import phantom, series

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("MRCASCADE_KILLS", "4"))
# A process that has the libraries ready, and makes the ones that are killed.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["mrcascade.restore", "mrcascade.evaluation.run", "nibabel"])
# What a run says of itself besides its result.
OF_THE_RUN = {"seconds", "Seconds", "Written", "Status", "Notes", "timed"}


def command(arguments: list[str], log: str) -> None:
    import torch

    from mrcascade.cli import main

    torch.set_num_threads(1)
    with open(log, "w") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
        raise SystemExit(main(arguments))


def run(arguments: list[str], log: Path, killed_after: float | None = None) -> bool:
    """Run a command; returns whether it was killed before its end."""
    process = PROCESSES.Process(target=command, args=(arguments, str(log)))
    process.start()
    process.join(killed_after)
    process.kill()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL), log.read_text()
    return process.exitcode != 0


def files(folder: Path) -> dict[str, bytes]:
    found = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in found}


def without_run(content: object) -> object:
    if isinstance(content, dict):
        return {k: without_run(v) for k, v in content.items() if k not in OF_THE_RUN}
    return [without_run(v) for v in content] if isinstance(content, list) else content


def result(folder: Path) -> dict[str, object]:
    """What a run has made, by name, without what tells of the run."""
    found: dict[str, object] = {}
    for name, content in files(folder).items():
        hidden = any(part.startswith(".") for part in Path(name).parts)
        if hidden or name.endswith(".md"):
            continue  # the table for readers has the numbers of table.json
        if name.endswith(".json"):
            found[name] = without_run(json.loads(content))
        elif name.endswith(".csv"):
            rows = csv.DictReader(io.StringIO(content.decode()))
            found[name] = [{k: v for k, v in row.items() if k not in OF_THE_RUN} for row in rows]
        else:
            found[name] = content
    return found


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kills") / "in"
    series(folder / "x", phantom((2, 32, 32)))
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:48, :48] / 48
    image = (100 + 80 * np.sin(6 * x) * np.cos(5 * y))[..., None] + rng.normal(size=(48, 48, 3))
    np.save(folder / "a.npy", image.astype(np.float32))
    nib.Nifti1Image(image.astype(np.float32), np.eye(4)).to_filename(folder / "b.nii.gz")
    return folder


@pytest.fixture(scope="module")
def batch(prior_folder: Path) -> list[str]:
    arguments = ["--factor", "2", "--prior", str(prior_folder), "--device", "cpu", "--resume"]
    arguments += ["--no-report"]
    return ["sr", "in", "-o", "out", *arguments, "--samples", "2", "--steps", "4"]


@pytest.fixture(scope="module")
def evaluation(prior_folder: Path) -> list[str]:
    arguments = ["--factor", "2", "--prior", str(prior_folder), "--device", "cpu"]
    return ["evaluate", "--data", "in", "-o", "out", *arguments, "--methods", "bicubic,mean"]


@pytest.mark.parametrize("kind", ["batch", "evaluation"])
def test_killed_runs_go_on_to_the_same_bits(
    kind: str,
    inputs: Path,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = request.getfixturevalue(kind)
    shutil.copytree(inputs, tmp_path / "in")
    monkeypatch.chdir(tmp_path)
    log, out = tmp_path / "log", tmp_path / "out"
    given = files(tmp_path / "in")
    run(["--version"], log)  # the first process waits for the libraries
    started = time.monotonic()
    assert not run(arguments, log)
    seconds = time.monotonic() - started
    whole = result(out)
    assert len(whole) > 5
    shutil.rmtree(out)

    moment = random.Random(0)
    killed = rounds = 0
    while killed < KILLS:
        rounds += 1
        assert rounds < 5 * KILLS, "most runs end before they are killed"
        for _ in range(moment.choice([1, 1, 2])):  # a run that goes on is killed, too
            killed += run(arguments, log, moment.uniform(0.1, 0.9) * seconds)
            assert files(tmp_path / "in") == given
            if out.exists() and kind == "batch":
                done = {k: v for k, v in result(out).items() if k != "run.json"}
                assert all(whole[name] == content for name, content in done.items())
        assert not run(arguments, log)
        assert files(tmp_path / "in") == given
        assert result(out) == whole
        assert not [p.name for p in out.rglob(".*") if ".tmp" in p.name]
        shutil.rmtree(out)
