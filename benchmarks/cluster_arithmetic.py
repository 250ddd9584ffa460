"""Arithmetic of large jobs: training on full fastMRI, and a cohort of thousands of volumes.

    python benchmarks/cluster_arithmetic.py --page docs/guide/clusters.md

Writes two tables between the page's marks. Work per patch and per slice comes from what training
the shipped prior and `mrcascade benchmark` counted and timed; time on a GPU is that work over a
rate that is assumed (``--teraflops``), because no GPU was measured.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
FACTS = ROOT / "src/mrcascade/weights/mr-small/facts.json"
BENCHMARK = ROOT / "docs/evidence/data/benchmark.json"
BEGIN, END = "<!-- arithmetic: benchmarks/cluster_arithmetic.py -->", "<!-- end of arithmetic -->"
# Training volumes and slices of fastMRI: knee, Zbontar et al. (2018), arXiv:1811.08839; brain,
# Muckley et al. (2021), doi:10.1109/TMI.2021.3075856; prostate T2, Tibrewala et al. (2024),
# doi:10.1038/s41597-024-03252-w, 312 examinations of some 30 slices, of which 70 % train.
FASTMRI = {"knee": (973, 34_742), "brain": (4_469, 70_748), "prostate T2": (218, 6_540)}
SIDE = 320  # of a fastMRI image
PIXEL_BYTES = 2  # of a cached slice
RESULT_BYTES = 4  # of a result's pixel, before compression


@dataclass(frozen=True)
class Level:
    """Training of a level.

    Attributes:
        number: the level.
        branch: petaflop per patch of the regression branch.
        unet: petaflop per patch of the U-Net.
        rate: sustained petaflop per second of the fastest run.
        processor: what ran it.
    """

    number: int
    branch: float
    unet: float
    rate: float
    processor: str


def levels_of(runs: Sequence[Mapping[str, Any]]) -> list[Level]:
    """Return work and rate of each level from its training runs, by least squares."""
    found = []
    for number in sorted({run["level"] for run in runs}):
        mine = [run for run in runs if run["level"] == number and run["petaflop"]]
        patches = np.array([[run["branch_patches"], run["unet_patches"]] for run in mine], float)
        work = np.array([run["petaflop"] for run in mine])
        (branch, unet), *_ = np.linalg.lstsq(patches, work, rcond=None)
        fastest = max(mine, key=lambda run: run["petaflop"] / run["seconds"])
        rate = fastest["petaflop"] / fastest["seconds"]
        found.append(Level(number, float(branch), float(unet), rate, fastest["hardware"]))
    return found


def training_table(levels: Sequence[Level], options: argparse.Namespace) -> list[str]:
    volumes, slices = (sum(counts) for counts in zip(*FASTMRI.values(), strict=True))
    images = slices * options.passes
    gigabytes = slices * SIDE**2 * PIXEL_BYTES / 1e9
    lines = [
        f"Full fastMRI has {volumes:,} training volumes with {slices:,} slices"
        f" ({', '.join(f'{name} {count:,}' for name, (_, count) in FASTMRI.items())}). As slices of"
        f" {SIDE} x {SIDE} pixels with {PIXEL_BYTES} bytes they take {gigabytes:.0f} GB. With"
        f" {options.passes} patches per slice each level sees {images / 1e6:.1f} million patches,"
        " half of them in the branch where there is one.",
        "",
        f"| level | GFLOP per patch, branch / U-Net | PFLOP | GPU-hours at {options.teraflops:g}"
        " TFLOP/s | days at the measured rate |",
        "| --- | --- | --- | --- | --- |",
    ]
    total = np.zeros(3)
    for level in levels:
        half = 0.5 if level.branch else 0.0
        work = images * (half * level.branch + (1 - half) * level.unet)
        costs = np.array([work, gpu_hours(work, options), work / level.rate / 86_400])
        total += costs
        branch = f"{1e6 * level.branch:.2f}" if level.branch else "none"
        lines.append(f"| {level.number} | {branch} / {1e6 * level.unet:.2f} | {_costs(costs)} |")
    lines += [f"| all | | {_costs(total)} |", ""]
    rates = ", ".join(f"{1e6 * level.rate:.0f}" for level in levels)
    lines.append(f"Measured: {rates} GFLOP/s by level, bfloat16, {levels[0].processor}.")
    return lines


def cohort_table(results: Sequence[Mapping[str, Any]], machine: str, options: Any) -> list[str]:
    batch = max(result["batch"] for result in results)
    side = next(result["size"] for result in results)
    slices = options.volumes * options.slices
    gigabytes = slices * side**2 * RESULT_BYTES / 1e9
    lines = [
        f"{options.volumes:,} volumes of {options.slices} slices are {slices:,} slices. Results of"
        f" {side} x {side} pixels take {gigabytes:,.0f} GB before compression.",
        "",
        f"| mode | s per slice | machine-days | hours on {options.machines} machines | PFLOP"
        f" | GPU-hours at {options.teraflops:g} TFLOP/s |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for mode in options.modes:
        one = next(r for r in results if r["mode"] == mode and r["batch"] == batch)
        seconds, work = slices * one["seconds_per_slice"], slices * one["gflop"] / 1e6
        lines.append(
            f"| `{mode}` | {one['seconds_per_slice']:.2f} | {seconds / 86_400:.1f}"
            f" | {seconds / 3600 / options.machines:.1f} | {work:.0f}"
            f" | {gpu_hours(work, options):.1f} |"
        )
    return [*lines, "", f"Measured: {machine}, 4x, batches of {batch}."]


def gpu_hours(petaflop: float, options: argparse.Namespace) -> float:
    return float(1000 * petaflop / options.teraflops / 3600)


def _costs(costs: np.ndarray) -> str:
    work, hours, days = costs
    return f"{work:,.0f} | {hours:,.1f} | {days:,.1f}"


def tables(options: argparse.Namespace) -> list[str]:
    """Return the lines between the marks."""
    facts, benchmark = json.loads(FACTS.read_text()), json.loads(BENCHMARK.read_text())
    machine = f"{benchmark['machine']['processor']}, {benchmark['machine']['precision']}"
    return [
        *training_table(levels_of(facts["training"]), options),
        "",
        *cohort_table(benchmark["results"], machine, options),
    ]


def with_tables(page: str, lines: Sequence[str]) -> str:
    """Return the page with new lines between its marks."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return "\n".join([before + BEGIN, *lines, END + after])


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page", type=Path, help="page to write into (default: print)")
    parser.add_argument("--teraflops", type=float, default=20.0, help="sustained, of a GPU")
    parser.add_argument("--passes", type=int, default=100, help="patches of a slice, per level")
    parser.add_argument("--volumes", type=int, default=10_000)
    parser.add_argument("--slices", type=int, default=40, help="of a volume of the cohort")
    parser.add_argument("--machines", type=int, default=50, help="that share the cohort")
    parser.add_argument("--modes", nargs="+", default=["mean", "balanced", "sample", "paper"])
    return parser.parse_args(words)


def main() -> None:
    options = arguments()
    lines = tables(options)
    if options.page is None:
        print("\n".join(lines))
    else:
        options.page.write_text(with_tables(options.page.read_text(), lines))


if __name__ == "__main__":
    main()
