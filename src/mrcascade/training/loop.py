"""Loop over the steps of one level, with its log, snapshots and checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from mrcascade.training.level import LevelTrainer, checkpoint_file
from mrcascade.training.log import (
    Record,
    append_record,
    cut_log,
    log_file,
    profile_key,
    validation_errors,
)
from mrcascade.training.snapshots import drop_snapshots, save_snapshot
from mrcascade.training.trackers import Trackers
from mrcascade.training.validation import validate

VALIDATIONS = 12  # per run
SNAPSHOTS = 8  # snapshots of the averaged weights per run


def train_level(
    trainer: LevelTrainer,
    folder: Path,
    *,
    progress: Callable[[int, dict[str, float]], None],
    trackers: Trackers | None = None,
    checkpoint_seconds: float = 60.0,
) -> None:
    """Train a level to the end of its run.

    Of several processes the main one alone validates and writes.

    Args:
        trainer: state of the training.
        folder: folder of checkpoint, snapshots and JSONL log.
        progress: called after each step with its number of patches and its losses, in the main
            process.
        trackers: trackers that get the losses and the records of the log.
        checkpoint_seconds: time between checkpoints.
    """
    processes, checkpoint = trainer.processes, checkpoint_file(folder, trainer.level)
    log = log_file(folder, trainer.level)
    saved = time.monotonic()

    def begin() -> None:
        cut_log(log, trainer.seen)
        drop_snapshots(folder, trainer.level, trainer.seen)

    def keep() -> None:
        nonlocal saved
        progress(trainer.config.batch, losses)
        if trackers is not None:
            trackers.log(trainer.level, trainer.seen, losses)
        if _due(trainer, VALIDATIONS):
            record = _record(trainer)
            trainer.losses = {}
            append_record(log, record)
            if trackers is not None:
                trackers.log(trainer.level, trainer.seen, validation_errors(record))
        if _due(trainer, SNAPSHOTS):
            save_snapshot(folder, trainer.level, trainer.seen, trainer.ema)
        if trainer.seen >= trainer.images or time.monotonic() - saved > checkpoint_seconds:
            trainer.save(checkpoint)
            saved = time.monotonic()

    def end() -> None:
        if not checkpoint.exists():  # a level without networks
            trainer.save(checkpoint)

    processes.from_main(begin)
    while trainer.seen < trainer.images:
        losses = trainer.step()
        processes.on_main(keep)
    processes.from_main(end)


def _due(trainer: LevelTrainer, times: int) -> bool:
    """Return whether the last step ended the run, or one of its ``times`` equal parts."""
    batch, images = trainer.config.batch, trainer.images
    every = max(batch, images // times)
    return trainer.seen // every != (trainer.seen - batch) // every or trainer.seen >= images


def _record(trainer: LevelTrainer) -> Record:
    """Return a record with mean losses and the validation errors of each EMA profile."""
    record: Record = {"images": trainer.seen, "seconds": round(trainer.seconds, 1)}
    record |= {key: round(sum(v) / len(v), 6) for key, v in trainer.losses.items()}
    if trainer.data.validation is not None:
        for profile, std in enumerate(trainer.ema.stds):
            networks = trainer.averaged(profile)
            figures = validate(networks, trainer.data, trainer.level, trainer.config)
            record[profile_key(std)] = {k: round(v, 5) for k, v in figures.items()}
    return record
