"""A study: several evaluations on the same slices, and one page that compares their methods.

The bundled study ``paper`` is the comparison of Thaker et al., tables 1 and 2 and figures 3 and 4.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.figure import SLICES, Picture, choose_pictures
from mrcascade.evaluation.job import (
    Evaluation,
    NoiseHandling,
    checked_methods,
    prior_folders,
)
from mrcascade.evaluation.ledger import (
    METRICS,
    SLICE_COLUMNS,
    SLICES_FILE,
    TABLE_FILES,
    check_files,
    read_rows,
)
from mrcascade.evaluation.methods import METHODS
from mrcascade.evaluation.run import evaluate
from mrcascade.evaluation.units import Tick
from mrcascade.io import atomic_output, output_folders, remove_leftovers
from mrcascade.messages.printable import shortened
from mrcascade.storage.files import parse_json, read_text
from mrcascade.storage.outputs import begin_record, check_record, only_writer, refuse_inputs
from mrcascade.studies.figure import draw_difference, draw_errors
from mrcascade.studies.page import ALL_FILE, TaskResult, study_page, write_all_rows

FigureKind = Literal["difference", "errors"]
PAGE_FILE = "results.md"
RECORD_FILE = "study.json"  # lists the other files of a study


@dataclass(frozen=True)
class Task:
    """One table of a study.

    Attributes:
        name: name of the task and of its folder.
        factor: (rows, columns).
        methods: methods of the table.
        figure: kind of its figure.
        noise: noise level, if it differs from the study's.
    """

    name: str
    factor: tuple[float, float]
    methods: tuple[str, ...]
    figure: FigureKind
    noise: float | None = None


@dataclass(frozen=True)
class Study:
    """Content of a study's JSON file; settings that its tasks share are those of ``Evaluation``.

    ``reference`` is the method that the others are compared with, pair by pair. If there is an
    ``estimate_reference``, point estimates are compared with that one instead. ``metrics`` are the
    columns of the tables.
    """

    title: str
    tasks: tuple[Task, ...]
    reference: str
    estimate_reference: str | None = None
    metrics: tuple[str, ...] = ("psnr_slice", "ssim_slice", "lpips")
    split: str = "test"
    anatomy_slices: int | None = None
    max_slices: int | None = None
    kernel: str = "fourier"
    noise: float = 0.0
    noise_handling: NoiseHandling = "estimated"
    seed: int = 0
    steps: int | None = None
    samples: int | None = None
    precision: str = "auto"
    prior: str = "mr-small"
    baselines: str = "mr-small-baselines"


_WHOLE = ("anatomy_slices", "max_slices", "seed", "steps", "samples")
# Settings of a study that all its evaluations share.
_SHARED = tuple(
    f.name
    for f in fields(Study)
    if f.name not in ("title", "tasks", "reference", "estimate_reference", "metrics")
)


def bundled_studies() -> list[str]:
    """Return the names of the studies that come with the package."""
    names = [Path(p.name) for p in files(__package__).iterdir()]
    return sorted(name.stem for name in names if name.suffix == ".json")


def read_study(name_or_file: str) -> Study:
    """Read a bundled study by its name, or any study by its JSON file.

    Raises MRCascadeError if there is no such study, or if the file is not valid.
    """
    if name_or_file in bundled_studies():
        text = (files(__package__) / f"{name_or_file}.json").read_text()
    else:
        try:
            text = read_text(Path(name_or_file))
        except (OSError, UnicodeDecodeError) as error:
            raise MRCascadeError(
                f"{name_or_file}: not a study; give a JSON file, or one of"
                f" {', '.join(bundled_studies())}"
            ) from error
    try:
        return _from_document(parse_json(text))
    except MRCascadeError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        reason = shortened(" ".join(str(error).split()))
        raise MRCascadeError(f"{name_or_file}: not a study ({reason}); repair it") from error


def _from_document(document: dict[str, Any]) -> Study:
    tasks = tuple(_task(**entry) for entry in document.pop("tasks"))
    metrics = tuple(document.pop("metrics", Study.metrics))
    study = Study(tasks=tasks, metrics=metrics, **document)
    unknown = [m for m in metrics if m not in METRICS]
    if unknown or not metrics:
        raise ValueError(f"metrics are {', '.join(METRICS)}; got {', '.join(unknown) or 'none'}")
    names = [task.name for task in tasks]
    known = {None, *METHODS, *(m for task in tasks for m in task.methods)}
    for reference in (study.reference, study.estimate_reference):
        if reference not in known:
            raise ValueError(f"unknown reference {reference!r}")
    if not names or len(set(names)) < len(names) or any(Path(n).name != n for n in names):
        raise ValueError("every task needs a name of its own, which can be a folder's")
    for task in tasks:
        if task.figure == "difference" and study.reference not in task.methods:
            raise ValueError(f"task {task.name} draws the reference, {study.reference!r}; add it")
    if study.noise_handling not in get_args(NoiseHandling):
        raise ValueError(f"noise_handling must be one of {', '.join(get_args(NoiseHandling))}")
    for name in _WHOLE:
        value = getattr(study, name)
        if type(value) is not int and (value is not None or name == "seed"):
            raise ValueError(f"{name} must be a whole number; got {value!r}")
    for noise in (study.noise, *(task.noise for task in tasks if task.noise is not None)):
        if not isinstance(noise, int | float) or not 0 <= noise < math.inf:
            raise ValueError(f"noise must be a number of 0 or more; got {noise!r}")
    return study


def _task(
    name: str,
    factor: float | list[float],
    methods: list[str],
    figure: str,
    noise: float | None = None,
) -> Task:
    pair = factor if isinstance(factor, list) else [factor, factor]
    if figure not in get_args(FigureKind):
        raise ValueError(f"figure must be one of {', '.join(get_args(FigureKind))}")
    rows, columns = (float(f) for f in pair)
    return Task(name, (rows, columns), tuple(methods), figure, noise)  # type: ignore[arg-type]


def run_study(
    study: Study,
    common: Evaluation,
    output: Path,
    command: str,
    *,
    say: Callable[[str], None],
    progress: Callable[[int], Tick],
) -> list[Path]:
    """Run every task and write the page; an interrupted study is resumed as by ``evaluate``.

    Args:
        study: the study.
        common: options that do not belong to the study: data, device, batch size, workers,
            weights.
        output: folder of the page and of the tasks' folders.
        command: command to show on the page.
        say: called with one line per fact.
        progress: as for ``evaluate``.

    Returns:
        The written files.

    Raises:
        MRCascadeError: a method or prior does not exist (before any work), or an evaluation fails.
    """
    refuse_inputs([output], [common.data])
    names = [PAGE_FILE, ALL_FILE, *(name for task in study.tasks for name in _figures(task))]
    check_record(output, RECORD_FILE, names)
    for task in study.tasks:
        check_files(output / task.name)
    jobs = [_job(study, task, common) for task in study.tasks]
    for job in jobs:
        for method in checked_methods(job).values():
            prior_folders(method, job)
    record = output / RECORD_FILE
    with output_folders([record]), only_writer(record):
        check_record(output, RECORD_FILE, names)
        remove_leftovers(output / name for name in (RECORD_FILE, *names))
        return _run_tasks(study, jobs, output, names, command, say, progress)


def _run_tasks(
    study: Study,
    jobs: Sequence[Evaluation],
    output: Path,
    names: Sequence[str],
    command: str,
    say: Callable[[str], None],
    progress: Callable[[int], Tick],
) -> list[Path]:
    results, written = [], []
    for task, job in zip(study.tasks, jobs, strict=True):
        folder = output / task.name
        say(f"{task.name}:")
        evaluate(job, folder, say=say, progress=progress)
        begin_record(output, RECORD_FILE, names)
        document = json.loads((folder / TABLE_FILES[1]).read_text())
        result = _result(task, folder, document)
        figures = []
        for picture, name in zip(_pictures(result, document), _figures(task), strict=False):
            if task.figure == "errors":
                draw_errors(folder, picture, result.methods, output / name)
            else:
                draw_difference(folder, picture, study.reference, job, output / name)
            figures.append(name)
        results.append(replace(result, figures=figures))
        written += [output / name for name in figures]
    table = write_all_rows(results, output)
    page = study_page(
        study.title,
        results,
        study.reference,
        study.metrics,
        study.seed,
        command,
        study.estimate_reference,
    )
    target = output / PAGE_FILE
    with atomic_output(target, overwrite=True) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="backslashreplace")
    return [*written, table, target]


def _job(study: Study, task: Task, common: Evaluation) -> Evaluation:
    shared = {name: getattr(study, name) for name in _SHARED}
    if task.noise is not None:
        shared["noise"] = task.noise
    job = replace(common, **shared, methods=task.methods, factor=task.factor)
    sampled = checked_methods(replace(job, steps=None, samples=None)).values()
    return replace(
        job,
        steps=job.steps if any(m.sampled for m in sampled) else None,
        samples=job.samples if any(m.averaged for m in sampled) else None,
    )


def _result(task: Task, folder: Path, document: dict[str, Any]) -> TaskResult:
    """Return the results of an evaluation for the page; ``document`` is its table."""
    methods = [m for m in document["methods"] if m in task.methods]
    rows = [r for r in read_rows(folder / SLICES_FILE, SLICE_COLUMNS) if r["method"] in methods]
    return TaskResult(
        task.name,
        methods,
        rows,
        document["facts"],
        document["notes"],
        document["timed"],
        (),
        document["subjects"],
    )


def _figures(task: Task) -> list[str]:
    """Return the names of a task's figures: one for each slice that may be shown."""
    return [f"{task.name}-{number}.png" for number in range(1, SLICES + 1)]


def _pictures(result: TaskResult, document: dict[str, Any]) -> list[Picture]:
    """Return the slices whose pixels the evaluation has kept."""
    anatomy = {row["file"]: row["anatomy"] for row in result.rows}
    slices = document["settings"]["slices"]
    return choose_pictures([(file, anatomy[file], np.array(n)) for file, n in slices.items()])
