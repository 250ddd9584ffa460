"""Losses and validation errors in trackers."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from training_data import TINY

from mrcascade import MRCascadeError
from mrcascade.training import loop, trackers
from mrcascade.training.log import read_log
from mrcascade.training.run import train_cascade


@pytest.mark.usefixtures("_no_plot")
def test_trackers_get_losses_and_validation_errors(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accelerate.tracking import GeneralTracker

    class Notes(GeneralTracker):
        name = "notes"
        requires_logging_directory = False

        def __init__(self, output: Path) -> None:
            super().__init__()
            self.output, self.told, self.state = output, [], "made"

        @property
        def tracker(self) -> list[tuple[int, dict[str, float]]]:
            return self.told

        def start(self) -> None:
            self.state = "begun"

        def store_init_configuration(self, values: dict[str, Any]) -> None: ...

        def log(self, values: dict[str, float], step: int | None = None, **_: Any) -> None:
            assert self.state == "begun"
            self.told.append((step, values))

        def finish(self) -> None:
            self.state = "ended"

    monkeypatch.setattr(loop, "VALIDATIONS", 10)  # one step each
    made = []

    def make(output: Path, config: object) -> Notes:
        made.append(Notes(output))
        return made[-1]

    monkeypatch.setitem(trackers.TRACKERS, "accelerate", make)  # a package that is installed
    names = ["accelerate", "accelerate"]
    train_cascade(data, tmp_path, TINY, levels=[3], log_to=names)
    (notes,) = made
    assert notes.output == tmp_path
    assert notes.state == "ended"
    losses = [(step, values) for step, values in notes.told if "level3/loss" in values]
    assert [step for step, _ in losses] == list(range(8, 81, 8))
    records = read_log(tmp_path / "level3.jsonl")
    for (_, values), record in zip(losses, records, strict=True):
        assert values["level3/loss"] == pytest.approx(record["loss"], abs=1e-6)
    errors = dict(item for item in notes.told if "level3/loss" not in item[1])
    for record in records:
        found = errors[record["images"]]
        assert found["level3/val_ema0.05/s0.8"] == record["val_ema0.05"]["s0.8"]
        assert len(found) == 2 * 6


@pytest.mark.usefixtures("_no_plot")
def test_tensorboard_files_lie_in_the_run_folder(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = replace(TINY, images=16, mean_images=None)
    train_cascade(data, tmp_path, config, levels=[3], log_to=["tensorboard"])
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("level3/loss")] == [8, 16]


def test_trackers_that_are_not_there_are_refused(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(name: str) -> str:
        with pytest.raises(MRCascadeError) as error:
            train_cascade(data, tmp_path / "run", TINY, log_to=[name])
        assert not (tmp_path / "run").exists()
        return str(error.value)

    assert refused("paper") == "--log-to paper: choose from tensorboard, wandb"
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    assert refused("wandb") == (
        "--log-to wandb needs accelerate and wandb: pip install 'mrcascade[trackers]'"
    )


def test_a_tracker_that_does_not_start_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no login\n  on this machine")

    monkeypatch.setitem(trackers.TRACKERS, "wandb", fail)
    with pytest.raises(MRCascadeError) as error:
        trackers.Trackers(["wandb"], tmp_path, TINY)
    assert str(error.value) == (
        "--log-to wandb: it did not start (RuntimeError: no login on this machine); set it up, or"
        " leave it out"
    )


@pytest.mark.usefixtures("_no_plot")
def test_without_trackers_accelerate_is_not_needed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    train_cascade(data, tmp_path, replace(TINY, images=8, mean_images=None), levels=[3])
    assert read_log(tmp_path / "level3.jsonl")
