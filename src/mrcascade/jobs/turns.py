"""Inputs in turn within one process: an input's files are written while the next is restored."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path

from mrcascade.errors import MRCascadeError
from mrcascade.jobs.common import Item
from mrcascade.jobs.done import Done
from mrcascade.jobs.progress import Report, SlicesDone
from mrcascade.jobs.sr import Restored
from mrcascade.messages.faults import naming

# Called with number and item of an input that begins; returns its ``say`` and ``progress``.
Begin = Callable[[int, Item], tuple[Report, Callable[[int], SlicesDone]]]
# Restores an input; returns the names of its results if they exist already.
Restore = Callable[[Item, Report, Callable[[int], SlicesDone]], Restored | list[Path]]


# Free disk space that the next input needs, in units of this input's temporary files: its own
# temporary files, and the outputs of both.
_ROOM = 8


class Turn:
    """The turn of one input. It ends, and shows its lines, after the turn before it has ended.

    Attributes:
        done: outcome of the input.
    """

    def __init__(self, done: Done, before: Turn | None, end: Callable[[Done], None]) -> None:
        """Prepare a turn.

        Args:
            done: outcome, which is filled in.
            before: the turn before this one, None for the first.
            end: called with the outcome, in the order of the turns.
        """
        self.done, self._before, self._end = done, before, end
        self._held: list[str] = []
        self._say: Report = self._held.append
        self._future: Future[tuple[list[Path], str]] | None = None
        self._ended, self._bytes = False, 0

    def run(self, begin: Begin, restore: Restore, writer: Executor) -> None:
        """Restore the input; ``writer`` then writes its files in the background."""
        self._say, progress = begin(self.done.number, self.done.item)
        restored = self._restored(progress, restore)
        try:
            if self._before is not None:
                self._before.settle()
            self._show()
        except BaseException:
            if isinstance(restored, Restored):
                restored.discard()
            raise
        if isinstance(restored, Restored):
            self._bytes, self._folder = restored.bytes, restored.folder
            self._future = writer.submit(self._publish, restored)
            return
        if restored is not None:
            self.done.status, self.done.outputs = "skipped", restored
        self._finish()

    def settle(self, wait: bool = True) -> bool:
        """Return whether the turn has ended; with ``wait``, wait for its end."""
        if self._ended or self._future is None:
            return self._ended
        if not wait and not self._future.done():
            return False
        try:
            with naming(*self.done.item.names):
                self.done.outputs, line = self._future.result()
            self._note(line)
        except MRCascadeError as error:
            self._failed(error)
        self._finish()
        return True

    @property
    def fills_disk(self) -> bool:
        """Whether the disk may be too small for a second input of this size."""
        if self._ended or self._future is None:
            return False
        try:
            return shutil.disk_usage(self._folder).free < _ROOM * self._bytes
        except OSError:  # the folder went with a result that failed
            return True

    def _restored(
        self, start: Callable[[int], SlicesDone], restore: Restore
    ) -> Restored | list[Path] | None:
        """Return the restored slices, or names of existing results; None if it failed."""
        if self._before is not None and self._before.fills_disk:
            self._before.settle()
        started = time.monotonic()
        try:
            with naming(*self.done.item.names):
                return restore(self.done.item, self._note, self._watched(start))
        except MRCascadeError as error:
            self._failed(error)
            return None
        finally:
            self.done.seconds = time.monotonic() - started

    def _publish(self, restored: Restored) -> tuple[list[Path], str]:
        started = time.monotonic()
        try:
            return restored.publish()
        finally:
            self.done.seconds += time.monotonic() - started

    def _watched(self, start: Callable[[int], SlicesDone]) -> Callable[[int], SlicesDone]:
        def begun(slices: int) -> SlicesDone:
            tell = start(slices)

            def told(done: float) -> None:
                self._show()
                tell(done)

            return told

        return begun

    def _note(self, line: str) -> None:
        self.done.notes.append(line)
        self._held.append(line)
        self._show()

    def _show(self) -> None:
        """Show the held lines, once the turn before has ended."""
        if self._before is None or self._before.settle(wait=False):
            for line in self._held:
                self._say(line)
            self._held.clear()

    def _failed(self, error: MRCascadeError) -> None:
        self.done.status, self.done.error = "failed", str(error)

    def _finish(self) -> None:
        self._show()
        self._before = None
        self._ended = True
        self._end(self.done)
