"""Progress: slices of a volume, bars and lines, remaining time of a batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mrcascade import CascadePrior
from mrcascade.cli import main, progress
from mrcascade.cli.progress import ProgressBar
from mrcascade.jobs import SuperResolution, super_resolve_file
from mrcascade.messages.duration import clock, rounded


class Clock:
    """A clock that stands still until it is told to go on."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(progress, "monotonic", found)
    return found


def test_plain_streams_get_a_line_now_and_then(time: Clock, capsys) -> None:
    bar = ProgressBar(fractions=True)
    bar.start(176, name="2/3 a.nii.gz")
    for seconds in range(1, 31):
        time.now = 1000 + seconds
        bar.at(seconds * 1.5, "1 more file")
    captured = capsys.readouterr()
    assert captured.out == ""
    # 131 slices are left at 1.5 a second.
    line = "45.0 of 176 slices (26 %), 0:30 elapsed, 1:27 remaining, 1 more file"
    assert captured.err == f"2/3 a.nii.gz: {line}\n"


def test_lines_get_rarer(time: Clock, capsys) -> None:
    bar = ProgressBar("patches")
    advance = bar.counting(36_000)
    said = []
    for seconds in range(1, 36_001):
        time.now = 1000 + seconds
        advance(1, "")
        if capsys.readouterr().err:
            said.append(seconds)
    assert said[:20] == list(range(30, 601, 30))  # twice a minute for ten minutes
    assert said[20] == 630
    assert 80 < len(said) < 120
    gaps = np.diff(said)
    assert gaps.min() == 30
    assert all(gap <= 1 + 0.05 * when for when, gap in zip(said[20:], gaps[20:], strict=False))


def test_what_was_done_before_does_not_count_as_speed(time: Clock, capsys) -> None:
    bar = ProgressBar("patches")
    advance = bar.counting(1000, 900, "level 1, U-Net")
    time.now += 30
    advance(10, "loss 0.500")
    line = "910 of 1000 patches (91 %), 0:30 elapsed, 4:30 remaining, loss 0.500"
    assert capsys.readouterr().err == f"level 1, U-Net: {line}\n"


def test_durations() -> None:
    assert [clock(s) for s in (0, 59.6, 245, 3845)] == ["0:00", "1:00", "4:05", "1:04:05"]
    estimates = {0.1: "1 s", 89: "89 s", 91: "2 min", 5399: "90 min", 5400: "1.5 h"}
    assert {s: rounded(s) for s in estimates} == estimates


@pytest.mark.parametrize(
    ("mode", "samples", "batch", "noise"),
    [("mean", 1, 2, 0.0), ("mean", 1, 2, 0.02), ("paper", 1, 3, 0.0), ("paper", 3, 2, 0.02)],
)
def test_slices_are_counted_to_the_end(
    tmp_path: Path, prior_folder: Path, mode: str, samples: int, batch: int, noise: float
) -> None:
    pixels = np.random.default_rng(0).normal(60, 15, size=(16, 16, 5)).astype(np.float32)
    np.save(tmp_path / "a.npy", pixels)
    totals, told = [], []

    def start(slices: int):
        totals.append(slices)
        return told.append

    steps = None if mode == "mean" else 6
    options = {"mode": mode, "steps": steps, "samples": samples, "batch_size": batch}
    job = SuperResolution((2, 2), noise=noise, **options)
    prior = CascadePrior.from_pretrained(prior_folder)
    super_resolve_file(tmp_path / "a.npy", tmp_path / "o", prior, job, say=str, progress=start)
    assert totals == [5]
    assert told == sorted(told)
    assert (told[0], told[-1]) == (0, 5)
    # The last evaluation of a chunk brings its last slice, to rounding; then the next begins.
    chunk = batch if samples == 1 else 2
    ends = [*range(chunk, 5, chunk), 5]
    for end in ends:
        assert sum(abs(done - end) < 1e-9 for done in told) >= 2
    if len(told) > 3 * len(ends):  # where a slice takes several evaluations
        assert any(abs(done - round(done)) > 0.01 for done in told)
    else:
        assert (mode, noise) == ("mean", 0.0)


def test_a_batch_says_what_is_left(
    tmp_path: Path, prior_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    monkeypatch.setattr(progress, "LINE_SHARE", 0.0)
    for name in "abc":
        pixels = np.random.default_rng(ord(name)).normal(60, 15, size=(16, 16, 2))
        np.save(tmp_path / f"{name}.npy", pixels.astype(np.float32))
    options = ["-o", str(tmp_path / "out"), "--factor", "2", "--device", "cpu"]
    assert main(["sr", str(tmp_path), *options, "--prior", str(prior_folder)]) == 0
    lines = capsys.readouterr().err.splitlines()
    for number, left in (("1/3 a.npy", "2 more files"), ("2/3 b.npy", "1 more file")):
        of_file = [line for line in lines if line.startswith(f"{number}: ")]
        assert of_file[0].endswith(left)  # at 0 slices
        assert all(f", {left}, about " in line for line in of_file[1:])
        assert of_file[-1].startswith(f"{number}: 2.0 of 2 slices (100 %), ")
    assert lines[-1].startswith("3/3 c.npy: 2.0 of 2 slices (100 %), ")
    assert lines[-1].endswith(" remaining")
