"""Quality of posterior samples against their cost: a scan of samplers and step counts.

    python benchmarks/few_steps.py --data DATA --lpips-weights DIR --factor 4 -o few-steps

Draws one sample per slice and method, kernel fourier, without noise unless ``--noise``. A method is
a mode with its settings, or another method of ``mrcascade evaluate``; each runs with every T of
``--steps``, or with one T as ``METHOD@T``. Writes ``few_steps.json``, ``few_steps.md`` (tables) and
``few_steps.png`` (PSNR and LPIPS over operations, averaged over anatomies) beside the evaluations
that they come from. Seconds compare within one T; those of another may have met another load. A
star marks the front: no other method is as cheap and has a smaller LPIPS. Repeat the command to
continue an interrupted scan.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from common import names, numbers, run, table_row
from mrcascade.evaluation.job import Evaluation
from mrcascade.evaluation.run import evaluate

METHODS = ("paper", "sample", "sample:eta=0", "sample:eta=0.5", "balanced")
BASELINES = ("zero-fill", "mean")
ALL = "all"

Figures = dict[str, float]
#: Figures by method, then by anatomy; ``ALL`` averages the anatomies with equal weights.
Table = dict[str, dict[str, Figures]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--lpips-weights", type=Path, required=True)
    parser.add_argument("--methods", type=names, default=list(METHODS), help="NAME or NAME@T")
    parser.add_argument("--steps", type=numbers, default=[12, 24, 48], help="values of T")
    parser.add_argument("--factor", type=float, default=4)
    parser.add_argument("--noise", type=float, default=0.0, help="added, as in evaluate")
    parser.add_argument("--max-slices", type=int, default=1, help="slices per file")
    parser.add_argument("--prior", default="mr-small")
    parser.add_argument("--precision", default="float32", help="or bfloat16")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    table: Table = {}
    for steps, methods in by_steps(options.methods, options.steps).items():
        job = Evaluation(
            data=options.data,
            methods=(*(() if table else BASELINES), *methods),
            split=options.split,
            factor=(options.factor, options.factor),
            noise=options.noise,
            prior=options.prior,
            steps=steps,
            precision=options.precision,
            max_slices=options.max_slices,
            workers=options.workers,
            lpips_weights=options.lpips_weights,
        )
        folder = options.output / f"T{steps}"
        evaluate(job, folder, say=print, progress=lambda total: lambda count, text: None)
        facts, rows = read_table(folder)
        for method, row in rows.items():
            table[method if method in BASELINES else f"{method} T={steps}"] = row
    (options.output / "few_steps.json").write_text(json.dumps(table, indent=1) + "\n")
    draw(table, options.output / "few_steps.png")
    page = "\n".join(
        [*(f"- {key}: {facts[key]}" for key in ("Test set", "Measurement", "Time")), ""]
    )
    page += "\n".join(["", *summary(table), "", *per_anatomy(table), ""])
    (options.output / "few_steps.md").write_text(page)
    print(page)


def by_steps(methods: list[str], steps: list[float]) -> dict[int, list[str]]:
    """Return T -> methods."""
    found: dict[int, list[str]] = {int(each): [] for each in steps}
    for method in methods:
        name, _, own = method.partition("@")
        for each in [int(own)] if own else map(int, steps):
            found.setdefault(each, []).append(name)
    return {each: chosen for each, chosen in sorted(found.items()) if chosen}


def read_table(folder: Path) -> tuple[dict[str, str], Table]:
    """Return the facts of an evaluation and its figures."""
    document = json.loads((folder / "table.json").read_text())
    found: Table = {}
    for group in document["slices"]:
        if group["kind"] == "anatomy":
            found.setdefault(group["method"], {})[group["name"]] = {
                "psnr": group["metrics"]["psnr_slice"]["mean"],
                "lpips": group["metrics"]["lpips"]["mean"],
                "seconds": group["seconds"],
                "gflop": group["gflop"],
            }
    for rows in found.values():
        keys = next(iter(rows.values()))
        rows[ALL] = {key: sum(row[key] for row in rows.values()) / len(rows) for key in keys}
    return document["facts"], found


def summary(table: Table) -> list[str]:
    """Return the table of averages over anatomies."""
    chains = {name: rows[ALL] for name, rows in table.items() if name not in BASELINES}
    best = front(chains)
    lines = [table_row(["method", "PSNR (dB)", "LPIPS", "seconds", "GFLOP", "front"])]
    lines.append(table_row(["---"] * 6))
    for name, rows in table.items():
        row = rows[ALL]
        cells = [f"{row['psnr']:.2f}", f"{row['lpips']:.4f}", f"{row['seconds']:.2f}"]
        lines.append(table_row([f"`{name}`", *cells, f"{row['gflop']:.0f}", "*" * (name in best)]))
    return lines


def per_anatomy(table: Table) -> list[str]:
    """Return the table of PSNR, LPIPS and seconds for each anatomy."""
    anatomies = [name for name in next(iter(table.values())) if name != ALL]
    lines = [table_row(["method", *anatomies]), table_row(["---"] * (len(anatomies) + 1))]
    for name, rows in table.items():
        cells = [f"{r['psnr']:.2f} {r['lpips']:.4f} {r['seconds']:.1f} s" for r in rows.values()]
        lines.append(table_row([f"`{name}`", *cells[:-1]]))
    return lines


def front(table: dict[str, Figures]) -> set[str]:
    """Return the methods than which no cheaper one has a smaller LPIPS."""
    return {
        name
        for name, row in table.items()
        if all(
            other["lpips"] > row["lpips"]
            for rival, other in table.items()
            if rival != name and other["gflop"] <= row["gflop"]
        )
    }


def draw(table: Table, target: Path) -> None:
    """Draw PSNR and LPIPS over operations per slice, a line per method along T."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    lines: dict[str, list[tuple[str, Figures]]] = {}
    for name, rows in table.items():
        method, _, steps = name.partition(" T=")
        lines.setdefault(method, []).append((steps, rows[ALL]))
    labels = {"psnr": "PSNR of one draw (dB)", "lpips": "LPIPS (lower is better)"}
    for axes, (key, label) in zip(figure.subplots(1, 2), labels.items(), strict=True):
        for method, points in lines.items():
            if method == "zero-fill":
                continue
            x, y = ([row[name] for _, row in points] for name in ("gflop", key))
            axes.plot(x, y, "o-", ms=4, lw=0.8, label=method)
            for (steps, _), px, py in zip(points, x, y, strict=True):
                axes.annotate(
                    steps, (px, py), fontsize=7, xytext=(3, 3), textcoords="offset points"
                )
        axes.set(xscale="log", xlabel="GFLOP per slice", ylabel=label)
        axes.legend(fontsize=7)
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    run(main)
