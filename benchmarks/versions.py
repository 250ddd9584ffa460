"""Time of a network evaluation in two source trees, which take turns.

python benchmarks/versions.py ../before/src src --precision bfloat16

Prints ratios of CPU time, second tree over first. Other programs would disturb wall-clock time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys

WORKER = """
import sys, time, torch
from mrcascade import CascadePrior
name, precision, level, side, batch = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
torch.set_num_threads(1)
level = CascadePrior.from_pretrained(name, precision=precision).levels[level - 1]
x = torch.randn(batch, 1, side, side, generator=torch.Generator().manual_seed(0))
works = {"condition": lambda: level.condition(x if level.conditional else None)}
conditioned = works["condition"]()
works["denoise"] = lambda: conditioned.denoise(x, level.std)
with torch.no_grad():
    for line in sys.stdin:
        started = time.process_time()
        works[line.strip()]()
        print(time.process_time() - started, flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trees", nargs=2, help="folders that hold the package mrcascade")
    parser.add_argument("--prior", default="mr-small")
    parser.add_argument("--precision", default="float32", help="or bfloat16")
    parser.add_argument("--level", type=int, default=1)
    parser.add_argument("--side", type=int, default=160)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=30)
    options = parser.parse_args()

    asked = (options.prior, options.precision, options.level, options.side, options.batch)
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, *map(str, asked)],
            env={**os.environ, "PYTHONPATH": tree, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for tree in options.trees
    ]
    for work in ("condition", "denoise"):
        seconds: list[list[float]] = [[], []]
        for repeat in range(options.repeats + 2):
            for worker, times in zip(workers, seconds, strict=True):
                taken = seconds_of(worker, work)
                if repeat >= 2:  # the first calls allocate
                    times.append(taken)
        before, after = seconds
        both = [b / a for a, b in zip(before, after, strict=True)]
        print(
            f"{work}: ratio of the least times {min(after) / min(before):.2f},"
            f" median of ratios {statistics.median(both):.2f}"
        )
    for worker in workers:
        worker.communicate()  # closes its input, which ends it


def seconds_of(worker: subprocess.Popen[str], work: str) -> float:
    """Return the CPU time that a worker takes for a piece of work."""
    assert worker.stdin is not None  # both are pipes
    assert worker.stdout is not None
    print(work, file=worker.stdin, flush=True)
    return float(worker.stdout.readline())


if __name__ == "__main__":
    main()
