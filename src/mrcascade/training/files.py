"""Files of a training run, and the protection of other files."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Sequence
from pathlib import Path

from mrcascade.prior.format import PRIOR_FILE, read_document
from mrcascade.storage.atomic import left_targets, remove_leftovers
from mrcascade.storage.outputs import begin_record, check_record, read_record, refuse_strangers
from mrcascade.training.level import checkpoint_file, read_checkpoint
from mrcascade.training.log import log_file
from mrcascade.training.plot import PLOT_FILE
from mrcascade.training.snapshots import snapshot_files

RECORD_FILE = "training.json"
PRIOR_FOLDER = "prior"


def check_run(output: Path, levels: int, resume: bool) -> None:
    """Raise MRCascadeError if a foreign file has the name of one of the run's files.

    Args:
        output: folder of the run.
        levels: number of levels of the cascade.
        resume: whether checkpoints of a run without a record, begun by an earlier version, prove
            that it is a run.
    """
    if resume and _without_record(output, levels):
        return
    listed = check_record(output, RECORD_FILE, _names(output, levels))
    for level in range(1, levels + 1):
        found = [path.name for path in snapshot_files(output, level)]
        known = found if _snapshots(level) in listed else []
        refuse_strangers(output, found, known, RECORD_FILE)


def begun_run(output: Path, wanted: Sequence[int], levels: int) -> Path | None:
    """Return a file of an earlier run of these levels, None where there was none.

    A run that was killed before its first checkpoint has a record, and perhaps logs. The record
    counts where no other process may be training the other levels.
    """
    found = [checkpoint_file(output, level) for level in wanted]
    if read_record(output / RECORD_FILE) is not None:
        found += [log_file(output, level) for level in wanted]
        found += [output / RECORD_FILE] if len(set(wanted)) == levels else []
    return next((path for path in found if path.exists()), None)


def begin_run(output: Path, wanted: Sequence[int], levels: int, resume: bool) -> None:
    """Write the record of a run, which lists its files, and remove leftovers of killed processes.

    ``wanted`` are the levels that the caller has locked. Other arguments and errors are those of
    `check_run`.
    """
    check_run(output, levels, resume)
    if not (resume and _without_record(output, levels)):
        patterns = [_snapshots(level) for level in range(1, levels + 1)]
        begin_record(output, RECORD_FILE, [*_names(output, levels), *patterns])
    remove_leftovers(of(output, level) for level in wanted for of in (checkpoint_file, log_file))
    snapshots = [fnmatch.translate(_snapshots(level)) for level in wanted]
    remove_leftovers(
        path for path in left_targets(output) if any(re.match(s, path.name) for s in snapshots)
    )
    if len(wanted) == levels:  # else another process may be drawing it
        remove_leftovers([output / PLOT_FILE])


def _names(output: Path, levels: int) -> list[str]:
    numbers = range(1, levels + 1)
    files = [of(output, level).name for level in numbers for of in (checkpoint_file, log_file)]
    prior = [*(f"level{level}.safetensors" for level in numbers), PRIOR_FILE]
    return [*files, PLOT_FILE, *(f"{PRIOR_FOLDER}/{name}" for name in prior)]


def _snapshots(level: int) -> str:
    """Return the record's entry for the snapshots of a level."""
    return f"level{level}-snapshot-*.safetensors"


def _without_record(output: Path, levels: int) -> bool:
    """Return whether the folder holds a run without a record.

    Raises MRCascadeError if its prior folder does not hold a prior.
    """
    if os.path.lexists(output / RECORD_FILE):
        return False
    found = [f for i in range(1, levels + 1) if (f := checkpoint_file(output, i)).is_file()]
    for path in found:
        read_checkpoint(path)
    if found and (output / PRIOR_FOLDER / PRIOR_FILE).exists():
        read_document(output / PRIOR_FOLDER)
    return bool(found)
