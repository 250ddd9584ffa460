"""Several files one after another: what is left to do, how each ended, and the record of it all."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from mrcascade import __version__
from mrcascade.devices.failures import device_errors_of
from mrcascade.errors import MRCascadeError
from mrcascade.io import (
    NOTICE,
    atomic_output,
    camel_case,
    camel_keys,
    ending_of,
    remove_leftovers,
    write_bids_root,
    write_document,
)
from mrcascade.jobs.common import (
    Item,
    Report,
    SuperResolution,
    sr_request,
    sr_targets,
)
from mrcascade.jobs.progress import SlicesDone
from mrcascade.jobs.result import source_identity
from mrcascade.jobs.sr import checked_item, restore_file
from mrcascade.messages.faults import naming
from mrcascade.prior.cascade import CascadePrior
from mrcascade.sampling import same_record
from mrcascade.storage.files import TABLE_BYTES, read_json
from mrcascade.storage.outputs import only_writer

Status = Literal["done", "skipped", "failed"]
_RECORD = "Record of mrcascade sr."  # how its description begins
_RECORD_SECONDS = 60.0  # in which another job has surely written its record
# Entries of a request whose names do not say what they are.
_IN_WORDS = {"acquired": "acquired matrix", "deidentify": "de-identification"}


@dataclass(frozen=True)
class Part:
    """Part ``number`` (from 0) of ``count``, for jobs that share a list of files."""

    number: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.number < self.count:
            raise MRCascadeError(
                f"part {self.number} of {self.count}: --part-id counts from 0 to --num-parts - 1"
            )

    def of(self, items: Sequence[Item]) -> list[Item]:
        """Every ``count``-th of the inputs, so that neighbours of like size are shared out."""
        return list(items[self.number :: self.count])

    @property
    def record_name(self) -> str:
        """Name of the record; parts that write to one folder must not share it."""
        return "run.json" if self.count == 1 else f"run-part{self.number}of{self.count}.json"


@dataclass
class Done:
    """How one input ended."""

    item: Item
    status: Status
    seconds: float
    outputs: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    error: str | None = None


@dataclass
class Batch:
    """``sr`` on a list of inputs, into the folder ``output``.

    With ``resume`` an input is skipped whose results are there, made from the same input with the
    same settings; those of a run that was killed before the sidecar, which comes last, had its
    name are made anew.
    """

    items: Sequence[Item]
    output: Path
    prior: CascadePrior
    job: SuperResolution
    part: Part = Part()
    resume: bool = False
    results: list[Done] = field(default_factory=list)

    def run(
        self,
        *,
        begin: Callable[[int, Item], tuple[Report, Callable[[int], SlicesDone]]],
        end: Callable[[Done], None],
    ) -> list[Done]:
        """Restore one input after another and go on after one that fails.

        ``begin(number, item)`` gives what ``super_resolve_file`` wants as ``say`` and
        ``progress``; ``end`` hears how it ended. The record is written after each, and after the
        first what makes the results of a BIDS dataset one, too.
        """
        self._check_record()
        for number, item in enumerate(self.items):
            say, progress = begin(number, item)
            started = time.monotonic()
            done = Done(item, "done", 0.0)
            try:
                with naming(str(item)):
                    done.status, done.outputs = self._file(item, _noting(done, say), progress)
            except MRCascadeError as error:
                done.status, done.error = "failed", str(error)
            done.seconds = time.monotonic() - started
            self.results.append(done)
            self._record()
            if item.dataset and done.outputs:
                write_bids_root(item.dataset, self.output)
            end(done)
        return self.results

    def _file(
        self, item: Item, say: Report, progress: Callable[[int], SlicesDone]
    ) -> tuple[Status, list[Path]]:
        item = checked_item(item)
        job = self.to_do(item)
        if job is None:
            say("already done")
            return "skipped", list(sr_targets(item, self.output, self.job).values())
        with device_errors_of(item, self.prior.device):
            return "done", restore_file(
                item, self.output, self.prior, job, say=say, progress=progress
            )

    def to_do(self, item: Item) -> SuperResolution | None:
        """The job that is left for an input, None where ``resume`` finds that it is done.

        Raises MRCascadeError where its results are there, but come of other settings.
        """
        if not self.resume:
            return self.job
        item = checked_item(item)
        targets = sr_targets(item, self.output, self.job)
        if not targets["sidecar"].exists():
            if ending_of(self.output) is not None:
                return self.job  # a name of the user's choice may be that of another file
            return replace(self.job, overwrite=True)
        if self.job.overwrite:
            return self.job
        self._check_finished(item, targets)
        return None

    def _check_finished(self, item: Item, targets: dict[str, Path]) -> None:
        """Raise MRCascadeError unless the results are those that the job would make."""
        source = source_identity(item.image.digest(), self.job)
        try:
            # Older versions wrote the request's keys as the options have them.
            sidecar = camel_keys(read_json(targets["sidecar"], TABLE_BYTES))
            before, found = dict(sidecar["Request"]), {key: sidecar[key] for key in source}
        except MRCascadeError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise MRCascadeError(
                f"{targets['sidecar']}: not a sidecar of this version, and stays; move it and its"
                " results away or choose another folder"
            ) from error
        now = json.loads(json.dumps(sr_request(self.prior, self.job)))
        different = [
            k for k in now if not same_record(before.get(camel_case(k)), camel_keys(now[k]))
        ]
        if found != source:
            different.append("input")
        if len(different) > 1 and "sampler" in different:  # which follows from the others
            different.remove("sampler")
        missing = [t.name for t in targets.values() if not t.exists()]
        if different or missing:
            named = ", ".join(_IN_WORDS.get(key, key) for key in different)
            reason = f"come from other {named}" if different else f"lack {missing[0]}"
            raise MRCascadeError(
                f"{item}: its results in {targets['sidecar'].parent} {reason}; add --overwrite or"
                " choose another folder"
            )

    @property
    def _several(self) -> bool:
        return len(self.items) > 1 or self.part.count > 1

    def _check_record(self) -> None:
        """Raise MRCascadeError where the record's name is taken by something else."""
        if not self._several:
            return
        target = self.output / self.part.record_name
        try:
            if target.is_symlink():
                raise ValueError("a link, which mrcascade does not make")
            description = read_json(target, TABLE_BYTES)["Description"]
            ours = description.startswith(_RECORD)
        except FileNotFoundError:
            return
        except MRCascadeError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            ours = False
        if not ours:
            raise MRCascadeError(f"{target} is not a record of mrcascade; choose another folder")

    def _record(self) -> None:
        """Write what has been done so far. One file needs no record besides its sidecar, and a
        run of which nothing came leaves nothing behind."""
        if not self._several or not any(done.outputs for done in self.results):
            return
        document = {
            "Description": f"{_RECORD} {NOTICE}",
            "Software": [{"Name": "mrcascade", "Version": __version__}],
            "Written": datetime.now(UTC).isoformat(timespec="seconds"),
            "Part": [self.part.number, self.part.count],
            "Files": len(self.items),
            "Request": sr_request(self.prior, self.job),
            "Results": [self._described(done) for done in self.results],
        }
        target = self.output / self.part.record_name
        with only_writer(target, _RECORD_SECONDS):
            with atomic_output(target, overwrite=True) as path:
                write_document(path, document)
            remove_leftovers([target])

    def _described(self, done: Done) -> dict[str, Any]:
        outputs = [path.relative_to(self.output).as_posix() for path in done.outputs]
        facts = {"Status": done.status, "Seconds": round(done.seconds, 3), "Outputs": outputs}
        if self.job.deidentify is not None:
            return facts  # the rest has names of the input's folders and files in it
        return {"Input": str(done.item)} | facts | {"Notes": done.notes, "Error": done.error}


def _noting(done: Done, say: Report) -> Report:
    def note(line: str) -> None:
        done.notes.append(line)
        say(line)

    return note
