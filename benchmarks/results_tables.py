"""README's table of modes: gains over zero filling, from the study behind them, and times.

    mrcascade reproduce benchmarks/studies/defaults.json --data DATA --lpips-weights DIR -o results
    mrcascade benchmark -o benchmark.json
    python benchmarks/results_tables.py results/all.csv benchmark.json

Gains are differences of means in PSNR, and ratios of means in LPIPS, of one anatomy.
``evidence.py`` writes the page with all of them.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any

from common import run, table_row
from mrcascade.benchmark.table import read_benchmark
from mrcascade.errors import MRCascadeError

TASKS = {"test-2x-noise0": "2x", "test-2x-noise0.01": "2x, 1 % noise", "test-4x-noise0": "4x"}
MODES = {
    "mean": "measuring: the least error (default)",
    "balanced": "one sharp image",
    "sample": "uncertainty: what `--samples K` draws",
    "paper": "the paper's sampler",
}
ANATOMY = "brain"
#: Means of PSNR and LPIPS by task, method and anatomy.
Means = Mapping[tuple[str, str, str], tuple[float, ...]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", type=Path, help="all.csv of the study")
    parser.add_argument("times", type=Path, help="file of `mrcascade benchmark`")
    options = parser.parse_args()
    means, times = read_means(options.rows), read_benchmark(options.times)
    if times is None:
        raise MRCascadeError(f"{options.times}: not a file of `mrcascade benchmark -o`")
    print("\n".join(readme_rows(means, times)))


def read_means(path: Path) -> Means:
    """Return the means over slices."""
    found: dict[tuple[str, str, str], list[tuple[float, ...]]] = defaultdict(list)
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            key = row["task"], row["method"], row["anatomy"]
            found[key].append(tuple(float(row[k]) for k in ("psnr_slice", "lpips")))
    return {key: tuple(map(mean, zip(*rows, strict=True))) for key, rows in found.items()}


def gain(means: Means, task: str, method: str, anatomy: str) -> tuple[float, float]:
    """Return the gain over zero filling in dB, and in per cent of LPIPS."""
    psnr, lpips = means[task, method, anatomy]
    base_psnr, base_lpips = means[task, "zero-fill", anatomy]
    return psnr - base_psnr, 100 * (lpips / base_lpips - 1)


def readme_rows(means: Means, times: Mapping[str, Any]) -> list[str]:
    """Return README's table of modes, with the time of one slice by itself."""
    header = ["mode", "use for", *TASKS.values(), "s / 256² slice"]
    seconds = {r["mode"]: r["seconds_per_slice"] for r in times["results"] if r["batch"] == 1}
    rows = [table_row(header), table_row(["---"] * len(header))]
    for mode, use in MODES.items():
        cells = []
        for task in TASKS:
            if (task, mode, ANATOMY) in means:
                psnr, lpips = gain(means, task, mode, ANATOMY)
                cells.append(f"{psnr:+.1f} dB, {lpips:+.0f} %")
            else:
                cells.append("-")
        rows.append(table_row([f"`{mode}`", use, *cells, f"{seconds[mode]:.2g}"]))
    return rows


if __name__ == "__main__":
    run(main)
