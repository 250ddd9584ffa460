"""Throughput of `sr`: several processes that share the CPU's threads, and one that has them all.

    python benchmarks/batch_speed.py --volumes 24 --rounds 3

Restores the same small volumes by `mrcascade sr --workers N` for each number of processes, in
turns. Prints volumes per second from the first finished volume to the last, so without the start
of the processes, which has a column of its own; the time of the whole command; the largest memory
of a process; and the ratio of the rates to those of one process.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Batch:
    """Times of a batch.

    Attributes:
        start: seconds until the first volume is done.
        seconds: of the whole command.
        rate: volumes per second after the first one.
        memory: largest resident memory of a process so far, in GiB.
    """

    start: float
    seconds: float
    rate: float
    memory: float


def write_volumes(folder: Path, options: argparse.Namespace) -> None:
    folder.mkdir()
    shape = (options.side, options.side, options.slices)
    for seed in range(options.volumes):
        noise = np.random.default_rng(seed).normal(size=shape)
        np.save(folder / f"{seed:02d}.npy", np.abs(60 + 15 * noise).astype(np.float32))


def run(root: Path, workers: int, options: argparse.Namespace) -> Batch:
    words = [sys.executable, "-u", "-m", "mrcascade", "sr", str(root / "in"), "--overwrite"]
    words += ["-o", str(root / f"out{workers}"), "--factor", "2", "--noise", "0"]
    words += ["--mode", options.mode, "--device", "cpu", "--workers", str(workers)]
    threads = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
    started, ends = time.monotonic(), []
    with subprocess.Popen(words, env=threads, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if ": done, " in line:
                ends.append(time.monotonic())
    seconds = time.monotonic() - started
    if process.returncode or len(ends) != options.volumes:
        raise SystemExit(f"--workers {workers} ended with {process.returncode}")
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    return Batch(ends[0] - started, seconds, (len(ends) - 1) / (ends[-1] - ends[0]), memory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--volumes", type=int, default=24)
    parser.add_argument("--side", type=int, default=96, help="of the low-resolution slices")
    parser.add_argument("--slices", type=int, default=4)
    parser.add_argument("--mode", default="mean")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    batches: dict[int, list[Batch]] = {workers: [] for workers in options.workers}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_volumes(root / "in", options)
        for _ in range(options.rounds):
            for workers in options.workers:
                batches[workers].append(run(root, workers, options))
    print(
        f"{options.volumes} volumes of {options.slices} slices of {options.side} x {options.side},"
        f" 2x, mode {options.mode}, {options.threads} threads in all; medians of {options.rounds}"
    )
    print("| processes | threads each | volumes/s | ratio | first after s | command s | GiB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    first = [batch.rate for batch in batches[options.workers[0]]]
    for workers, rounds in batches.items():
        middle = {
            name: statistics.median(getattr(batch, name) for batch in rounds)
            for name in ("rate", "start", "seconds")
        }
        ratios = [batch.rate / rate for batch, rate in zip(rounds, first, strict=True)]
        memory = rounds[0].memory
        print(
            f"| {workers} | {max(1, options.threads // workers)} | {middle['rate']:.3f}"
            f" | {statistics.median(ratios):.2f} | {middle['start']:.1f}"
            f" | {middle['seconds']:.1f} | {memory:.2f} |"
        )


if __name__ == "__main__":
    main()
