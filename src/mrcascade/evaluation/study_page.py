"""The page of a study: tables in the paper's layout, paired differences, cost, what ran where."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mrcascade.evaluation.ledger import SLICE_COLUMNS, Row, write_rows
from mrcascade.evaluation.methods import find_method
from mrcascade.evaluation.tables import (
    DECIMALS,
    TITLES,
    bootstrap,
    markdown_table,
    mean_spread,
)

ALL_FILE = "all.csv"
# Metrics of which more is better; of the others less is.
_MORE = ("psnr_slice", "psnr_volmax", "ssim_slice", "ssim_volmax")
# Facts that differ between tasks; the others are said once.
_OF_TASK = ("Measurement", "Test set", "Methods", "Prior")
_PAIRED_HOW = (
    "{kind}mean over slices of a method's figure minus that of `{reference}` on the same slice,"
    " with its 95 % bootstrap interval (files, then slices), in how many slices `{reference}` is"
    " better, and the two-sided sign test's p for that. The test takes slices as independent, which"
    " slices of one file are not: p is too small, and the number of files is what counts."
)
_COST_HOW = (
    "Mean seconds, network evaluations and GFLOP of the networks' forward passes per slice,"
    " measured in this run (the gradients of `dps` come on top); the ratio is `diffpir`'s time over"
    " the method's, where both were timed on the same machine in batches of the same size."
    " Spread/skill is the standard deviation map's, where there is one: 1 if it is calibrated."
)


@dataclass(frozen=True)
class TaskResult:
    """Rows of ``metrics.csv`` of one task, its methods in order, what its report says, and where
    the rows of each method were made."""

    name: str
    methods: Sequence[str]
    rows: Sequence[Row]
    facts: dict[str, str]
    notes: Sequence[str]
    timed: Mapping[str, Sequence[str]]
    picture: str


@dataclass(frozen=True)
class Pair:
    """Method minus reference on the same slices.

    ``mean``, ``low`` and ``high`` are of the difference; in ``better`` of ``slices`` slices the
    reference is better (ties out of the count of ``slices``), ``p`` is the sign test's.
    """

    mean: float
    low: float
    high: float
    better: int
    slices: int
    p: float


def write_all_rows(results: Sequence[TaskResult], output: Path) -> Path:
    """``all.csv``: the rows of every task, with the task's name."""
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
    """The page as Markdown; references as in ``Study``."""
    common = {k: v for k, v in results[0].facts.items() if k not in _OF_TASK}
    parts = [
        f"# {title}",
        f"Made by `{command}`.",
        "\n".join(f"- **{k}:** {v}" for k, v in common.items()),
        *dict.fromkeys(note for result in results for note in result.notes),
    ]
    for result in results:
        parts += _section(result, (reference, estimate_reference), metrics, seed)
    return "\n\n".join(parts) + "\n"


def _section(
    result: TaskResult, references: tuple[str, str | None], metrics: Sequence[str], seed: int
) -> Iterable[str]:
    anatomies = sorted({row["anatomy"] for row in result.rows})
    cells = {
        (method, anatomy): _rows(result, method, anatomy)
        for method in result.methods
        for anatomy in anatomies
    }
    names = " / ".join(TITLES[m] for m in metrics)
    yield f"## {result.name}"
    yield "\n".join(f"- **{k}:** {result.facts[k]}" for k in _OF_TASK)
    yield names + ":"
    yield markdown_table(
        ["method", *(_column_title(a, cells[result.methods[0], a]) for a in anatomies)],
        [[m, *(_means(cells[m, a], metrics) for a in anatomies)] for m in result.methods],
    )
    yield f"95 % bootstrap intervals of {names}:"
    yield markdown_table(
        ["method", *anatomies],
        [[m, *(_intervals(cells[m, a], metrics, seed) for a in anatomies)] for m in result.methods],
    )
    for kind, reference, methods in _comparisons(result.methods, references):
        how = _PAIRED_HOW.format(kind=kind, reference=reference)
        yield how[0].upper() + how[1:]
        yield markdown_table(
            ["method", "metric", *anatomies],
            [
                [
                    m,
                    TITLES[metric],
                    *(_paired(cells, m, reference, a, metric, seed) for a in anatomies),
                ]
                for m in methods
                for metric in metrics
            ],
        )
    yield _COST_HOW
    titles = ["method", "s / slice", "evaluations", "GFLOP", "ratio", "spread/skill"]
    yield markdown_table(titles, _costs(result))
    yield f"![{result.name}]({result.picture})"


def _comparisons(
    methods: Sequence[str], references: tuple[str, str | None]
) -> Iterator[tuple[str, str, list[str]]]:
    """What is compared, with which method, and which methods are."""
    reference, estimate_reference = references
    if estimate_reference is None:
        groups = [("", reference, list(methods))]
    else:
        draws = [m for m in methods if find_method(m).draws and not find_method(m).averaged]
        estimates = [m for m in methods if m not in draws]
        groups = [
            ("Draws: ", reference, draws),
            ("Point estimates: ", estimate_reference, estimates),
        ]
    for kind, chosen, members in groups:
        if chosen in methods:
            yield kind, chosen, [m for m in members if m != chosen]


def _column_title(anatomy: str, rows: Sequence[Row]) -> str:
    files = len({row["file"] for row in rows})
    return f"{anatomy} ({len(rows)} slices, {files} files)"


def _rows(result: TaskResult, method: str, anatomy: str) -> list[Row]:
    chosen = [r for r in result.rows if (r["method"], r["anatomy"]) == (method, anatomy)]
    return sorted(chosen, key=lambda r: (r["file"], r["slice"]))


def _column(rows: Sequence[Row], metric: str) -> np.ndarray:
    return np.array([np.nan if r[metric] is None else r[metric] for r in rows])


def _means(rows: Sequence[Row], metrics: Sequence[str]) -> str:
    return " / ".join(_number(float(_column(rows, m).mean()), m) for m in metrics)


def _intervals(rows: Sequence[Row], metrics: Sequence[str], seed: int) -> str:
    files = [r["file"] for r in rows]
    parts = []
    for metric in metrics:
        low, high = _interval(_column(rows, metric), files, seed)
        parts.append(f"{_number(low, metric)} to {_number(high, metric)}")
    return " / ".join(parts)


def _interval(values: np.ndarray, files: Sequence[str], seed: int) -> tuple[float, float]:
    if len(values) < 2:
        return np.nan, np.nan
    low, high = bootstrap(values[:, None], files, np.random.default_rng(seed))[:, 0]
    return float(low), float(high)


def pair(rows: Sequence[Row], reference: Sequence[Row], metric: str, seed: int) -> Pair:
    """Compare two methods' rows of the same slices, in the same order."""
    from scipy.stats import binomtest

    difference = _column(rows, metric) - _column(reference, metric)
    files = [r["file"] for r in rows]
    low, high = _interval(difference, files, seed)
    wins = difference < 0 if metric in _MORE else difference > 0
    decided = int((difference != 0).sum())
    better = int(wins.sum())
    p = float(binomtest(better, decided).pvalue) if decided else 1.0
    return Pair(float(difference.mean()), low, high, better, decided, p)


def _paired(
    cells: dict[tuple[str, str], list[Row]],
    method: str,
    reference: str,
    anatomy: str,
    metric: str,
    seed: int,
) -> str:
    found = pair(cells[method, anatomy], cells[reference, anatomy], metric, seed)
    mean, low, high = (_number(v, metric, sign=True) for v in (found.mean, found.low, found.high))
    if np.isnan(found.mean):
        return "n/a"
    return f"{mean} [{low}, {high}]; {found.better} of {found.slices}, p = {found.p:.2g}"


def _costs(result: TaskResult) -> list[list[str]]:
    seconds, evaluations, gflop = (
        {
            m: float(np.mean([r[key] for r in result.rows if r["method"] == m]))
            for m in result.methods
        }
        for key in ("seconds", "nfe", "gflop")
    )
    base, place = seconds.get("diffpir"), result.timed.get("diffpir", ())

    def ratio(method: str) -> str:
        if not base or not evaluations[method]:
            return ""
        alike = len(place) == 1 and result.timed[method] == place
        return f"{base / seconds[method]:.2f}" if alike else "n/a"

    def spread(method: str) -> str:
        found = mean_spread([r for r in result.rows if r["method"] == method])
        return "" if found is None else f"{found:.2f}"

    return [
        [m, f"{seconds[m]:.3g}", f"{evaluations[m]:g}", f"{gflop[m]:.4g}", ratio(m), spread(m)]
        for m in result.methods
    ]


def _number(value: float, metric: str, sign: bool = False) -> str:
    if np.isnan(value):
        return "n/a"
    return f"{value:{'+' if sign else ''}.{DECIMALS.get(metric, 4)}f}"
