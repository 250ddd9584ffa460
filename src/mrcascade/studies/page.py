"""Page of a study: tables in the paper's layout, paired differences, cost, hardware."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mrcascade.evaluation.ledger import SLICE_COLUMNS, Row, write_rows
from mrcascade.evaluation.methods import find_method
from mrcascade.evaluation.subjects import Subjects, count_subjects, subject_of
from mrcascade.evaluation.tables import (
    DECIMALS,
    TITLES,
    bootstrap,
    markdown_table,
    mean_spread,
)

ALL_FILE = "all.csv"
# Least number of subjects for a significant difference. With five, even five equal signs have a
# two-sided p of 2 / 2^5, above 5 %.
ENOUGH = 6
# Metrics for which larger is better; for the others smaller is.
_MORE = ("psnr_slice", "psnr_volmax", "ssim_slice", "ssim_volmax")
_PAIRED_HOW = (
    "{kind} minus `{reference}` on the same slices: mean difference, its 95 % interval, and in how"
    " many slices `{reference}` is better."
)
_INTERVAL_HOW = (
    "Intervals are 95 % bootstrap intervals between people (subjects, then slices). Bold: the"
    f" interval excludes zero and has {ENOUGH} subjects or more. An anatomy of one subject has no"
    " interval, and no column in the tables of differences."
)
_COST_HOW = (
    "Mean wall time per slice; network evaluations per slice; GFLOP of the networks' forward"
    " passes (the gradients of `dps` come on top). In brackets: the time of `diffpir` over the"
    " method's, where both were timed on the same machine in batches of the same size."
)


@dataclass(frozen=True)
class TaskResult:
    """Results of one task.

    They consist of the rows of ``metrics.csv``, the methods in their order, the facts of the
    report, the machines of each method's rows, the files of figures, and the subject of each file.
    """

    name: str
    methods: Sequence[str]
    rows: Sequence[Row]
    facts: dict[str, str]
    notes: Sequence[str]
    timed: Mapping[str, Sequence[str]]
    figures: Sequence[str]
    subjects: Subjects


@dataclass(frozen=True)
class PairedDifference:
    """Difference of a method from the reference on the same slices.

    Attributes:
        mean: mean difference, method minus reference.
        low, high: ends of its 95 % interval; None for one subject.
        better: number of slices in which the reference is better.
        slices: number of slices without ties.
        subjects: number of people.
    """

    mean: float
    low: float | None
    high: float | None
    better: int
    slices: int
    subjects: int

    @property
    def decided(self) -> bool:
        """Whether the interval excludes zero and has enough subjects."""
        if self.low is None or self.high is None:
            return False
        return self.low * self.high > 0 and self.subjects >= ENOUGH


def write_all_rows(results: Sequence[TaskResult], output: Path) -> Path:
    """Write ``all.csv``, the rows of every task with the task's name, and return its path."""
    rows = [{"task": result.name, **row} for result in results for row in result.rows]
    write_rows(output / ALL_FILE, ("task", *SLICE_COLUMNS), rows)
    return output / ALL_FILE


def study_page(
    title: str,
    results: Sequence[TaskResult],
    reference: str,
    metrics: Sequence[str],
    seed: int,
    command: str,
    estimate_reference: str | None = None,
) -> str:
    """Return the page as Markdown; facts that all tasks share appear once.

    Args:
        title: title of the page.
        results: results of the tasks, in their order.
        reference: method that others are compared with, as in ``Study``.
        metrics: columns of the tables.
        seed: seed of the bootstrap.
        command: command that made the page.
        estimate_reference: reference of point estimates, as in ``Study``.
    """
    first = results[0].facts
    common = {k: v for k, v in first.items() if all(r.facts.get(k) == v for r in results)}
    parts = [
        f"# {title}",
        f"Made by `{command}`.",
        *dict.fromkeys(note for result in results for note in result.notes),
        _INTERVAL_HOW,
    ]
    for result in results:
        own = {k: v for k, v in result.facts.items() if k not in common}
        parts += _section(result, own, (reference, estimate_reference), metrics, seed)
    parts += ["## Cost", _COST_HOW, _cost_table(results)]
    parts += ["## How it was measured", _list(common)]
    return "\n\n".join(parts) + "\n"


def _list(facts: Mapping[str, str]) -> str:
    return "\n".join(f"- **{k}:** {v}" for k, v in facts.items())


def _section(
    result: TaskResult,
    facts: Mapping[str, str],
    references: tuple[str, str | None],
    metrics: Sequence[str],
    seed: int,
) -> Iterable[str]:
    anatomies = sorted({row["anatomy"] for row in result.rows})
    cells = {
        (method, anatomy): _rows(result, method, anatomy)
        for method in result.methods
        for anatomy in anatomies
    }
    yield f"## {result.name}"
    if facts:
        yield _list(facts)
    yield " / ".join(TITLES[m] for m in metrics) + ":"
    first = {a: cells[result.methods[0], a] for a in anatomies}
    yield markdown_table(
        ["method", *(_column_title(a, first[a], result.subjects) for a in anatomies)],
        [[m, *(_means(cells[m, a], metrics) for a in anatomies)] for m in result.methods],
    )
    several = [a for a in anatomies if _subjects(first[a], result.subjects) > 1]
    for kind, reference, methods in _comparisons(result.methods, references):
        if several and methods:
            yield _PAIRED_HOW.format(kind=kind, reference=reference)
            yield markdown_table(
                ["method", "metric", *several],
                [
                    [
                        m,
                        TITLES[metric],
                        *(
                            _paired(cells[m, a], cells[reference, a], metric, seed, result.subjects)
                            for a in several
                        ),
                    ]
                    for m in methods
                    for metric in metrics
                ],
            )
    for figure in result.figures:
        yield f"![{figure.removesuffix('.png')}]({figure})"


def _comparisons(
    methods: Sequence[str], references: tuple[str, str | None]
) -> Iterator[tuple[str, str, list[str]]]:
    """Yield each comparison: its title, its reference, and the methods compared with it."""
    reference, estimate_reference = references
    if estimate_reference is None:
        groups = [("Methods", reference, list(methods))]
    else:
        draws = [m for m in methods if find_method(m).draws and not find_method(m).averaged]
        estimates = [m for m in methods if m not in draws]
        groups = [
            ("Draws", reference, draws),
            ("Point estimates", estimate_reference, estimates),
        ]
    for kind, chosen, members in groups:
        if chosen in methods:
            yield kind, chosen, [m for m in members if m != chosen]


def _subjects(rows: Sequence[Row], subjects: Subjects) -> int:
    return count_subjects((row["file"] for row in rows), subjects)


def _column_title(anatomy: str, rows: Sequence[Row], subjects: Subjects) -> str:
    people = _subjects(rows, subjects)
    return f"{anatomy} ({len(rows)} slices, {people} subject{'s' * (people != 1)})"


def _rows(result: TaskResult, method: str, anatomy: str) -> list[Row]:
    chosen = [r for r in result.rows if (r["method"], r["anatomy"]) == (method, anatomy)]
    return sorted(chosen, key=lambda r: (r["file"], r["slice"]))


def _column(rows: Sequence[Row], metric: str) -> np.ndarray:
    return np.array([np.nan if r[metric] is None else r[metric] for r in rows])


def _means(rows: Sequence[Row], metrics: Sequence[str]) -> str:
    return " / ".join(_number(float(_column(rows, m).mean()), m) for m in metrics)


def pair(
    rows: Sequence[Row], reference: Sequence[Row], metric: str, seed: int, subjects: Subjects
) -> PairedDifference:
    """Compare the rows of two methods on the same slices, given in the same order."""
    difference = _column(rows, metric) - _column(reference, metric)
    wins = difference < 0 if metric in _MORE else difference > 0
    people = [subject_of(r["file"], subjects) for r in rows]
    low, high = None, None
    if len(set(people)) > 1:
        rng = np.random.default_rng(seed)
        low, high = (float(v) for v in bootstrap(difference[:, None], people, rng)[:, 0])
    decided = int((difference != 0).sum())
    return PairedDifference(
        float(difference.mean()), low, high, int(wins.sum()), decided, len(set(people))
    )


def _paired(
    rows: Sequence[Row], reference: Sequence[Row], metric: str, seed: int, subjects: Subjects
) -> str:
    found = pair(rows, reference, metric, seed, subjects)
    if np.isnan(found.mean):
        return "n/a"
    mean = _number(found.mean, metric, sign=True)
    mean = f"**{mean}**" if found.decided else mean
    if found.low is not None and found.high is not None:
        low, high = (_number(v, metric, sign=True) for v in (found.low, found.high))
        mean += f" [{low}, {high}]"
    return f"{mean}; {found.better} of {found.slices}"


def _cost_table(results: Sequence[TaskResult]) -> str:
    costs = [_costs(result) for result in results]
    methods = list(dict.fromkeys(m for cost in costs for m in cost))
    return markdown_table(
        ["method", *(result.name for result in results)],
        [[m, *(cost.get(m, "") for cost in costs)] for m in methods],
    )


def _costs(result: TaskResult) -> dict[str, str]:
    """Return the cost of each method: seconds, evaluations, GFLOP and, if any, spread/skill."""

    def mean(method: str, key: str) -> float:
        return float(np.mean([r[key] for r in result.rows if r["method"] == method]))

    def ratio(method: str) -> str:
        place = result.timed.get("diffpir", ())
        if "diffpir" not in result.methods or not mean(method, "nfe"):
            return ""
        if len(place) != 1 or result.timed[method] != place:
            return ""
        return f" ({mean('diffpir', 'seconds') / mean(method, 'seconds'):.2f})"

    def spread(method: str) -> str:
        found = mean_spread([r for r in result.rows if r["method"] == method])
        return "" if found is None else f"; spread/skill {found:.2f}"

    return {
        m: f"{mean(m, 'seconds'):.3g} s{ratio(m)}; {mean(m, 'nfe'):.4g}; {mean(m, 'gflop'):.4g}"
        + spread(m)
        for m in result.methods
    }


def _number(value: float, metric: str, sign: bool = False) -> str:
    if np.isnan(value):
        return "n/a"
    return f"{value:{'+' if sign else ''}.{DECIMALS.get(metric, 4)}f}"
