"""Progress of long commands: a bar on a terminal, elsewhere a line from time to time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from mrcascade.cli import terminal
from mrcascade.messages.duration import clock

if TYPE_CHECKING:
    from rich.progress import Progress

# Time between two lines: LINE_SECONDS, or LINE_SHARE of the time since the first task began if that
# is longer. A log of ten minutes gets 20 lines, one of ten hours about 100.
LINE_SECONDS = 30.0
LINE_SHARE = 1 / 20
_DRAWN_PER_SECOND = 4


class ProgressBar:
    """Progress of one task after another, on stderr. Results and notes go to stdout."""

    def __init__(self, unit: str = "slices", fractions: bool = False) -> None:
        """Make a bar that is not shown before `start`.

        Args:
            unit: plural name of what is counted.
            fractions: whether to show one decimal of the count.
        """
        self._unit, self._digits = unit, ".1f" if fractions else ".0f"
        self._terminal = terminal.is_terminal(sys.stderr)
        self._bar: Progress | None = None
        self._begun: float | None = None  # when the first task began
        self._line_due = 0.0
        self._name, self._total, self._first, self._started = "", 0, 0.0, 0.0

    def start(self, total: int, done: float = 0, name: str = "") -> None:
        """Begin a task of ``total`` units, of which ``done`` are finished already."""
        self.close()
        self._name, self._total, self._first = name, total, done
        self._started = monotonic()
        if self._begun is None:
            self._begun, self._line_due = self._started, self._started + LINE_SECONDS
        if self._terminal:
            self._bar = self._drawn()
            self._bar.start()
            self._show(done, "")

    def at(self, done: float, text: str = "") -> None:
        """Show that ``done`` units are finished, and ``text`` beside it."""
        if self._bar is not None:
            self._show(done, text)
        elif (now := monotonic()) >= self._line_due:
            terminal.tell(self._line(done, text))
            assert self._begun is not None
            self._line_due = now + max(LINE_SECONDS, LINE_SHARE * (now - self._begun))

    def counting(self, total: int, done: int = 0, name: str = "") -> Callable[[int, str], None]:
        """Begin a task as `start` does; return a callback (units since the last call, text)."""
        self.start(total, done, name)
        count = done

        def advance(units: int, text: str) -> None:
            nonlocal count
            count += units
            self.at(count, text)

        return advance

    def remaining(self, done: float) -> float | None:
        """Return the seconds until the task ends, None before its first unit is finished."""
        if done <= self._first:
            return None
        return self.elapsed * max(self._total - done, 0) / (done - self._first)

    @property
    def elapsed(self) -> float:
        """Seconds since the task began."""
        return monotonic() - self._started

    def say(self, line: str) -> None:
        """Print a line to stdout, above a running bar."""
        if self._bar is not None and terminal.is_terminal(sys.stdout):
            terminal.tell(line)  # on the same screen, where a plain line would tear the bar
        else:
            terminal.line(line)

    def close(self) -> None:
        """End the bar, if there is one."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _drawn(self) -> Progress:
        """Return a bar with its name, share, count, times and a text."""
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        bar = Progress(
            *([TextColumn("{task.description}", markup=False)] if self._name else []),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %"),
            TextColumn("{task.fields[count]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("{task.fields[rest]}", markup=False),
            console=terminal.console(),
            refresh_per_second=_DRAWN_PER_SECOND,
            redirect_stdout=False,  # results may go to a file meanwhile
            redirect_stderr=False,
        )
        name = terminal.showable(self._name, sys.stderr)
        bar.add_task(name, total=max(self._total, 1), count="", rest="")
        return bar

    def _show(self, done: float, text: str) -> None:
        assert self._bar is not None
        remaining = self.remaining(done)
        parts = [] if remaining is None else [f"{clock(remaining)} remaining"]
        parts += [text] if text else []
        self._bar.update(
            self._bar.task_ids[0],
            completed=done,
            count=f"{done:{self._digits}} of {self._total} {self._unit}",
            rest=terminal.showable(", ".join(parts), sys.stderr),
        )

    def _line(self, done: float, text: str) -> str:
        remaining = self.remaining(done)
        parts = [
            f"{done:{self._digits}} of {self._total} {self._unit}"
            f" ({100 * done / max(self._total, 1):.0f} %)",
            f"{clock(self.elapsed)} elapsed",
            *([] if remaining is None else [f"{clock(remaining)} remaining"]),
            *([text] if text else []),
        ]
        return (f"{self._name}: " if self._name else "") + ", ".join(parts)
