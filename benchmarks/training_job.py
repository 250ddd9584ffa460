"""A small training, as one of the processes that other scripts launch with torchrun.

    torchrun --nproc-per-node 2 benchmarks/training_job.py RUN --patches 800

Every process prints ``pid NUMBER PID``, and the main one ``patches N SECONDS`` after each step.
The images are synthetic. Their statistics come from few patches, so that a job starts soon.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from mrcascade.devices.launch import launched
from mrcascade.training import patches
from mrcascade.training.config import TrainConfig
from mrcascade.training.run import train_cascade
from mrcascade.training.slice_cache import write_cache
from mrcascade.training.volume import Volume

LEVEL = 1
SIDE = 128
STATISTICS_PATCHES = 256


def write_images(path: Path) -> Path:
    """Write a slice cache of a few images of smoothed noise."""
    rng = np.random.default_rng(0)
    spectrum = np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE))) + 1 / SIDE
    volumes = []
    for split, count in (("train", 8), ("val", 2)):
        noise = np.fft.fft2(rng.standard_normal((count, SIDE, SIDE)))
        images = np.fft.ifft2(noise / spectrum**1.5).real
        images = (images - images.min()) / np.ptp(images)
        scales = {2: 1.0, 4: 1.0}
        name = f"a/{split}/x.npy"
        volumes.append(Volume(name, "a", split, images.astype(np.float32), scales))
    write_cache(volumes, path)
    return path


@contextmanager
def launched_job(run: Path, *options: str, processes: int = 1) -> Iterator[Iterator[list[str]]]:
    """Launch this script in some processes; yield the words of their lines.

    The launcher and its processes have ended afterwards.
    """
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    words = ["--standalone", __file__, str(run), *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, *launcher, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield (line.split() for line in process.stdout)
        process.terminate()


def tell(*words: object) -> None:
    """Print a line in one piece, as processes share the output."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run folder; images.hdf5 lies beside it")
    parser.add_argument("--patches", type=int, default=800)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--network", default="tiny")
    parser.add_argument("--patch", type=int, default=32)
    parser.add_argument("--checkpoint-seconds", type=float, default=60.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    patches.STATISTICS_PATCHES = STATISTICS_PATCHES
    tell("pid", launched()[0], os.getpid())
    config = TrainConfig(
        network=options.network,
        images=options.patches,
        batch=options.batch,
        patch=options.patch,
        coarse_patch=options.patch // 2,
    )

    def stage(name: str, count: int, done: int) -> Callable[[int, str], None]:
        def advance(count: int, text: str) -> None:
            tell("patches", count, time.monotonic())

        return advance

    train_cascade(
        options.run.parent / "images.hdf5",
        options.run,
        config,
        levels=[LEVEL],
        resume=True,
        progress=stage,
        checkpoint_seconds=options.checkpoint_seconds,
    )


if __name__ == "__main__":
    main()
