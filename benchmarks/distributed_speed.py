"""Patches per second of a training in two processes, and in one process with one thread.

    python benchmarks/distributed_speed.py --rounds 3

Both train the first level of a network on synthetic images, through torchrun and gloo, with one
thread per process, in turns. Prints the rates of each round, their medians and the ratio. The
first steps, which allocate memory and meet the other process, are not counted, and neither are
validations and checkpoints, which are the main process's alone.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from itertools import pairwise
from pathlib import Path

from training_job import launched_job, write_images

WARM_UP = 3  # steps that are not counted


def rate(folder: Path, options: argparse.Namespace, processes: int) -> float:
    """Return the patches per second of a new run, by the median time of a step.

    The median leaves out the steps with a validation.
    """
    run = folder / f"{processes}-{len(list(folder.iterdir()))}"
    patches = str(options.batch * options.steps)
    words = ["--patches", patches, "--batch", str(options.batch), "--patch", str(options.patch)]
    words += ["--network", options.network, "--checkpoint-seconds", "1e9"]
    with launched_job(run, *words, processes=processes) as lines:
        times = [float(line[2]) for line in lines if line[0] == "patches"]
    if len(times) != options.steps:
        raise SystemExit(f"a training in {processes} process(es) ended after {len(times)} steps")
    half = len(times) // 2  # the second half trains the U-Net
    seconds = [b - a for a, b in pairwise(times[half + WARM_UP :])]
    return options.batch / statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="small")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40, help="half of them count")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--patch", type=int, default=64)
    options = parser.parse_args()
    rates: dict[int, list[float]] = {1: [], options.processes: []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder / "images.hdf5")
        for number in range(options.rounds):
            for processes, found in rates.items():
                found.append(rate(folder, options, processes))
            one, several = (found[-1] for found in rates.values())
            print(
                f"round {number + 1}: {one:.1f} patches/s in one process, {several:.1f} in"
                f" {options.processes}, ratio {several / one:.2f}",
                flush=True,
            )
    one, several = (statistics.median(found) for found in rates.values())
    print(
        f"{options.network}, batch {options.batch}, patch {options.patch}: {one:.1f} patches/s in"
        f" one process, {several:.1f} in {options.processes}, ratio {several / one:.2f}"
    )


if __name__ == "__main__":
    main()
