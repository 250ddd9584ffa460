"""Run of an evaluation: survey the files, restore and score every slice, write the report."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from mrcascade.evaluation.bench import Bench
from mrcascade.evaluation.data import find_files
from mrcascade.evaluation.figure import choose_pictures, pixel_files, write_figure
from mrcascade.evaluation.job import (
    KEPT_BYTES,
    Evaluation,
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
    notes_on_unfinished,
)
from mrcascade.evaluation.subjects import read_subjects
from mrcascade.evaluation.tables import write_tables
from mrcascade.evaluation.units import Tick, finished, keep_results, open_units, run_here
from mrcascade.evaluation.workers import digests_of, share_out, slice_worker
from mrcascade.io import remove_leftovers
from mrcascade.storage.outputs import only_writer, refuse_inputs


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
    priors = load_priors(methods, job if job.here else without_device(job))
    magnitudes = any(prior.channels == 1 for prior in priors.values())
    files = find_files(job.data, job.split, job.matrices, complex_images=not magnitudes)
    refuse_inputs([output], [path for file in files for path in file.path.paths])
    # Worker processes read files themselves, so nothing is kept for them.
    truths = Truths(job, KEPT_BYTES if job.here else 0)
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
        parts = {s.file.name: s.numbers.tolist() for s in survey}
        units = open_units(ledger, parts, list(methods), job.batch_size, tick)
        if job.here:
            lpips = None if weights is None else LPIPS.load(weights, job.device)
            bench = Bench(job, methods, priors, lpips, survey, pictures, truths)
            results = run_here(bench, units, tick)
        else:
            make = partial(
                slice_worker, job, digests_of(priors), weights, tuple(survey), tuple(pictures)
            )
            results = share_out(units, job, make, say)
        failures = keep_results(ledger, results, say, tick)
        for remark in (*notes_on_unfinished(ledger), *notes_on_domain(ledger)):
            remarks.append(remark)
            say(remark)
        head = facts(job, ledger, survey, subjects)
        tables = write_tables(ledger, survey, head, remarks, job.seed, subjects)
        return finished(failures, [*tables, write_figure(output, pictures, ledger.methods)])
