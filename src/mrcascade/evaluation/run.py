"""Run of an evaluation: survey the files, restore and score every slice, write the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.bench import Bench, Failed, Scored, Tick, Unit
from mrcascade.evaluation.data import find_files
from mrcascade.evaluation.figure import (
    choose_pictures,
    keep_pixels,
    pixel_files,
    write_figure,
)
from mrcascade.evaluation.job import (
    KEPT_BYTES,
    Evaluation,
    Surveyed,
    Truths,
    checked_methods,
    common_settings,
    load_priors,
    method_settings,
    recipes_of,
    survey_files,
    without_device,
)
from mrcascade.evaluation.ledger import SETTINGS_FILE, Ledger, check_files
from mrcascade.evaluation.lpips import LPIPS, find_weights
from mrcascade.evaluation.report import (
    describe_test_set,
    describe_truth,
    facts,
    notes,
    notes_on_domain,
)
from mrcascade.evaluation.subjects import read_subjects
from mrcascade.evaluation.tables import write_tables
from mrcascade.evaluation.workers import run_in_workers
from mrcascade.io import remove_leftovers
from mrcascade.storage.outputs import only_writer, refuse_inputs


class Unfinished(MRCascadeError):
    """Error of a device that failed on some files.

    ``written`` lists the report's files about the methods that finished.
    """

    written: Sequence[Path] = ()


def evaluate(
    job: Evaluation,
    output: Path,
    *,
    say: Callable[[str], None],
    progress: Callable[[int], Tick],
) -> list[Path]:
    """Evaluate methods on a test set and write metrics, tables and a picture.

    An evaluation with the same settings in ``output`` is resumed at the next slice, and methods
    may be added to it. If the device fails on a file, or runs out of memory, a line reports it and
    the evaluation continues with the next file as long as the device works.

    Args:
        job: options of the evaluation.
        output: folder of the results.
        say: called with one line per fact.
        progress: called with the number of slices; returns a function that is called with the
            number of slices done and a text.

    Returns:
        The files of the report.

    Raises:
        MRCascadeError: the input cannot be evaluated; if possible, before any work.
        Unfinished: the device failed on some files, but some method restored every slice.
    """
    refuse_inputs([output], [job.data])
    check_files(output)
    methods = checked_methods(job)
    weights = find_weights(job.lpips_weights)
    # Worker processes load their own networks; those here only describe the methods.
    priors = load_priors(methods, job if job.workers == 1 else without_device(job))
    magnitudes = any(prior.channels == 1 for prior in priors.values())
    files = find_files(job.data, job.split, job.matrices, complex_images=not magnitudes)
    refuse_inputs([output], [path for file in files for path in file.path.paths])
    # Worker processes read files themselves, so nothing is kept for them.
    truths = Truths(job, KEPT_BYTES if job.workers == 1 else 0)
    survey = survey_files(files, job, recipes_of(methods, priors, job), weights, truths)
    subjects = read_subjects(job.data, files)
    settings = common_settings(job, survey, weights)
    of_methods = {n: method_settings(m, job, priors.get(n)) for n, m in methods.items()}
    pictures = choose_pictures([(s.file.name, s.file.anatomy, s.numbers) for s in survey])
    pixels = pixel_files(pictures, methods)
    check_files(output, pixels)
    with only_writer(output / SETTINGS_FILE):
        ledger = Ledger.open(output, settings, of_methods, job.overwrite, pixels)
        remove_leftovers(output / name for name in ledger.document["outputs"])
        remarks = notes(survey, priors.values(), weights, subjects)
        for line in (describe_test_set(job, survey), f"truth: {describe_truth(survey)}", *remarks):
            say(line)
        tick = progress(len(methods) * sum(len(s.numbers) for s in survey))
        units = _open_units(ledger, survey, list(methods), job.batch_size, tick)
        if job.workers > 1:
            results = run_in_workers(job, survey, pictures, units)
        else:
            lpips = None if weights is None else LPIPS.load(weights, job.device)
            bench = Bench(job, methods, priors, lpips, survey, pictures, truths)
            results = _run_here(bench, units, tick)
        failures: list[Failed] = []
        for result in results:
            if isinstance(result, Failed):
                if not any(result.unit.same_work(f.unit) for f in failures):
                    failures.append(result)
                    say(result.error)
                continue
            for line in result.news:
                say(line)
            _keep(ledger, result)
            tick(len(result.rows), "")
        if failures and not ledger.methods:
            raise MRCascadeError(failures[0].error)
        for method in ledger.unfinished:
            remarks.append(f"Method {method} has not restored every slice and is left out here.")
            say(remarks[-1])
        for remark in notes_on_domain(ledger):
            remarks.append(remark)
            say(remark)
        head = facts(job, ledger, survey, subjects)
        tables = write_tables(ledger, survey, head, remarks, job.seed, subjects)
        written = [*tables, write_figure(output, pictures, ledger.methods)]
        if failures:
            raise _unfinished(failures, written)
        return written


def _unfinished(failures: Sequence[Failed], written: Sequence[Path]) -> Unfinished:
    files = ", ".join(dict.fromkeys(f.unit.file for f in failures))
    error = Unfinished(f"{files}: not restored by every method; repeat the command to go on")
    error.written = written
    return error


def _open_units(
    ledger: Ledger, survey: Sequence[Surveyed], methods: Sequence[str], size: int, tick: Tick
) -> list[Unit]:
    """Return the remaining work, file by file, in units of up to ``size`` slices."""
    units = []
    for surveyed in survey:
        name = surveyed.file.name
        for method in methods:
            numbers = [int(n) for n in surveyed.numbers]
            todo = [n for n in numbers if not ledger.done(name, method, n)]
            tick(len(numbers) - len(todo), "")
            units += [
                Unit(name, method, tuple(todo[i : i + size])) for i in range(0, len(todo), size)
            ]
    return units


def _run_here(bench: Bench, units: Sequence[Unit], tick: Tick) -> Iterator[Scored | Failed]:
    failed: Failed | None = None
    for unit in units:  # units of one file and method are neighbours
        if failed and unit.same_work(failed.unit):
            continue
        result = bench.run(unit, tick)
        failed = result if isinstance(result, Failed) else None
        yield result


def _keep(ledger: Ledger, scored: Scored) -> None:
    # Pixels first: a slice whose row is stored is never restored again.
    for picture, name, pixels in scored.panels:
        keep_pixels(ledger.folder, picture, name, pixels)
    ledger.add(scored.rows, scored.machine, scored.domain)
