"""Tables of the evidence pages, from the files in ``docs/evidence/data``.

Every function takes the folder of the data and returns lines of Markdown.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

import few_steps
import results_tables
from common import table_row
from mrcascade.benchmark.table import in_part, read_benchmark
from mrcascade.evaluation.subjects import Subjects, count_subjects
from mrcascade.prior.card import FACTS
from mrcascade.prior.format import BUNDLED
from mrcascade.studies.page import pair
from runtime_table import runtime_table

TASKS = results_tables.TASKS
SEED = 0  # of the bootstrap, as in the study
Row = dict[str, Any]


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Return a Markdown table."""
    return [table_row(header), table_row(["---"] * len(header)), *map(table_row, rows)]


@cache
def study_rows(path: Path) -> list[Row]:
    """Return the rows of a study's ``all.csv``; figures are numbers, None where missing."""
    text = ("task", "file", "anatomy", "method", "kernel", "factor")
    with path.open(newline="") as file:
        return [
            {k: v if k in text else (float(v) if v else None) for k, v in row.items()}
            for row in csv.DictReader(file)
        ]


def study_facts(data: Path, name: str) -> dict[str, Any]:
    """Return what the evaluations of a study say of themselves, by task."""
    tasks: dict[str, Any] = json.loads((data / f"{name}.json").read_text())["tasks"]
    return tasks


def chosen(rows: Sequence[Row], task: str, method: str, anatomy: str) -> list[Row]:
    """Return the rows of a method in an anatomy, in the order of files and slices."""
    found = [r for r in rows if (r["task"], r["method"], r["anatomy"]) == (task, method, anatomy)]
    return sorted(found, key=lambda r: (r["file"], r["slice"]))


def methods_of(rows: Sequence[Row], task: str) -> list[str]:
    return list(dict.fromkeys(r["method"] for r in rows if r["task"] == task))


def with_interval(
    rows: Sequence[Row], base: Sequence[Row], metric: str, subjects: Subjects, decimals: int
) -> str:
    """Return a mean difference with its interval between people, where there are several."""
    found = pair(rows, base, metric, SEED, subjects)
    text = f"{found.mean:+.{decimals}f}"
    if found.low is None or found.high is None:
        return text
    return f"{text} [{found.low:+.{decimals}f}, {found.high:+.{decimals}f}]"


def people(rows: Sequence[Row], subjects: Subjects) -> int:
    return count_subjects((r["file"] for r in rows), subjects)


def brain(data: Path) -> list[str]:
    """Return, per task, the figures of the anatomy with the most people."""
    rows, facts = study_rows(data / "in-plane.csv"), study_facts(data, "in-plane")
    lines: list[str] = []
    for task, title in TASKS.items():
        subjects = facts[task]["subjects"]
        base = chosen(rows, task, "zero-fill", results_tables.ANATOMY)
        cells = []
        for method in methods_of(rows, task):
            own = chosen(rows, task, method, results_tables.ANATOMY)
            gain = (
                "" if method == "zero-fill" else with_interval(own, base, "psnr_slice", subjects, 2)
            )
            figures = [f"{mean(r[k] for r in own):.{d}f}" for k, d in _METRICS]
            cells.append([f"`{method}`", *figures, gain])
        lines += [f"**{title}**, {len(base)} slices of {people(base, subjects)} people:", ""]
        header = ["method", "PSNR (dB)", "SSIM", "LPIPS", "gain in PSNR (dB) [95 %]"]
        lines += [*table(header, cells), ""]
    return lines[:-1]


_METRICS = (("psnr_slice", 2), ("ssim_slice", 4), ("lpips", 4))


def anatomies(data: Path) -> list[str]:
    """Return, per task, the gains of the modes in every anatomy."""
    rows, facts = study_rows(data / "in-plane.csv"), study_facts(data, "in-plane")
    means = results_tables.read_means(data / "in-plane.csv")
    lines: list[str] = []
    for task, title in TASKS.items():
        subjects = facts[task]["subjects"]
        modes = [m for m in methods_of(rows, task) if m in results_tables.MODES]
        cells = []
        for anatomy in dict.fromkeys(r["anatomy"] for r in rows):
            base = chosen(rows, task, "zero-fill", anatomy)
            gains = (results_tables.gain(means, task, mode, anatomy) for mode in modes)
            said = [f"{psnr:+.1f} dB, {lpips:+.0f} %" for psnr, lpips in gains]
            cells.append([f"{anatomy} ({len(base)}; {people(base, subjects)})", *said])
        header = ["anatomy (slices; people)", *(f"`{mode}`" for mode in modes)]
        lines += [f"**{title}**", "", *table(header, cells), ""]
    return lines[:-1]


def facts_list(facts: Mapping[str, str], keys: Sequence[str]) -> list[str]:
    return [f"- {key}: {facts[key]}" for key in keys if key in facts]


_HOW = ("Test set", "Subjects", "Ground truth", "Prior", "Data range", "SSIM", "LPIPS", "Software")


def how_in_plane(data: Path) -> list[str]:
    facts = study_facts(data, "in-plane")
    return facts_list(next(iter(facts.values()))["facts"], _HOW)


def compared_methods(data: Path) -> list[str]:
    """Return, per task and anatomy, every method and its difference from DiffPIR."""
    rows, facts = study_rows(data / "comparison.csv"), study_facts(data, "comparison")
    lines: list[str] = []
    for task in dict.fromkeys(r["task"] for r in rows):
        subjects = facts[task]["subjects"]
        for anatomy in dict.fromkeys(r["anatomy"] for r in rows if r["task"] == task):
            base = chosen(rows, task, "diffpir", anatomy)
            cells = []
            for method in methods_of(rows, task):
                own = chosen(rows, task, method, anatomy)
                figures = [f"{mean(r[k] for r in own):.{d}f}" for k, d in _METRICS]
                differences = [
                    "" if method == "diffpir" else with_interval(own, base, k, subjects, d)
                    for k, d in (("psnr_slice", 2), ("lpips", 4))
                ]
                cells.append([f"`{method}`", *figures, *differences])
            header = ["method", "PSNR (dB)", "SSIM", "LPIPS"]
            header += ["PSNR - `diffpir` [95 %]", "LPIPS - `diffpir` [95 %]"]
            count = people(base, subjects)
            lines += [f"**{task}, {anatomy}**, {len(base)} slices, people: {count}", ""]
            lines += [*table(header, cells), ""]
    return lines[:-1]


def how_compared(data: Path) -> list[str]:
    facts = study_facts(data, "comparison")
    return facts_list(next(iter(facts.values()))["facts"], _HOW)


def few_steps_table(data: Path) -> few_steps.Table:
    found: few_steps.Table = json.loads((data / "few-steps.json").read_text())
    return found


def few_steps_summary(data: Path) -> list[str]:
    return few_steps.summary(few_steps_table(data))


def few_steps_anatomies(data: Path) -> list[str]:
    return few_steps.per_anatomy(few_steps_table(data))


def few_steps_against(data: Path) -> list[str]:
    """Return the differences of the cascade's samples from single-scale DiffPIR of equal T."""
    found = few_steps_table(data)
    rows = []
    for name in found:
        method, _, steps = name.partition(" T=")
        base = found.get(f"diffpir T={steps}")
        if base is None or method == "diffpir":
            continue
        psnr, lpips = zip(*map(_against, *_paired_anatomies(found[name], base)), strict=True)
        operations = found[name][few_steps.ALL]["gflop"] / base[few_steps.ALL]["gflop"]
        rows.append(
            [
                f"`{name}`",
                f"{min(psnr):+.2f} to {max(psnr):+.2f}",
                f"{max(lpips):+.0f} to {min(lpips):+.0f}",
                f"{operations:.2f}",
            ]
        )
    header = ["method", "PSNR (dB)", "LPIPS (%)", "operations, share of `diffpir`'s"]
    return table(header, rows)


def _paired_anatomies(
    rows: Mapping[str, few_steps.Figures], base: Mapping[str, few_steps.Figures]
) -> tuple[list[few_steps.Figures], list[few_steps.Figures]]:
    names = [name for name in rows if name != few_steps.ALL]
    return [rows[name] for name in names], [base[name] for name in names]


def _against(own: few_steps.Figures, base: few_steps.Figures) -> tuple[float, float]:
    return own["psnr"] - base["psnr"], 100 * (own["lpips"] / base["lpips"] - 1)


def isotropic(data: Path) -> list[str]:
    """Return the scores of each method, per anatomy."""
    document = json.loads((data / "isotropic.json").read_text())
    groups = [g for g in document["volumes"] if g["kind"] == "anatomy"]
    lines: list[str] = []
    for name in dict.fromkeys(g["name"] for g in groups):
        own = [g for g in groups if g["name"] == name]
        cells = [
            [
                f"`{g['method']}`",
                *(_estimate(g["metrics"][k], d) for k, d in _SCORES),
                f"{g['residual']:.0e}",
            ]
            for g in own
        ]
        lines += [f"**{name}**, volumes: {own[0]['volumes']}, people: {own[0]['subjects']}", ""]
        header = ["method", "PSNR (dB)", "SSIM", "lost-band gain", "lost-band power", "residual"]
        lines += [*table(header, cells), ""]
    return lines[:-1]


_SCORES = (("psnr", 2), ("ssim", 3), ("gain", 3), ("power", 3))


def _estimate(found: Mapping[str, float | None], decimals: int) -> str:
    text = f"{found['mean']:.{decimals}f}"
    if found["low"] is None:
        return text
    return f"{text} [{found['low']:.{decimals}f}, {found['high']:.{decimals}f}]"


def how_isotropic(data: Path) -> list[str]:
    facts = json.loads((data / "isotropic.json").read_text())["facts"]
    return facts_list(facts, ("Test set", "Measurement", "Scores", "Prior", "Software"))


def stacks(data: Path) -> list[str]:
    """Return the PSNR of stacks alone, of their average and of the combination."""
    rows = json.loads((data / "stacks.json").read_text())["compared"]
    cells = [
        [
            f"{100 * r['noise']:g} %",
            f"`{r['mode']}`",
            ", ".join(f"{one:.2f}" for one in r["alone"]),
            f"{r['average']:.2f}",
            f"{r['combined']:.2f}",
        ]
        for r in rows
    ]
    return table(["noise", "mode", "each stack alone", "average of the three", "combined"], cells)


def displaced_stack(data: Path) -> list[str]:
    """Return the PSNR of a combination in which one stack is displaced."""
    found = json.loads((data / "stacks.json").read_text())["displaced"]
    rows = found["rows"]
    return table(
        ["displacement (voxels)", *(f"{r['shift']:g}" for r in rows)],
        [
            ["found", *(f"{r['found']:.2f}" for r in rows)],
            ["two stacks, one displaced", *(f"{r['two']:.2f}" for r in rows)],
            ["three stacks, one displaced", *(f"{r['three']:.2f}" for r in rows)],
            ["the first stack alone", *(f"{found['alone']:.2f}" for r in rows)],
        ],
    )


def mismatch(data: Path) -> list[str]:
    """Return what each method reaches and loses, averaged over anatomies with equal weights."""
    rows = json.loads((data / "mismatch.json").read_text())["rows"]
    methods = list(dict.fromkeys(r["method"] for r in rows))
    cells: list[list[str]] = []
    for kernel, noise in dict.fromkeys((r["kernel"], r["noise"]) for r in rows):
        said = []
        for method in methods:
            own = [
                r for r in rows if (r["kernel"], r["noise"], r["method"]) == (kernel, noise, method)
            ]
            psnr, lost = (mean(r[k] for r in own) for k in ("psnr_slice", "psnr_lost"))
            lpips = "" if own[0].get("lpips") is None else f"; {mean(r['lpips'] for r in own):.3f}"
            loss = f" ({-lost:+.2f})" if cells else ""  # the matched case comes first
            said.append(f"{psnr:.2f}{loss}{lpips}")
        cells.append([f"`{kernel}`", f"{100 * noise:g} %", *said])
    return table(["kernel", "noise", *(f"`{m}`" for m in methods)], cells)


def calibration(data: Path) -> list[str]:
    """Return spread over skill per anatomy, from the facts of the shipped prior."""
    rows = json.loads((BUNDLED / "mr-small" / FACTS).read_text())["calibration"]
    cases = list(dict.fromkeys((r["split"], r["factor"], r["noise"]) for r in rows))
    test = sorted(case for case in cases if case[0] == "test")
    found = {(r["split"], r["factor"], r["noise"], r["anatomy"]): r["spread_skill"] for r in rows}
    names = dict.fromkeys(r["anatomy"] for r in rows if r["split"] == "test")
    cells = [[name, *(f"{found[(*case, name)]:.2f}" for case in test)] for name in names]
    header = ["anatomy", *(f"{factor:g}x, {100 * noise:g} % noise" for _, factor, noise in test)]
    return table(header, cells)


def times(data: Path) -> list[str]:
    document = read_benchmark(data / "benchmark.json")
    assert document is not None  # the file is one of the repository
    lines = runtime_table(document)
    if any(map(in_part, document["results"])):
        lines += ["", "Long chains were timed with fewer steps and scaled by their operations."]
    return lines


def memory(data: Path) -> list[str]:
    """Return peak memory and time of ``sr`` by mode and number of slices."""
    document = json.loads((data / "memory.json").read_text())
    cells = [
        [f"`{r['mode']}`", f"{r['slices']} of {r['side']} x {r['side']}", f"{r['peak_mib']:.0f}"]
        for r in document["rows"]
    ]
    factor = document["settings"]["factor"]
    return table(["mode", f"slices, restored {factor}x", "peak (MiB)"], cells)


def domain(data: Path) -> list[str]:
    """Return how many files are warned of, by group of images and measurement."""
    return _warnings(data / "domain.json")


def domain_complex(data: Path) -> list[str]:
    """Return the same of the complex prior."""
    return _warnings(data / "domain-complex.json")


def _warnings(path: Path) -> list[str]:
    scores = json.loads(path.read_text())["scores"]
    shown = {name: s for name, s in scores.items() if not name.startswith("inverted")}
    tasks = list(dict.fromkeys(n.split(", ", 1)[1] for n in shown if ", " in n))
    groups = sorted({name.split(", ", 1)[0] for name in shown}, key=lambda n: ("unseen" in n, n))
    cells = [
        [group, *(_warned(shown.get(f"{group}, {task}")) for task in tasks)]
        for group in groups
        if group in {n.split(", ", 1)[0] for n in shown if ", " in n}
    ]
    cells += [[g, _warned(shown[g]), *[""] * (len(tasks) - 1)] for g in groups if g in shown]
    return table(["images", *tasks], cells)


def domain_inverted(data: Path) -> list[str]:
    """Return how many of the inverted images are warned of, by each prior."""
    cells = []
    for kind in ("inverted", "inverted body"):
        row = [kind]
        for name in ("domain.json", "domain-complex.json"):
            scores = json.loads((data / name).read_text())["scores"]
            found = [s for group, s in scores.items() if group.startswith(f"{kind}: ")]
            row.append(_warned({k: v for s in found for k, v in s.items()}))
        cells.append(row)
    return table(["all images, at 2x", "`mr-small`", "`mr-small-complex`"], cells)


def _warned(scores: Mapping[str, float] | None) -> str:
    return "" if scores is None else f"{sum(v > 1 for v in scores.values())} of {len(scores)}"
