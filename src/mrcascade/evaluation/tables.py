"""Tables of an evaluation: means with bootstrap intervals, as Markdown and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrcascade.data.contrast import contrast_family
from mrcascade.evaluation.data import source_names
from mrcascade.evaluation.job import Surveyed
from mrcascade.evaluation.ledger import (
    SPREAD,
    VOLUME_COLUMNS,
    VOLUME_METRICS,
    VOLUMES_FILE,
    Ledger,
    Row,
    write_rows,
)
from mrcascade.evaluation.metrics import pooled_metrics
from mrcascade.evaluation.report import write_report
from mrcascade.evaluation.subjects import Evaluated, Subjects, count_subjects, subject_of

RESAMPLES = 2000
LEVEL = 0.95
KINDS = ("anatomy", "contrast", "source")  # kinds of groups of slices; each has a table

_POOLED = ("nmse", "ssim_volmax", "residual", "seconds", "nfe", "gflop")
TITLES = {
    "psnr_slice": "PSNR, slice max (dB)",
    "psnr_volmax": "PSNR, volume max (dB)",
    "ssim_slice": "SSIM, slice max",
    "ssim_volmax": "SSIM, volume max",
    "nmse": "NMSE",
    "lpips": "LPIPS (AlexNet)",
    "nmse_complex": "complex NMSE",
    "phase_error": "phase error (rad)",
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
}
DECIMALS = {"psnr_slice": 2, "psnr_volmax": 2, "psnr": 2, "nmse": 5, "nmse_complex": 5}
_HOW = (
    f"Means over slices with {LEVEL:.0%} bootstrap intervals"
    f" ({RESAMPLES} resamples: subjects with replacement, then slices within each drawn subject)."
    " One subject gives no interval, and few subjects say little about other people."
)
_VOLUMES_HOW = (
    "Pooled over each file as fastMRI does: PSNR from the error of the whole volume with the ground"
    " truth's volume maximum, SSIM as the mean over slices with the volume maximum, NMSE of the"
    " volume. Means over files; the bootstrap resamples subjects, then files."
)


@dataclass(frozen=True)
class Estimate:
    """A mean and its bootstrap interval.

    The mean is None if a value is missing or not finite, and the interval also for one subject.
    """

    mean: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Group:
    """Results of one method on one group of slices (or of files, in the table of volumes).

    ``kind`` is one of ``KINDS``. ``residual`` is the largest residual. ``seconds``, ``nfe`` and
    ``gflop`` are means per slice, as is ``spread_skill`` of methods that average samples.
    """

    kind: str
    name: str
    method: str
    slices: int
    files: int
    subjects: int
    metrics: dict[str, Estimate]
    residual: float
    seconds: float
    nfe: float
    gflop: float
    spread_skill: float | None


def bootstrap(
    values: np.ndarray,
    subjects: Sequence[str],
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> np.ndarray:
    """Return the 95 % percentile interval of the mean over rows by a two-stage bootstrap.

    Subjects are drawn with replacement, then from each drawn subject its number of rows, also with
    replacement (Davison and Hinkley 1997, section 3.8). Slices of a person resemble one another,
    so drawing slices alone would make the interval too narrow.

    Args:
        values: (n, M), a row per slice.
        subjects: subject of each row.
        rng: random generator.
        resamples: number of resamples.

    Returns:
        (2, M), lower and upper end.
    """
    names = np.asarray(subjects)
    groups = [values[names == name] for name in dict.fromkeys(subjects)]
    drawn = rng.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), size=resamples)
    sums, sizes = np.zeros((resamples, values.shape[1])), np.zeros(resamples)
    for times, group in zip(drawn.T, groups, strict=True):
        n = len(group)
        owner = np.repeat(np.arange(resamples), times)
        weights = rng.multinomial(n, np.full(n, 1 / n), size=len(owner))
        np.add.at(sums, owner, weights @ group)
        sizes += n * times
    tail = (1 - LEVEL) / 2
    return np.quantile(sums / sizes[:, None], [tail, 1 - tail], axis=0)


def summarise(
    rows: Sequence[Row],
    metrics: Sequence[str],
    seed: int = 0,
    subjects: Subjects | None = None,
    contrasts: Mapping[str, str] | None = None,
) -> list[Group]:
    """Return a ``Group`` per method and anatomy, contrast (if any is known) and source.

    Groups of contrasts and sources are named ``anatomy/contrast`` and ``anatomy/source``. All
    methods of a group share their bootstrap resamples, because they draw with the same seed.

    Args:
        rows: rows of ``metrics.csv`` (of slices, or of volumes of thick slices) or ``volumes.csv``.
        metrics: columns to average.
        seed: seed of the bootstrap.
        subjects: file -> subject; a file of unknown subject counts as a subject.
        contrasts: file -> contrast; other files are ``unknown``.
    """
    methods = list(dict.fromkeys(r["method"] for r in rows))
    result = []
    for kind in KINDS if contrasts else (KINDS[0], KINDS[-1]):
        names, members = _group_names(rows, kind, contrasts or {}), dict[str, list[Row]]()
        for row in rows:
            members.setdefault(names[row["anatomy"], row["file"]], []).append(row)
        for name in sorted(members):
            for method in methods:
                chosen = [r for r in members[name] if r["method"] == method]
                if chosen:
                    result.append(_group(kind, name, method, chosen, metrics, seed, subjects or {}))
    return result


def _group_names(
    rows: Sequence[Row], kind: str, contrasts: Mapping[str, str]
) -> dict[tuple[str, str], str]:
    """Return the group of every (anatomy, file)."""
    pairs = {(row["anatomy"], row["file"]) for row in rows}
    if kind == "anatomy":
        return {pair: pair[0] for pair in pairs}
    if kind == "contrast":
        return {pair: f"{pair[0]}/{contrasts.get(pair[1], 'unknown')}" for pair in pairs}
    anatomies = {anatomy for anatomy, _ in pairs}
    sources = {a: source_names((f for owner, f in pairs if owner == a), a) for a in anatomies}
    return {(anatomy, file): f"{anatomy}/{sources[anatomy][file]}" for anatomy, file in pairs}


def _group(
    kind: str,
    name: str,
    method: str,
    rows: list[Row],
    metrics: Sequence[str],
    seed: int,
    subjects: Subjects,
) -> Group:
    # Rows are sorted, because workers finish in any order and all methods share resamples.
    rows = sorted(rows, key=lambda r: (r["file"], int(r.get("slice", r.get("axis", 0)))))
    files = [r["file"] for r in rows]
    per_slice = [r.get("slices", 1) for r in rows]  # a row of volumes.csv stands for many slices
    return Group(
        kind=kind,
        name=name,
        method=method,
        slices=int(sum(per_slice)),
        files=len(set(files)),
        subjects=count_subjects(files, subjects),
        metrics=_estimates(rows, [subject_of(f, subjects) for f in files], metrics, seed),
        residual=max(r["residual"] for r in rows),
        seconds=float(np.average([r["seconds"] for r in rows], weights=per_slice)),
        nfe=float(np.average([r["nfe"] for r in rows], weights=per_slice)),
        gflop=float(np.average([r["gflop"] for r in rows], weights=per_slice)),
        spread_skill=mean_spread(rows),
    )


def mean_spread(rows: Sequence[Row]) -> float | None:
    """Return the mean spread/skill of the rows; None if they have none."""
    found = [r[SPREAD] for r in rows if r.get(SPREAD) is not None]
    return float(np.mean(found)) if found else None


def _estimates(
    rows: list[Row], subjects: list[str], metrics: Sequence[str], seed: int
) -> dict[str, Estimate]:
    table = np.array([[_number(r[m]) for m in metrics] for r in rows])
    usable = np.isfinite(table).all(0)
    intervals = np.full((2, len(metrics)), np.nan)
    if usable.any():
        rng = np.random.default_rng(seed)
        intervals[:, usable] = bootstrap(table[:, usable], subjects, rng)
    means = table.mean(0)

    def estimate(i: int) -> Estimate:
        if not usable[i]:
            return Estimate(None)
        if len(set(subjects)) == 1:
            return Estimate(float(means[i]))
        return Estimate(float(means[i]), float(intervals[0, i]), float(intervals[1, i]))

    return {m: estimate(i) for i, m in enumerate(metrics)}


def _number(value: float | None) -> float:
    return np.nan if value is None else value


# ---- files ----


def volume_rows(rows: Sequence[Row], survey: Sequence[Surveyed]) -> list[Row]:
    """Return a row of ``volumes.csv`` for every file and method, from the rows of its slices."""
    files = {s.file.name: s for s in survey}
    members: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        members.setdefault((row["file"], row["method"]), []).append(row)
    return [_volume_row(chosen, files[name]) for (name, _), chosen in members.items()]


def _volume_row(rows: list[Row], surveyed: Surveyed) -> Row:
    rows = sorted(rows, key=lambda row: row["slice"])
    column = {key: np.array([row[key] for row in rows]) for key in _POOLED}
    return {
        **{key: rows[0][key] for key in ("file", "anatomy", "method", "factor", "kernel", "noise")},
        "slices": len(rows),
        **pooled_metrics(
            column["nmse"],
            column["ssim_volmax"],
            surveyed.energy,
            surveyed.pixels,
            surveyed.maximum,
        ),
        "residual": float(column["residual"].max()),
        "seconds": float(column["seconds"].mean()),
        "nfe": float(column["nfe"].mean()),
        "gflop": float(column["gflop"].mean()),
    }


def write_tables(
    ledger: Ledger,
    survey: Sequence[Surveyed],
    facts: Mapping[str, str],
    notes: Sequence[str],
    seed: int,
    subjects: Subjects,
) -> list[Path]:
    """Write ``table.md``, ``table.json`` and ``volumes.csv`` of methods without missing slices.

    Args:
        ledger: rows and settings of the evaluation.
        survey: the files that were evaluated.
        facts: title -> text, for the head of the report.
        notes: sentences below the facts.
        seed: seed of the bootstrap.
        subjects: file -> subject, as for `summarise`.

    Returns:
        The written files.
    """
    rows = ordered_rows(ledger)
    pooled = volume_rows(rows, survey)
    contrasts = contrasts_of(survey)
    slices = summarise(rows, ledger.metrics, seed, subjects, contrasts)
    pooled_groups = summarise(pooled, VOLUME_METRICS, seed, subjects)
    volumes = [g for g in pooled_groups if g.kind == "anatomy"]
    markdown = _markdown(slices, volumes, ledger.metrics, facts, notes)
    groups = {
        "subjects": {s.file.name: subject_of(s.file.name, subjects) for s in survey},
        "intervals": intervals(seed, _HOW),
        "slices": [asdict(g) for g in slices],
        "volumes": [asdict(g) for g in volumes],
    }
    targets = write_report(ledger, markdown, facts, notes, groups)
    write_rows(ledger.folder / VOLUMES_FILE, VOLUME_COLUMNS, pooled)
    return [*targets, ledger.folder / VOLUMES_FILE]


def ordered_rows(ledger: Ledger) -> list[Row]:
    """Return the rows of methods without missing parts, in the order of the command.

    Several processes finish in any order.
    """
    order = {method: place for place, method in enumerate(ledger.methods)}
    rows = [row for row in ledger.rows if row["method"] in order]
    return sorted(rows, key=lambda row: order[row["method"]])


def contrasts_of(survey: Iterable[Evaluated]) -> dict[str, str]:
    """Return file -> contrast, for files of a known one."""
    return {s.file.name: contrast_family(c) for s in survey if (c := s.file.data.contrast)}


def intervals(seed: int, how: str) -> dict[str, Any]:
    """Return what ``table.json`` says of its intervals."""
    return {"level": LEVEL, "resamples": RESAMPLES, "seed": seed, "how": how}


def _markdown(
    slices: list[Group],
    volumes: list[Group],
    metrics: Sequence[str],
    facts: Mapping[str, str],
    notes: Sequence[str],
) -> str:
    parts = ["# Evaluation", "\n".join(f"- **{k}:** {v}" for k, v in facts.items()), *notes]
    parts += ["## Slices", _HOW]
    for kind in KINDS:
        if chosen := [g for g in slices if g.kind == kind]:
            parts += [f"### Per {kind}", _table(chosen, metrics)]
    parts += ["## Whole volumes", _VOLUMES_HOW, _table(volumes, VOLUME_METRICS)]
    return "\n\n".join(parts) + "\n"


def _table(groups: list[Group], metrics: Sequence[str]) -> str:
    titles = [groups[0].kind if groups else "", "method", "slices", "files", "subjects"]
    titles += [TITLES[m] for m in metrics]
    titles += ["largest residual", "s / slice", "NFE / slice", "GFLOP / slice"]
    spread = any(g.spread_skill is not None for g in groups)
    titles += ["spread/skill"] * spread
    rows = []
    for g in groups:
        cells = [g.name, g.method, str(g.slices), str(g.files), str(g.subjects)]
        cells += [estimate_cell(g.metrics[m], DECIMALS.get(m, 4)) for m in metrics]
        cells += [f"{g.residual:.1e}", f"{g.seconds:.3g}", f"{g.nfe:g}", f"{g.gflop:.4g}"]
        cells += ["" if g.spread_skill is None else f"{g.spread_skill:.2f}"] * spread
        rows.append(cells)
    return markdown_table(titles, rows)


def markdown_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def estimate_cell(estimate: Estimate, decimals: int) -> str:
    """Return a mean and its interval for a table."""
    if estimate.mean is None:
        return "n/a"
    mean = f"{estimate.mean:.{decimals}f}"
    if estimate.low is None or estimate.high is None:
        return mean
    return f"{mean} [{estimate.low:.{decimals}f}, {estimate.high:.{decimals}f}]"
