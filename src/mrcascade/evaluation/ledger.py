"""Files that an evaluation writes as it goes, so that a killed one can resume.

``evaluation.json`` holds the settings and lists the files that may be replaced. Each restored part
of a file (a slice, or its volume along one axis) adds a row to ``metrics.csv``; a row is complete
once it ends with a line break. One process at a time works on a folder.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mrcascade.errors import MRCascadeError
from mrcascade.io import atomic_output, make_folder
from mrcascade.sampling import same_record
from mrcascade.storage.files import TABLE_BYTES, read_bytes, read_json
from mrcascade.storage.outputs import refuse_no_folder, refuse_strangers

METRICS = ("psnr_slice", "psnr_volmax", "ssim_slice", "ssim_volmax", "nmse", "lpips")
COMPLEX_METRICS = ("nmse_complex", "phase_error")  # additional columns for complex images
_KEY = ("file", "slice", "anatomy", "method", "factor", "kernel", "noise")
_COSTS = ("residual", "seconds", "nfe", "gflop")
SPREAD = "spread_skill"  # only for means of samples
VOLUME_METRICS = ("psnr", "ssim", "nmse")
VOLUME_COLUMNS = (
    *("file", "anatomy", "method", "factor", "kernel", "noise", "slices"),
    *VOLUME_METRICS,
    *_COSTS,
)
_TEXT = ("file", "anatomy", "method", "factor", "kernel", "profile")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Layout:
    """Rows of ``metrics.csv``: each has the results of one part of a file by one method.

    Attributes:
        part: column with the number of the part.
        parts: entry of the settings with the numbers of each file.
        part_word: name of a part in messages.
        key: columns that say what a row is about.
        metrics: columns of the scores.
        costs: columns after the scores.
    """

    part: str
    parts: str
    part_word: str
    key: tuple[str, ...]
    metrics: tuple[str, ...]
    costs: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns."""
        return (*self.key, *self.metrics, *self.costs)

    def identity(self, row: Row) -> tuple[str, str, int]:
        """Return file, method and number of the part of a row."""
        return row["file"], row["method"], int(row[self.part])


#: A row per slice.
SLICES = Layout("slice", "slices", "slice", _KEY, METRICS, (*_COSTS, SPREAD))
SLICE_COLUMNS = SLICES.columns

SETTINGS_FILE = "evaluation.json"
SLICES_FILE, VOLUMES_FILE = "metrics.csv", "volumes.csv"
TABLE_FILES = ("table.md", "table.json")
FIGURE_FILE, FIGURE_FOLDER = "slices.png", "slices"
_PIXELS = re.compile(rf"{FIGURE_FOLDER}/[0-9]+_[^/]+\.npy")
# Files of every evaluation, besides the pixels of its picture.
FIXED_FILES = (SETTINGS_FILE, SLICES_FILE, VOLUMES_FILE, *TABLE_FILES, FIGURE_FILE)

# Error handler that preserves bytes of file names that are not UTF-8.
_AS_NAMED = "surrogateescape"
_ROWS_BYTES = 2**28  # size limit of the table; a row has about 150 bytes


class Ledger:
    """Rows of restored parts, in memory and on disk.

    ``document`` has five entries:

    * ``settings``: settings that every row depends on. Its entry ``layout.parts`` lists the parts
      of every file, and "complex" is there if some of them are complex.
    * ``methods``: further settings that the rows of each method depend on.
    * ``timed``: the machines on which the rows of each method were made.
    * ``domain``: the domain score of each file, by prior.
    * ``outputs``: the files that may be replaced.
    """

    def __init__(
        self, folder: Path, document: dict[str, Any], rows: list[Row], layout: Layout
    ) -> None:
        if document["settings"].get("complex"):
            layout = replace(layout, metrics=(*layout.metrics, *COMPLEX_METRICS))
        self.folder = folder
        self.document = document
        self.rows = rows
        self.layout = layout
        self._done = {layout.identity(row) for row in rows}

    @classmethod
    def open(
        cls,
        folder: Path,
        settings: Mapping[str, Any],
        methods: Mapping[str, Any],
        overwrite: bool = False,
        pixels: Sequence[str] = (),
        layout: Layout = SLICES,
    ) -> Ledger:
        """Begin an evaluation in a folder, or resume one with the same settings.

        Methods may be added to an evaluation. A method that it already has must have the same
        settings.

        Args:
            folder: folder of the evaluation.
            settings: settings that every row depends on.
            methods: method -> further settings that its rows depend on.
            overwrite: whether an evaluation with other settings is discarded.
            pixels: files besides `FIXED_FILES`, relative to the folder.
            layout: columns of the rows; those of phases are added if the images are complex.

        Raises:
            MRCascadeError: the folder holds an evaluation with other settings, or a foreign file
                has the name of one of the files.
        """
        document = {"settings": dict(settings), "methods": dict(methods), "timed": {}, "domain": {}}
        document = json.loads(json.dumps(document))  # the form in which it is read back
        make_folder(folder)
        before = check_files(folder, pixels)
        if overwrite and before is not None:
            _discard(folder, before)
            before = None
        listed = [*FIXED_FILES, *pixels]
        if before is not None:
            _refuse_difference(folder, before, document)
            document["methods"] = before["methods"] | document["methods"]
            document["timed"] = before.get("timed", {})
            document["domain"] = before.get("domain", {})
            listed = [*_listed(before), *listed]
        document["outputs"] = sorted(set(listed))
        ledger = cls(folder, document, [], layout)
        if before != document:
            ledger._write_settings()
        rows = read_rows(folder / SLICES_FILE, ledger.columns, layout)
        # Write the table again, to drop a row that was cut short before others follow it.
        write_rows(folder / SLICES_FILE, ledger.columns, rows)
        return cls(folder, document, rows, layout)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Columns of the metrics."""
        return self.layout.metrics

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of ``metrics.csv``."""
        return self.layout.columns

    @property
    def methods(self) -> list[str]:
        """Methods that have restored every part, in the order of the command."""
        parts = self.document["settings"][self.layout.parts]
        wanted = [(file, number) for file, numbers in parts.items() for number in numbers]
        return [
            m
            for m in self.document["methods"]
            if all(self.done(f, m, number) for f, number in wanted)
        ]

    @property
    def unfinished(self) -> list[str]:
        """Methods of earlier commands with missing parts, which a comparison must not show."""
        return [m for m in self.document["methods"] if m not in self.methods]

    def done(self, file: str, method: str, number: int) -> bool:
        """Return whether the method has restored this part."""
        return (file, method, number) in self._done

    def add(
        self, rows: Sequence[Row], made_on: str, domain: Mapping[str, float] | None = None
    ) -> None:
        """Store rows of restored parts of one file.

        Args:
            rows: the rows.
            made_on: the machine that their times hold for.
            domain: prior -> domain score of the file.
        """
        for file in {row["file"] for row in rows} if domain else ():
            known = self.document["domain"].setdefault(file, {})
            if known != known | dict(domain or {}):
                known.update(domain or {})
                self._write_settings()
        for method in {row["method"] for row in rows}:
            known = self.document["timed"].setdefault(method, [])
            if made_on not in known:
                known.append(made_on)
                self._write_settings()
        rows = [_as_stored(row, self.columns) for row in rows]
        _append(self.folder / SLICES_FILE, _csv(rows, self.columns))
        self.rows.extend(rows)
        self._done.update(map(self.layout.identity, rows))

    def _write_settings(self) -> None:
        with atomic_output(self.folder / SETTINGS_FILE, overwrite=True) as path:
            path.write_text(json.dumps(self.document, indent=1) + "\n")


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Row]) -> None:
    """Write a CSV table with a row of titles, atomically."""
    with atomic_output(path, overwrite=True) as temporary:
        titled = ",".join(columns) + "\n" + _csv(rows, columns)
        temporary.write_text(titled, encoding="utf-8", errors=_AS_NAMED)


def check_files(folder: Path, pixels: Sequence[str] = ()) -> dict[str, Any] | None:
    """Return the document of the evaluation in ``folder``; None if there is none yet.

    pixels: as for `Ledger.open`. Raises MRCascadeError if a foreign file has the name of one of
    the evaluation's files.
    """
    before = _read_settings(folder)
    names = [*FIXED_FILES, *pixels]
    # Evaluations of earlier versions have no list of files.
    listed = [] if before is None else _listed(before) or names
    refuse_strangers(folder, names, listed, SETTINGS_FILE)
    refuse_no_folder(folder / FIGURE_FOLDER)
    return before


def _listed(document: dict[str, Any]) -> list[str]:
    """Return the listed files of an evaluation; names that no evaluation writes are ignored."""
    names = document.get("outputs")
    names = [n for n in names if isinstance(n, str)] if isinstance(names, list) else []
    return [n for n in names if n in FIXED_FILES or _PIXELS.fullmatch(n)]


def _discard(folder: Path, document: dict[str, Any]) -> None:
    # The settings go last, so that the rest of an interrupted removal is still recognised.
    for name in _listed(document) or FIXED_FILES:
        path = folder / name
        if name != SETTINGS_FILE and not path.is_dir():
            path.unlink(missing_ok=True)
    (folder / SETTINGS_FILE).unlink(missing_ok=True)


def _read_settings(folder: Path) -> dict[str, Any] | None:
    path = folder / SETTINGS_FILE
    remedy = "move it away or choose another folder"
    try:
        document = read_json(path, TABLE_BYTES)
    except FileNotFoundError:
        return None
    except MRCascadeError:
        raise
    except (OSError, ValueError) as error:
        raise MRCascadeError(f"{path}: cannot be read; {remedy}") from error
    parts = document.keys() if isinstance(document, dict) else set()
    if not {"settings", "methods"} <= parts or not all(
        isinstance(part, dict)
        for part in (document["settings"], document["methods"], *_values(document["methods"]))
    ):
        raise MRCascadeError(f"{path}: not an evaluation's settings; {remedy}")
    return document


def _values(found: Any) -> list[Any]:
    return list(found.values()) if isinstance(found, dict) else []


def _refuse_difference(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    both = before["methods"].keys() & now["methods"].keys()
    pairs = [("", before["settings"], now["settings"])]
    pairs += [(f"{m} ", before["methods"][m], now["methods"][m]) for m in sorted(both)]
    for prefix, old, new in pairs:
        for key in sorted(old.keys() | new.keys()):
            then, here = old.get(key), new.get(key)
            if not (same_record(then, here) if key == "sampler" else then == here):
                raise MRCascadeError(
                    f"{folder}: holds an evaluation with other settings"
                    f" ({_shortly(prefix + key, then, here)});"
                    " choose another folder or add --overwrite"
                )


def _shortly(key: str, old: Any, new: Any) -> str:
    values = [json.dumps(v) for v in (old, new)]
    if max(map(len, values)) > 60:
        return f"{key} differs"
    return f"{key} {values[0]} then, {values[1]} now"


# ---- rows ----


def _csv(rows: Iterable[Row], columns: Sequence[str]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writerows({c: _text(row[c]) for c in columns} for row in rows)
    return buffer.getvalue()


def _text(value: Any) -> str:
    """Return the text of a value: numbers with 7 digits; an empty text for None."""
    if value is None:
        return ""
    return f"{value:.7g}" if isinstance(value, float) else str(value)


def _as_stored(row: Row, columns: Sequence[str]) -> dict[str, Any]:
    """Return a row as it will be read back, so that tables do not depend on interruptions."""
    return _parsed({c: _text(row[c]) for c in columns})


def _parsed(row: Mapping[str, str]) -> dict[str, Any]:
    return {k: v if k in _TEXT else (float(v) if v else None) for k, v in row.items()}


def read_rows(path: Path, columns: Sequence[str], layout: Layout = SLICES) -> list[Row]:
    """Read the complete rows; a last line without a line break was cut short and is dropped."""
    if not path.exists():
        return []
    text = read_bytes(path, _ROWS_BYTES).decode("utf-8", _AS_NAMED).replace("\r\n", "\n")
    text = text[: text.rfind("\n") + 1]
    reader = csv.DictReader(io.StringIO(text))
    try:
        rows = [_parsed({c: row[c] for c in columns}) for row in reader]
    except (KeyError, TypeError, ValueError) as error:
        raise MRCascadeError(
            f"{path}: not a table of this version; choose another folder or add --overwrite"
        ) from error
    return list({layout.identity(row): row for row in rows}.values())  # each part counts once


def _append(path: Path, text: str) -> None:
    try:
        with path.open("a", encoding="utf-8", errors=_AS_NAMED) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise MRCascadeError(
            f"cannot write {path}: {reason}; make room and repeat the command to go on"
        ) from error
