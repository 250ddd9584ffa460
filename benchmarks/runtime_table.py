"""Print a table of run times, by batch size, from a file that `mrcascade benchmark -o FILE` wrote.

mrcascade benchmark --seconds 3600 -o b.json
python benchmarks/runtime_table.py b.json
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import run
from mrcascade.benchmark.table import (
    describe_machine,
    describe_task,
    in_part,
    markdown,
    percent,
    read_benchmark,
)
from mrcascade.errors import MRCascadeError


def runtime_table(document: Mapping[str, Any]) -> list[str]:
    """Return a caption and a table with a row per mode and a column per batch size."""
    results = document["results"]
    modes = list(dict.fromkeys(r["mode"] for r in results))
    sizes = list(dict.fromkeys(r["batch"] for r in results))
    cells = {(r["mode"], r["batch"]): r for r in results}
    header = ["mode", "evaluations", "GFLOP"]
    header += [f"s / slice, {'alone' if size == 1 else f'{size} at once'}" for size in sizes]
    header += [f"of peak{f', {sizes[-1]} at once' if len(sizes) > 1 else ''}"]
    rows = [
        [
            f"`{mode}`",
            str(cells[mode, sizes[0]]["nfe"]),
            f"{cells[mode, sizes[0]]['gflop']:.4g}",
            *(f"{cells[mode, size]['seconds_per_slice']:.2g}" for size in sizes),
            percent(cells[mode, sizes[-1]]["share_of_peak"]),
        ]
        for mode in modes
    ]
    return [f"{describe_machine(document)}; {describe_task(document)}", "", *markdown(header, rows)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, metavar="FILE")
    path = parser.parse_args().file
    document = read_benchmark(path)
    if document is None:
        raise MRCascadeError(f"{path}: not a file that mrcascade benchmark wrote")
    if any(map(in_part, document["results"])):
        raise MRCascadeError(
            f"{path}: some chains were timed with fewer steps; measure again with more --seconds"
        )
    print("\n".join(runtime_table(document)))


if __name__ == "__main__":
    run(main)
