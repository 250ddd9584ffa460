"""Exact resume after SIGKILL, and runs that cannot resume."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.processes import ended
from tests.quick import slow
from training_data import TINY, assert_same, checkpoint, trainer, volumes, without_time

from mrcascade import MRCascadeError
from mrcascade.training import loop
from mrcascade.training.config import TrainConfig
from mrcascade.training.files import begin_run, begun_run
from mrcascade.training.log import read_log
from mrcascade.training.loop import train_level
from mrcascade.training.run import train_cascade
from mrcascade.training.slice_cache import write_cache

# Trains one level of the cache, checkpoints after every step, and stops to be killed in the
# middle of the fourth: a signal from outside, at a moment when nothing is prepared for it.
VICTIM = """
import sys, time
from pathlib import Path
from training_data import quick, trainer
from mrcascade.training.loop import train_level

with quick():
    run = trainer(Path(sys.argv[1]))
optimizer = run.mean_optimizers[0][0]
step, count = optimizer.step, 0

def stuck(*arguments):
    global count
    count += 1
    if count == 4:
        print("in step 4", flush=True)
        time.sleep(600)
    return step(*arguments)

optimizer.step = stuck
with quick():
    train_level(run, Path(sys.argv[2]), progress=lambda n, text: None, checkpoint_seconds=0)
"""


# ---- exact resume ----


@pytest.mark.slow
@pytest.mark.usefixtures("_no_plot")
def test_killed_and_resumed_run_is_the_undisturbed_one(
    data: Path, finished: Path, tmp_path: Path
) -> None:
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
    }
    command = [sys.executable, "-c", VICTIM, str(data), str(tmp_path)]
    with ended(
        subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
    ) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == "in step 4\n"
        victim.send_signal(signal.SIGKILL)
    assert victim.returncode == -signal.SIGKILL
    assert checkpoint(tmp_path)["seen"] == 3 * TINY.batch
    # What a kill can leave besides: a record and a snapshot newer than the checkpoint, half a
    # line and half a checkpoint.
    (tmp_path / ".level1.123.0.tmp.ckpt").write_bytes(b"half a checkpoint")
    (tmp_path / ".level1-snapshot-7.123.0.tmp.safetensors").write_bytes(b"half a snapshot")
    late = tmp_path / f"level1-snapshot-{3 * TINY.batch + 1}.safetensors"
    shutil.copy(min(finished.glob("level1-snapshot-*")), late)
    with (tmp_path / "level1.jsonl").open("a") as log:
        log.write(json.dumps({"images": 4 * TINY.batch, "loss": 1.0}) + '\n{"images": 5')

    assert train_cascade(data, tmp_path, TINY, levels=[1], resume=True) is None

    assert_same(without_time(checkpoint(tmp_path)), without_time(checkpoint(finished)))
    assert checkpoint(finished)["seen"] == TINY.images
    records = [read_log(folder / "level1.jsonl") for folder in (tmp_path, finished)]
    assert len(records[0]) == 5
    for a, b in zip(*records, strict=True):
        assert without_time(a) == without_time(b)
    assert not list(tmp_path.glob(".*"))
    names = {p.name for p in finished.glob("level1-snapshot-*")}
    assert names == {p.name for p in tmp_path.glob("level1-snapshot-*")}
    for name in names:
        assert_same(load_file(tmp_path / name), load_file(finished / name))


@pytest.mark.usefixtures("_no_plot")
def test_two_runs_are_the_same_whatever_the_global_generator(
    data: Path, finished: Path, tmp_path: Path
) -> None:
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    train_cascade(data, tmp_path, TINY, levels=[2])
    assert torch.equal(torch.random.get_rng_state(), before)
    assert_same(without_time(checkpoint(tmp_path, 2)), without_time(checkpoint(finished, 2)))


def test_other_seeds_are_other_runs(data: Path, finished: Path) -> None:
    other = trainer(data, config=replace(TINY, seed=2))
    same = trainer(data)
    initial = same.networks.state_dict()
    assert not torch.equal(
        other.networks.state_dict()["unet.stem.weight"], initial["unet.stem.weight"]
    )


@pytest.mark.usefixtures("_no_plot")
def test_resume_may_lengthen_a_stage_that_has_not_ended(data: Path, run: Path) -> None:
    train_cascade(data, run, replace(TINY, images=96), levels=[3], resume=True)
    assert checkpoint(run, 3)["seen"] == 96
    refused(
        data, run, replace(TINY, mean_images=40), "too late to change to 40; add --mean-images 32,"
    )
    short = trainer(data)
    short.step()
    short.save(run / "level1.ckpt")
    longer = trainer(data, config=replace(TINY, mean_images=40))
    longer.load(run / "level1.ckpt")
    assert (longer.seen, longer.stages) == (8, (40, 40))


def of_older_version(run: Path, level: int, branch: int, unet: int) -> None:
    """As a version wrote it whose ``images`` were the U-Net's alone."""
    state = checkpoint(run, level)
    del state["stages"]
    stored = json.loads(state["config"]) | {"images": unet, "mean_images": branch}
    torch.save(state | {"config": json.dumps(stored), "seen": 40}, run / f"level{level}.ckpt")


@pytest.mark.slow
@pytest.mark.usefixtures("_no_plot")
def test_older_runs_go_on_as_they_were_begun(data: Path, run: Path) -> None:
    of_older_version(run, 1, 32, 48)
    of_older_version(run, 3, 32, 48)  # of which the 32 are not its own
    train_cascade(data, run, TINY, levels=[1], resume=True)
    assert checkpoint(run, 1)["seen"] == 80
    assert checkpoint(run, 1)["stages"] == [32, 48]
    with pytest.raises(MRCascadeError, match="add --levels 3 --images 48, or use") as error:
        train_cascade(data, run, TINY, resume=True)
    assert "with 0 patches for the regression branch and 48 for the U-Net" in str(error.value)
    config = replace(TINY, images=48, mean_images=None)
    assert train_cascade(data, run, config, levels=[3], resume=True) == run / "prior"
    assert checkpoint(run, 3)["seen"] == 48


def test_older_runs_of_other_lengths_are_refused(data: Path, run: Path) -> None:
    of_older_version(run, 1, 32, 24)
    refused(data, run, TINY, "to go on, add --levels 1 --images 56 --mean-images 32, or use")


@pytest.mark.slow
def test_records_have_the_losses_before_a_kill(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record is a mean over steps, of which a checkpoint may have the first ones."""
    monkeypatch.setattr(loop, "VALIDATIONS", 2)
    config = replace(TINY, images=8 * TINY.batch, mean_images=None)  # 4 steps per record

    class KilledError(Exception): ...

    def train(folder: Path, last: int | None = None) -> list[dict[str, object]]:
        folder.mkdir(exist_ok=True)
        run = trainer(data, 3, config)
        if last is None and (folder / "level3.ckpt").exists():
            run.load(folder / "level3.ckpt")

        def progress(count: int, losses: dict[str, float]) -> None:
            if last is not None and run.seen == last * TINY.batch:
                raise KilledError

        with suppress(KilledError):
            train_level(run, folder, progress=progress, checkpoint_seconds=0)
        return [without_time(record) for record in read_log(folder / "level3.jsonl")]

    assert len(train(tmp_path / "killed", 7)) == 1
    assert checkpoint(tmp_path / "killed", 3)["seen"] == 6 * TINY.batch
    assert train(tmp_path / "killed") == train(tmp_path / "undisturbed")


def test_every_checkpoint_is_whole(data: Path, tmp_path: Path) -> None:
    run = trainer(data, 3, replace(TINY, images=24, mean_images=None))
    seen = []

    def look(count: int, message: str) -> None:
        path = tmp_path / "level3.ckpt"
        seen.append(torch.load(path, weights_only=True)["seen"] if path.exists() else 0)

    train_level(run, tmp_path, progress=look, checkpoint_seconds=0)
    assert seen == [0, 8, 16]


# ---- what does not resume ----


def refused(data: Path, run: Path, config: TrainConfig = TINY, reason: str = "") -> None:
    with pytest.raises(MRCascadeError, match=reason) as error:
        train_cascade(data, run, config, levels=[1], resume=True)
    assert str(error.value).startswith(f"{run / 'level1.ckpt'}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"hello", None])
def test_damaged_checkpoint(data: Path, run: Path, content: bytes | None) -> None:
    path = run / "level1.ckpt"
    path.write_bytes(path.read_bytes()[:-1000] if content is None else content)
    refused(data, run, reason="not a readable checkpoint")


@pytest.mark.parametrize("content", [{"model": torch.zeros(2)}, torch.zeros(3)])
def test_foreign_checkpoint(data: Path, run: Path, content: object) -> None:
    torch.save(content, run / "level1.ckpt")
    refused(data, run, reason="not a checkpoint of a level")


def test_a_changed_byte_is_found(data: Path, run: Path) -> None:
    """torch does not compare the checksums of its files."""
    path = run / "level1.ckpt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    refused(data, run, reason="not a readable checkpoint")


@pytest.mark.parametrize(
    "entry", ["config", "level", "statistics", "networks", "optimizer", "ema", "scaler"]
)
@pytest.mark.parametrize("value", [None, slow("x")])
def test_entries_of_another_kind(data: Path, run: Path, entry: str, value: object) -> None:
    stored = checkpoint(run)
    stored[entry] = value
    torch.save(stored, run / "level1.ckpt")
    refused(data, run, reason="not a checkpoint of a level")


@pytest.mark.parametrize("entry", ["networks", "ema"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite(data: Path, run: Path, entry: str, value: float) -> None:
    stored = checkpoint(run)
    weights = stored["networks"] if entry == "networks" else stored["ema"][-1]
    next(v for v in weights.values() if v.is_floating_point()).view(-1)[0] = value
    torch.save(stored, run / "level1.ckpt")
    refused(data, run, reason="NaN or infinite")


def test_checkpoint_of_another_level(data: Path, run: Path) -> None:
    shutil.copy(run / "level2.ckpt", run / "level1.ckpt")
    refused(data, run, reason=r"other settings \(level\)")


@pytest.mark.parametrize(
    ("setting", "value"), [("rate", 0.1), ("batch", 4), ("kernel", "area"), ("ema", (0.05,))]
)
def test_other_settings(data: Path, run: Path, setting: str, value: object) -> None:
    refused(data, run, replace(TINY, **{setting: value}), rf"other settings \({setting}\)")


def test_other_data(run: Path, tmp_path: Path) -> None:
    other = [replace(v, slices=v.slices[:2] ** 2) for v in volumes()]
    write_cache(other, tmp_path / "other.hdf5")
    refused(tmp_path / "other.hdf5", run, reason="other training data")


def test_networks_of_another_version(data: Path, run: Path) -> None:
    stored = checkpoint(run)
    stored["networks"]["unet.out.weight"] = torch.zeros(1)
    torch.save(stored, run / "level1.ckpt")
    refused(data, run, reason="other networks")


def test_runs_are_not_overwritten(data: Path, run: Path) -> None:
    with pytest.raises(MRCascadeError, match="--resume"):
        train_cascade(data, run, TINY)
    with pytest.raises(MRCascadeError, match="1 to 3"):
        train_cascade(data, run, TINY, levels=[4], resume=True)


def test_a_run_killed_before_its_first_checkpoint_is_a_run(tmp_path: Path) -> None:
    """Its record says so, and the logs of its levels; other levels may be in training beside it."""
    run = tmp_path / "run"
    run.mkdir()
    begin_run(run, [1, 2, 3], 3, resume=False)
    assert begun_run(run, [1, 2, 3], 3) == run / "training.json"
    with pytest.raises(MRCascadeError, match=r"training.json: exists; use --resume to go on"):
        train_cascade(tmp_path / "no data", run, TrainConfig(network="tiny"))
    assert begun_run(run, [1], 3) is None
    (run / "level1.jsonl").write_text("")
    assert begun_run(run, [1], 3) == run / "level1.jsonl"
    assert begun_run(run, [2, 3], 3) is None


def test_a_file_of_somebody_else_is_no_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "training.json").write_text("{}")
    (run / "level1.jsonl").write_text("mine")
    assert begun_run(run, [1, 2, 3], 3) is None
    with pytest.raises(MRCascadeError, match="not a record of mrcascade, and stays"):
        train_cascade(tmp_path / "no data", run, TrainConfig(network="tiny"))
