"""Run of an evaluation on thick slices: survey the volumes, restore and score, write the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from mrcascade.evaluation.data import find_files
from mrcascade.evaluation.figure import Picture, pixel_files, write_figure
from mrcascade.evaluation.isotropic.bench import VolumeBench
from mrcascade.evaluation.isotropic.job import (
    VOLUMES,
    IsotropicEvaluation,
    checked_volume_methods,
    load_prior,
    settings_of,
    volume_settings,
)
from mrcascade.evaluation.isotropic.planes import choose_planes_to_show
from mrcascade.evaluation.isotropic.report import (
    describe_slicing,
    describe_volumes,
    notes_on_left_out,
    volume_facts,
    write_volume_tables,
)
from mrcascade.evaluation.isotropic.survey import (
    SurveyedVolume,
    isotropic_settings,
    survey_volumes,
)
from mrcascade.evaluation.ledger import SETTINGS_FILE, Ledger, check_files
from mrcascade.evaluation.report import notes_on_domain, notes_on_unfinished
from mrcascade.evaluation.subjects import Seen, notes_on_subjects, read_subjects
from mrcascade.evaluation.units import (
    Tick,
    finished,
    keep_results,
    open_units,
    run_here,
)
from mrcascade.evaluation.workers import leaving_tick, share_out
from mrcascade.executors.task import Work
from mrcascade.io import remove_leftovers
from mrcascade.prior.named import check_digest
from mrcascade.storage.outputs import only_writer, refuse_inputs


def evaluate_isotropic(
    job: IsotropicEvaluation,
    output: Path,
    *,
    say: Callable[[str], None],
    progress: Callable[[int], Tick],
) -> list[Path]:
    """Evaluate methods that make thick slices isotropic, and write scores, tables and a picture.

    It resumes and refuses as `mrcascade.evaluation.run.evaluate` does.

    Args:
        job: options of the evaluation.
        output: folder of the results.
        say: called with one line per fact.
        progress: called with the number of restorations; returns a function that is called with
            the number of those done and a text.

    Returns:
        The files of the report.

    Raises:
        MRCascadeError: the input cannot be evaluated; if possible, before any work.
        Unfinished: the device failed on some files, but some method restored every volume.
    """
    refuse_inputs([output], [job.data])
    check_files(output)
    methods = checked_volume_methods(job)
    # Worker processes load their own networks; those here only describe the methods.
    prior = load_prior(methods, job, here=job.here)
    files = find_files(job.data, job.split, complex_images=False)
    refuse_inputs([output], [path for file in files for path in file.path.paths])
    modes = [(prior, settings_of(m, job, prior)) for m in methods.values() if prior and m.mode]
    survey = survey_volumes(files, job, modes)
    subjects = read_subjects(job.data, files)
    of_methods = {n: volume_settings(m, job, prior) for n, m in methods.items()}
    pictures = choose_planes_to_show(survey.volumes)
    pixels = pixel_files(pictures, methods)
    check_files(output, pixels)
    with only_writer(output / SETTINGS_FILE):
        settings = isotropic_settings(job, survey)
        ledger = Ledger.open(output, settings, of_methods, job.overwrite, pixels, VOLUMES)
        remove_leftovers(output / name for name in ledger.document["outputs"])
        seen = Seen.by([prior.provenance] if prior else [])
        remarks = [
            *notes_on_left_out(survey),
            *notes_on_subjects(survey.volumes, subjects, seen),
        ]
        for line in (describe_volumes(job, survey), describe_slicing(job), *remarks):
            say(line)
        tick = progress(len(methods) * sum(map(len, survey.axes.values())))
        units = open_units(ledger, survey.axes, list(methods), 1, tick)
        if job.here:
            bench = VolumeBench(job, methods, prior, survey.volumes, pictures)
            results = run_here(bench, units, tick)
        else:
            digest = None if prior is None else prior.identity
            make = partial(_volume_worker, job, digest, tuple(survey.volumes), tuple(pictures))
            results = share_out(units, job, make, say)
        failures = keep_results(ledger, results, say, tick)
        for remark in (*notes_on_unfinished(ledger), *notes_on_domain(ledger)):
            remarks.append(remark)
            say(remark)
        facts = volume_facts(job, ledger, survey, subjects)
        tables = write_volume_tables(ledger, survey, facts, remarks, job.seed, subjects)
        return finished(failures, [*tables, write_figure(output, pictures, ledger.methods)])


def _volume_worker(
    job: IsotropicEvaluation,
    digest: str | None,
    volumes: Sequence[SurveyedVolume],
    pictures: Sequence[Picture],
    device: str,
) -> Work:
    job = replace(job, device=device)
    methods = checked_volume_methods(job)
    prior = load_prior(methods, job)
    if prior is not None and digest is not None:
        check_digest(prior, digest)
    bench = VolumeBench(job, methods, prior, volumes, pictures)
    return partial(bench.run, tick=leaving_tick)
