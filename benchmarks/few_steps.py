"""Quality of posterior samples against their cost: a scan of samplers and step counts.

    python benchmarks/few_steps.py --data DATA --lpips-weights DIR --factor 4 -o few-steps

Draws one sample per validation slice and method, noise-free, kernel fourier. A method is a mode
with its settings; each runs with every T of ``--steps``. Writes ``few_steps.json``, a table, and
``few_steps.png`` (PSNR and LPIPS over seconds per slice, averaged over anatomies) beside the
evaluations that they come from. A star marks the front: no other method is as cheap and has a
smaller LPIPS. Repeat the command to continue an interrupted scan.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from common import names, numbers, run, table_row
from mrcascade.evaluation.job import Evaluation
from mrcascade.evaluation.run import evaluate

METHODS = (
    "paper",
    "multistep:rho=7",
    "multistep:rho=7:eta=0.5",
    "multistep:rho=7:eta=1",
    "balanced",
    "multistep:rho=7:eta=1:detail=1/0.6",
)
BASELINES = ("zero-fill", "mean")

Figures = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--lpips-weights", type=Path, required=True)
    parser.add_argument("--methods", type=names, default=list(METHODS))
    parser.add_argument("--steps", type=numbers, default=[12, 24, 48], help="values of T")
    parser.add_argument("--factor", type=float, default=4)
    parser.add_argument("--max-slices", type=int, default=1, help="slices per file")
    parser.add_argument("--prior", default="mr-small")
    parser.add_argument("--precision", default="float32", help="or bfloat16")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    table: dict[str, Figures] = {}
    for steps in map(int, options.steps):
        job = Evaluation(
            data=options.data,
            methods=(*(() if table else BASELINES), *options.methods),
            split="val",
            factor=(options.factor, options.factor),
            prior=options.prior,
            steps=steps,
            precision=options.precision,
            max_slices=options.max_slices,
            workers=options.workers,
            lpips_weights=options.lpips_weights,
        )
        folder = options.output / f"T{steps}"
        evaluate(job, folder, say=print, progress=lambda total: lambda count, text: None)
        for method, row in read_table(folder).items():
            table[method if method in BASELINES else f"{method} T={steps}"] = row
    (options.output / "few_steps.json").write_text(json.dumps(table, indent=1) + "\n")
    draw(table, options.output / "few_steps.png")
    best = front({name: row for name, row in table.items() if name not in BASELINES})
    print(table_row(["method", "PSNR (dB)", "LPIPS", "seconds", "GFLOP", "front"]))
    print(table_row(["---"] * 6))
    for name, row in table.items():
        cells = [f"{row['psnr']:.2f}", f"{row['lpips']:.4f}", f"{row['seconds']:.2f}"]
        print(table_row([f"`{name}`", *cells, f"{row['gflop']:.0f}", "*" * (name in best)]))


def read_table(folder: Path) -> dict[str, Figures]:
    """Return method -> figures, averaged over anatomies with equal weights."""
    document = json.loads((folder / "table.json").read_text())
    found: dict[str, list[Figures]] = {}
    for group in document["slices"]:
        if group["kind"] == "anatomy":
            found.setdefault(group["method"], []).append(
                {
                    "psnr": group["metrics"]["psnr_slice"]["mean"],
                    "lpips": group["metrics"]["lpips"]["mean"],
                    "seconds": group["seconds"],
                    "gflop": group["gflop"],
                }
            )
    return {
        method: {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
        for method, rows in found.items()
    }


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


def draw(table: dict[str, Figures], target: Path) -> None:
    """Draw PSNR and LPIPS over seconds per slice, a line per method along T."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    lines: dict[str, list[tuple[str, Figures]]] = {}
    for name, row in table.items():
        method, _, steps = name.partition(" T=")
        lines.setdefault(method, []).append((steps, row))
    labels = {"psnr": "PSNR of one draw (dB)", "lpips": "LPIPS (lower is better)"}
    for axes, (key, label) in zip(figure.subplots(1, 2), labels.items(), strict=True):
        for method, rows in lines.items():
            if method == "zero-fill":
                continue
            x, y = ([row[name] for _, row in rows] for name in ("seconds", key))
            axes.plot(x, y, "o-", ms=4, lw=0.8, label=method)
            for (steps, _), px, py in zip(rows, x, y, strict=True):
                axes.annotate(
                    steps, (px, py), fontsize=7, xytext=(3, 3), textcoords="offset points"
                )
        axes.set(xscale="log", xlabel="seconds per slice", ylabel=label)
        axes.legend(fontsize=7)
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    run(main)
