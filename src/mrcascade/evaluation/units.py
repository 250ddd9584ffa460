"""Units of an evaluation: what a method restores at a time, and the work on all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from mrcascade.devices.facts import release_cache
from mrcascade.devices.failures import DeviceError, device_errors_of, still_answers
from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.figure import Picture, keep_pixels
from mrcascade.evaluation.ledger import Ledger
from mrcascade.io import ImageFile
from mrcascade.messages.faults import naming

#: Called with the number of parts that are done, and a text.
Tick = Callable[[int, str], None]


@dataclass(frozen=True)
class Unit:
    """Parts of a file that a method restores together; ``numbers`` are their indices.

    A part is a slice, or the volume with thick slices along one axis.
    """

    file: str
    method: str
    numbers: tuple[int, ...]

    def same_work(self, other: Unit) -> bool:
        """Return whether both have the same file and the same method."""
        return (self.file, self.method) == (other.file, other.method)


@dataclass(frozen=True)
class Scored:
    """Results of a unit.

    Attributes:
        rows: a row of ``metrics.csv`` per part.
        panels: (picture, name, pixels) of the images to show.
        machine: hardware and batch size that the seconds were measured with.
        news: further facts, a line each.
        domain: prior -> domain score of the unit's file, for priors that know their images.
    """

    rows: list[dict[str, Any]]
    panels: list[tuple[Picture, str, np.ndarray]]
    machine: str
    news: tuple[str, ...] = ()
    domain: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed:
    """A unit without results, and the reason."""

    unit: Unit
    error: str


class Unfinished(MRCascadeError):
    """Error of a device that failed on some files.

    ``written`` lists the report's files about the methods that finished.
    """

    written: Sequence[Path] = ()


class Worker(Protocol):
    """Restores and scores units."""

    def run(self, unit: Unit, tick: Tick) -> Scored | Failed:
        """Restore and score a unit."""


def run_unit(
    unit: Unit, file: ImageFile, device: torch.device, work: Callable[[], Scored]
) -> Scored | Failed:
    """Return the result of ``work``; `Failed` if the device failed but still works.

    Args:
        unit: the unit, for messages.
        file: its file, for messages.
        device: device of the networks.
        work: restores and scores the unit.

    Raises:
        MRCascadeError: the file cannot be measured, or the device does not work any more.
    """
    with naming(unit.file):
        try:
            with device_errors_of(file, device):
                return work()
        except DeviceError as error:
            if not still_answers(device):
                raise
            failed = Failed(unit, f"{error} (method {unit.method})")
    release_cache(device)
    return failed


def open_units(
    ledger: Ledger,
    parts: Mapping[str, Sequence[int]],
    methods: Sequence[str],
    size: int,
    tick: Tick,
) -> list[Unit]:
    """Return the remaining work, file by file, in units of up to ``size`` parts.

    Args:
        ledger: the finished work, of which ``tick`` hears.
        parts: file -> its parts, ascending.
        methods: names of the methods.
        size: number of parts of a unit.
        tick: called with the number of finished parts.
    """
    units = []
    for name, numbers in parts.items():
        for method in methods:
            todo = [n for n in numbers if not ledger.done(name, method, n)]
            tick(len(numbers) - len(todo), "")
            units += [
                Unit(name, method, tuple(todo[i : i + size])) for i in range(0, len(todo), size)
            ]
    return units


def run_here(bench: Worker, units: Sequence[Unit], tick: Tick) -> Iterator[Scored | Failed]:
    """Yield the results of units in this process; a failed unit ends the work on its kind."""
    failed: Failed | None = None
    for unit in units:  # units of one file and method are neighbours
        if failed and unit.same_work(failed.unit):
            continue
        result = bench.run(unit, tick)
        failed = result if isinstance(result, Failed) else None
        yield result


def keep_results(
    ledger: Ledger, results: Iterable[Scored | Failed], say: Callable[[str], None], tick: Tick
) -> list[Failed]:
    """Store results as they come, and return the failures, one per file and method.

    Args:
        ledger: where rows go.
        results: of `run_here` or of worker processes.
        say: called with a line per failure and piece of news.
        tick: called with the number of parts that are done.

    Raises:
        MRCascadeError: units failed, and no method has restored everything.
    """
    failures: list[Failed] = []
    for result in results:
        if isinstance(result, Failed):
            if not any(result.unit.same_work(f.unit) for f in failures):
                failures.append(result)
                say(result.error)
            continue
        for line in result.news:
            say(line)
        # Pixels first: a part whose row is stored is never restored again.
        for picture, name, pixels in result.panels:
            keep_pixels(ledger.folder, picture, name, pixels)
        ledger.add(result.rows, result.machine, result.domain)
        tick(len(result.rows), "")
    if failures and not ledger.methods:
        raise MRCascadeError(failures[0].error)
    return failures


def finished(failures: Sequence[Failed], written: Sequence[Path]) -> list[Path]:
    """Return the files of a report; raise `Unfinished` if there are failures."""
    if not failures:
        return list(written)
    files = ", ".join(dict.fromkeys(f.unit.file for f in failures))
    error = Unfinished(f"{files}: not restored by every method; repeat the command to go on")
    error.written = written
    raise error
