"""Report of a batch: the results and records in an output folder become one table."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mrcascade.errors import MRCascadeError
from mrcascade.io import atomic_output, remove_leftovers
from mrcascade.io.walk import files_below
from mrcascade.jobs.progress import Report, silent
from mrcascade.jobs.report import BATCH_NAME, report_of, result_record, write_result_report
from mrcascade.jobs.report_inputs import InputSearch
from mrcascade.pictures.report.facts import warnings_of
from mrcascade.pictures.report.head import check_report, icon_of, is_own_report
from mrcascade.pictures.report.overview import OverviewRow, write_overview
from mrcascade.storage.outputs import only_writer, read_record

RECORDS = "run*.json"
_WAIT_SECONDS = 60.0  # for another part of a batch that writes the report


def check_batch_report(folder: Path) -> None:
    """Raise MRCascadeError where the name of a batch's report belongs to another file."""
    check_report(folder / BATCH_NAME, overwrite=True)


def write_reports(
    folder: Path,
    named: Sequence[Path] = (),
    *,
    overwrite: bool = False,
    say: Report = silent,
    note: Report = silent,
) -> list[Path]:
    """Write the reports of the results in a folder: one for each, and one for all of a batch.

    Reports that are there stay, unless ``overwrite`` is true; that of the batch is renewed.

    Args:
        folder: output folder of ``sr``.
        named: inputs of the results, or folders of them. The records of batches name theirs, and
            the others are looked for near the results (`InputSearch`).
        overwrite: whether reports of results are made again.
        say: called with one line per result without a report, and why.
        note: called with lines about inputs that were not found.

    Returns:
        The reports, that of the batch first, if there is one.

    Raises:
        MRCascadeError: the folder holds no result, or the name of a report is taken.
    """
    if not folder.is_dir():
        raise MRCascadeError(f"{folder}: no such folder; give the output folder of sr")
    found = dict(_results(folder))
    runs = list(_runs(folder))
    if not found and not runs:
        raise MRCascadeError(f"{folder}: no result of sr in it; give the output folder of sr")
    batch = len(found) > 1 or bool(runs)
    if batch:
        check_batch_report(folder)
    for path in sorted({p for run in runs for p in _outputs(folder, run)} - set(found)):
        say(f"{path}: no readable JSON file of a result; restore the input again")
    seconds = {sidecar: run.get("Seconds") for run in runs for sidecar in _outputs(folder, run)}
    recorded = (Path(run["Input"]) for run in runs if "Input" in run)
    search = InputSearch(folder, [*named, *recorded])
    reports = []
    for sidecar, record in found.items():
        path = report_of(sidecar, record)
        if overwrite or not is_own_report(path):
            try:
                image, time = search.input_of(sidecar, record), seconds.get(sidecar)
                inputs = [] if image is None else [image]
                write_result_report(sidecar, inputs, seconds=time, overwrite=overwrite)
            except MRCascadeError as error:
                say(str(error))
                continue
        reports.append(path)
    for line in search.notes():
        note(line)
    if batch:
        reports.insert(0, write_batch_report(folder))
    return reports


def write_batch_report(folder: Path) -> Path:
    """Write the table of the results and failures in an output folder, and return its path.

    Thumbnails come from the reports of the results. Parts of a batch that share a folder may each
    write the table: the last one finds all.

    Raises:
        MRCascadeError: the name belongs to a file that is no report.
    """
    path = folder / BATCH_NAME
    with only_writer(path, _WAIT_SECONDS):
        check_batch_report(folder)
        rows = _rows(folder)
        with atomic_output(path, overwrite=True) as temporary:
            write_overview(temporary, "Super-resolved files", rows)
        remove_leftovers([path])
    return path


def _rows(folder: Path) -> list[OverviewRow]:
    found = dict(_results(folder))
    rows = []
    for run in _runs(folder):
        sidecars = [path for path in _outputs(folder, run) if path in found]
        sidecar = sidecars[0] if sidecars else None
        record = found.pop(sidecar) if sidecar is not None else None
        rows.append(_row(folder, sidecar, record, run))
    return rows + [_row(folder, sidecar, record, {}) for sidecar, record in found.items()]


def _row(
    folder: Path,
    sidecar: Path | None,
    record: Mapping[str, Any] | None,
    run: Mapping[str, Any],
) -> OverviewRow:
    status = str(run.get("Status", "done"))
    error = run.get("Error")
    seconds = run.get("Seconds") if status != "skipped" else None
    if sidecar is None or record is None:
        name = str(run.get("Input", "a file"))
        return OverviewRow(name, status, messages=[str(error)] if error else [], seconds=seconds)
    path = report_of(sidecar, record)
    report = Path(os.path.relpath(path, folder)).as_posix() if is_own_report(path) else ""
    return OverviewRow(
        name=str(run.get("Input", record["Files"]["Result"])),
        status=status,
        report=report,
        icon=icon_of(path),
        noise=_number(record["Settings"].get("Noise")),
        noise_origin=str(record.get("NoiseOrigin", "")),
        residual=_number(record.get("ResidualStored", record.get("Residual"))),
        domain=_number(record.get("DomainScore")),
        seconds=seconds,
        messages=[*([str(error)] if error else []), *warnings_of(record)],
    )


def _results(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the sidecars of results below a folder, with their content."""
    for path in files_below(folder):
        if path.suffix == ".json" and (record := result_record(path)) is not None:
            yield path, record


def _runs(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield how each file of the batches in a folder ended, as their records say."""
    for path in sorted(folder.glob(RECORDS)):
        record = read_record(path)
        results = None if record is None else record.get("Results")
        for one in results if isinstance(results, list) else []:
            if isinstance(one, dict):
                yield _usable(one)


def _usable(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a file in a batch's record, without those of another type."""
    found = dict(run)
    for key, kind in (("Input", str), ("Outputs", list), ("Seconds", (int, float))):
        if not isinstance(found.get(key), kind):
            found.pop(key, None)
    if "\0" in found.get("Input", ""):
        del found["Input"]
    return found


def _outputs(folder: Path, run: Mapping[str, Any]) -> list[Path]:
    return [folder / str(name) for name in run.get("Outputs", []) if str(name).endswith(".json")]


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
