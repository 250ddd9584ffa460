"""``sr`` on several files: remaining inputs, outcomes, and the record of the run."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from mrcascade import __version__
from mrcascade.devices.failures import device_errors_of
from mrcascade.errors import MRCascadeError
from mrcascade.executors import Workers
from mrcascade.executors.task import Job, Work, leave_if_unwanted
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
from mrcascade.jobs.common import Item, sr_targets
from mrcascade.jobs.done import Done
from mrcascade.jobs.opened import checked_item
from mrcascade.jobs.progress import Report, SlicesDone, silent
from mrcascade.jobs.report import add_report
from mrcascade.jobs.request import Request, SuperResolution
from mrcascade.jobs.result import source_identity
from mrcascade.jobs.sr import Restored, restore_file
from mrcascade.jobs.turns import Begin, Turn
from mrcascade.prior.cascade import CascadePrior
from mrcascade.prior.named import check_digest
from mrcascade.sampling import same_record
from mrcascade.storage.atomic import make_folder
from mrcascade.storage.files import TABLE_BYTES, read_json
from mrcascade.storage.outputs import only_writer

_RECORD = "Record of mrcascade sr."  # how its description begins
_RECORD_SECONDS = 60.0  # longest wait for another job that writes its record
# Share of the time that writing the record may take; it grows with the inputs that have ended.
_RECORD_SHARE = 0.05
# Plain names of entries of a request, for messages.
_IN_WORDS = {"acquired": "acquired matrix", "deidentify": "de-identification"}


@dataclass(frozen=True)
class Part:
    """Part ``number`` (from 0) of ``count`` parts of a list of files that several jobs share."""

    number: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.number < self.count:
            raise MRCascadeError(
                f"part {self.number} of {self.count}: --part-id counts from 0 to --num-parts - 1"
            )

    def of(self, items: Sequence[Item]) -> list[Item]:
        """Return every ``count``-th input, so that neighbours of similar size are spread."""
        return list(items[self.number :: self.count])

    @property
    def record_name(self) -> str:
        """File name of the run's record, different for each part as they share a folder."""
        return "run.json" if self.count == 1 else f"run-part{self.number}of{self.count}.json"


@dataclass
class FileBatch:
    """Runs ``sr`` on a list of inputs and writes into the folder ``output``.

    With ``resume``, inputs are skipped if complete results of the same input and the same settings
    exist; a job that overwrites replaces other results. The sidecar is written last, so results
    without one are incomplete and are made again.
    """

    items: Sequence[Item]
    output: Path
    request: Request
    part: Part = Part()
    resume: bool = False
    results: list[Done] = field(default_factory=list)
    _unwritten: MRCascadeError | None = field(default=None, init=False, repr=False)
    _recorded: bool = field(default=True, init=False, repr=False)  # whether the record is complete
    _record_due: float = field(default=0.0, init=False, repr=False)

    def run(self, *, begin: Begin, end: Callable[[Done], None]) -> list[Done]:
        """Restore the inputs in order; an input that fails does not stop the others.

        The files of an input are written while the next input is restored. The record is written
        after each input, or a little later if there are many, and at the end. After the first
        input, the root files of a BIDS derivative are written too.

        Args:
            begin: called with number and item; returns ``say`` and ``progress``, as for
                `super_resolve_file`.
            end: called with the outcome of each input, in their order, once its files exist.

        Returns:
            The outcome of each input.
        """
        before: Turn | None = None
        with self._recording(), ThreadPoolExecutor(1, "mrcascade-write") as writer:
            try:
                for number, item in enumerate(self.items):
                    turn = Turn(Done(number, item), before, lambda done: self._ended(done, end))
                    turn.run(begin, self.restore, writer)
                    before = turn
                    self._check_written()
            finally:
                if before is not None:
                    before.settle()
        return self.results

    def run_in_workers(
        self, workers: Workers, job: Job, *, begin: Begin, end: Callable[[Done], None]
    ) -> list[Done]:
        """Restore the inputs in worker processes; otherwise as `run`.

        Inputs may end in any order; the record lists them in the given order.

        Args:
            workers: the processes, which end with the batch.
            job: made of `file_worker`.
            begin, end: as for `run`; ``begin`` is called when an input has ended.
        """
        made = [folder for folder in (self.output, *self.output.parents) if not folder.exists()]
        try:
            with workers, self._recording():
                make_folder(self.output)  # else a worker might remove it while empty
                for _, done in workers.results(job, self._tasks(workers.retries), _lost):
                    say, _ = begin(done.number, done.item)
                    for line in done.notes:
                        say(line)
                    self._ended(done, end)
                    self._check_written()
        finally:
            for folder in made:
                with suppress(OSError):  # it is not empty
                    folder.rmdir()
        return self.results

    def _tasks(self, retries: bool) -> Iterator[FileTask]:
        """Yield the tasks of `file_worker`, each when its turn comes."""
        for number, item in enumerate(self.items):
            yield FileTask(number, item, retries and self._untouched(item))

    def _untouched(self, item: Item) -> bool:
        """Return whether no file of an input's results exists."""
        try:
            targets = sr_targets(checked_item(item), self.output, self.request.job)
        except MRCascadeError:  # which the work on it will report
            return False
        return not any(map(os.path.lexists, targets.values()))

    def _ended(self, done: Done, end: Callable[[Done], None]) -> None:
        self.results.append(done)
        self.results.sort(key=lambda one: one.number)
        self._recorded = False
        try:
            if time.monotonic() >= self._record_due:
                self._record()
            if done.item.dataset and done.outputs:
                write_bids_root(done.item.dataset, self.output)
        except MRCascadeError as error:  # not an error of the input in work
            self._unwritten = error
        end(done)

    @contextmanager
    def _recording(self) -> Iterator[None]:
        """Check the record before the block, and complete it afterwards."""
        self._check_record()
        try:
            yield
        finally:
            try:
                if not self._recorded:
                    self._record()
            except MRCascadeError as error:  # one that left the block counts
                self._unwritten = error
        self._check_written()

    def _check_written(self) -> None:
        """Raise the error that prevented the record or the dataset's root from being written."""
        if self._unwritten is not None:
            raise self._unwritten

    def restore(
        self,
        item: Item,
        say: Report,
        progress: Callable[[int], SlicesDone],
        untouched: bool = False,
    ) -> Restored | list[Path]:
        """Restore an input, or return its result files if ``resume`` finds them complete.

        untouched: whether there were no results before; those that are there are of a worker that
            died, and are made again.
        """
        item = checked_item(item)
        request = self.request.changed(overwrite=True) if untouched else self.to_do(item)
        if request is None:
            targets = sr_targets(item, self.output, self.request.job)
            # A process may have been killed after its last file had its name.
            with suppress(MRCascadeError), only_writer(targets["sidecar"]):
                remove_leftovers(targets.values())
            say("already done")
            if self.request.job.report:
                add_report(targets["sidecar"], [item.image])
            return list(targets.values())
        with device_errors_of(item, request.prior.device):
            return restore_file(item, self.output, request, say=say, progress=progress)

    def to_do(self, item: Item) -> Request | None:
        """Return the request for an input; None if ``resume`` finds its complete results.

        Raises MRCascadeError if results exist that were made with other settings, unless the job
        overwrites: it then makes these anew, and these alone.
        """
        if not self.resume:
            return self.request
        item = checked_item(item)
        targets = sr_targets(item, self.output, self.request.job)
        if not targets["sidecar"].exists():
            if ending_of(self.output) is not None:
                return self.request  # a name that the user chose may belong to another file
            return self.request.changed(overwrite=True)
        try:
            self._check_finished(item, targets)
        except MRCascadeError:
            if not self.request.job.overwrite:
                raise
            return self.request
        return None

    def _check_finished(self, item: Item, targets: dict[str, Path]) -> None:
        """Raise MRCascadeError unless the results have the input and settings of this job."""
        others = [image.digest() for image in item.others]
        source = source_identity(item.image.digest(), self.request.job, others)
        try:
            # Sidecars of older versions spell the request's keys like the options.
            sidecar = camel_keys(read_json(targets["sidecar"], TABLE_BYTES))
            before, found = dict(sidecar["Request"]), {key: sidecar[key] for key in source}
        except MRCascadeError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise MRCascadeError(
                f"{targets['sidecar']}: not a sidecar of this version, and stays; move it and its"
                " results away or choose another folder"
            ) from error
        now = json.loads(json.dumps(self.request.document))
        different = [
            k for k in now if not same_record(before.get(camel_case(k)), camel_keys(now[k]))
        ]
        if found != source:
            different.append("input")
        if len(different) > 1 and "sampler" in different:  # it follows from the others
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
        """Raise MRCascadeError if the record's name belongs to another file."""
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
        """Write the outcomes so far.

        A single file has no record besides its sidecar. A run without any result writes none.
        """
        self._recorded = True
        if not self._several or not any(done.outputs for done in self.results):
            return
        started = time.monotonic()
        document = {
            "Description": f"{_RECORD} {NOTICE}",
            "Software": [{"Name": "mrcascade", "Version": __version__}],
            "Written": datetime.now(UTC).isoformat(timespec="seconds"),
            "Part": [self.part.number, self.part.count],
            "Files": len(self.items),
            "Request": self.request.document,
            "Results": [self._described(done) for done in self.results],
        }
        target = self.output / self.part.record_name
        with only_writer(target, _RECORD_SECONDS):
            with atomic_output(target, overwrite=True) as path:
                write_document(path, document)
            remove_leftovers([target])
        seconds = time.monotonic() - started
        self._record_due = started + seconds / _RECORD_SHARE

    def _described(self, done: Done) -> dict[str, Any]:
        outputs = [path.relative_to(self.output).as_posix() for path in done.outputs]
        facts = {"Status": done.status, "Seconds": round(done.seconds, 3), "Outputs": outputs}
        if self.request.job.deidentify is not None:
            return facts  # other entries contain names of the input's folders and files
        return {"Input": str(done.item)} | facts | {"Notes": done.notes, "Error": done.error}


@dataclass(frozen=True)
class FileTask:
    """An input for a worker process.

    Attributes:
        number: index of the input in its batch, from 0.
        item: the input.
        untouched: as for `FileBatch.restore`.
    """

    number: int
    item: Item
    untouched: bool = False


def file_worker(
    prior: str | Path,
    digest: str,
    precision: str,
    output: Path,
    job: SuperResolution,
    resume: bool,
    compiled: bool,
    device: str,
) -> Work:
    """Return the work of a process of `FileBatch.run_in_workers`.

    The work takes a `FileTask`, restores its item, writes its files and returns the outcome.

    Args:
        prior: name or folder of the prior.
        digest: digest that the prior has for the command.
        precision: precision of the networks.
        output: folder of the results.
        job: job that each item gets.
        resume: whether items with complete results are skipped.
        compiled: whether to compile the networks.
        device: name of the device.
    """
    loaded = CascadePrior.from_pretrained(prior, device, precision)
    check_digest(loaded, digest)
    request = Request.of(loaded.compile() if compiled else loaded, job)
    batch = FileBatch((), output, request, resume=resume)

    def work(task: FileTask) -> Done:
        ended: list[Done] = []
        turn = Turn(Done(task.number, task.item), None, ended.append)
        restore = partial(batch.restore, untouched=task.untouched)
        with ThreadPoolExecutor(1) as writer:
            turn.run(lambda number, item: (silent, _leaving), restore, writer)
            turn.settle()
        return ended[0]

    return work


def _leaving(slices: int) -> SlicesDone:
    """Return a progress function that leaves an input for whose result nobody waits."""
    return lambda done: leave_if_unwanted()


def _lost(task: FileTask, reason: str) -> Done:
    return Done(task.number, task.item, "failed", error=f"{task.item}: {reason}")
