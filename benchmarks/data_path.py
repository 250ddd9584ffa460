"""The data of a training: wait for patches, memory by number of slices, and the cache command.

    python benchmarks/data_path.py --data ../shared/data -o data-path.json

Makes a cache of ``--data`` with one and with two worker processes. Compares the rounding of its
values with the noise of its images. Takes steps of level 1 that find no slice in memory, and prints
the share of each step that waits for patches. Trains from caches of 1,000 and 100,000 slices
of 320 x 320, in a process each, and prints the peak of its resident memory. Their volumes are
links to the chunks of one, so that the files are small, but each slice has an entry of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from common import names, run, write_json
from memory import peak_memory
from mrcascade.measurement.noise import estimate_noise
from mrcascade.prior.level import LevelStatistics
from mrcascade.training.bands import level_patch
from mrcascade.training.cascade_data import CascadeData
from mrcascade.training.config import STAGES, TrainConfig
from mrcascade.training.distributed import Processes
from mrcascade.training.level import LevelTrainer
from mrcascade.training.level_data import LevelData
from mrcascade.training.measurements import Measurements
from mrcascade.training.slice_cache import LEVELS, write_cache
from mrcascade.training.slices import load_volumes
from mrcascade.training.volume import Volume

LEVEL = 1
SIDE, COUNT = 320, 50  # of the slices of a simulated volume
DISTINCT = 1  # simulated volumes with images of their own
WARM_UP = 2
FLAT_MEMORY = 2**27  # bytes of bands in the trainings whose memory is compared
NOISE_EVERY = 4  # volumes per one whose noise is estimated


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="image folder")
    parser.add_argument("--networks", type=names, default=["mini", "small"])
    parser.add_argument("--steps", type=int, default=6, help="timed steps of each stage")
    parser.add_argument("--slices", type=names, default=["1000", "100000"])
    parser.add_argument("--train-on", type=Path, help="only train on this cache, for its memory")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.train_on:
        train_briefly(options.train_on, options.steps)
        return
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.data:
            found["caches"] = [made(options.data, folder, workers) for workers in (1, 2)]
            cache = folder / "1.hdf5"
            found["rounding over noise"] = rounding_over_noise(cache)
            found["waits"] = [
                wait
                for network in options.networks
                for wait in waits(cache, network, options.steps)
            ]
        found["memory"] = [
            memory(folder, int(slices), 10 * options.steps) for slices in options.slices
        ]
    write_json(options, **found)


def made(data: Path, folder: Path, workers: int) -> dict[str, float]:
    """Make a cache, and return its size, and the seconds of the wall and of all processors."""
    target = folder / f"{workers}.hdf5"
    command = [sys.executable, "-m", "mrcascade", "cache", "--data", str(data)]
    before, started = children_seconds(), time.perf_counter()
    peak_memory([*command, "-o", str(target), "--workers", str(workers)])
    seconds, processors = time.perf_counter() - started, children_seconds() - before
    size = target.stat().st_size / 2**20
    print(f"cache, {workers} workers: {seconds:.0f} s, {processors:.0f} s of CPU, {size:.1f} MiB")
    return {"workers": workers, "seconds": seconds, "processors": processors, "MiB": size}


def children_seconds() -> float:
    """CPU seconds of the processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def rounding_over_noise(cache: Path) -> dict[str, float]:
    """Return median and maximum over volumes of the rounding's deviation over the noise's."""
    ratios = []
    for volume in load_volumes(cache, 4, (2, 4))[::NOISE_EVERY]:
        stack = list(volume.slices)
        step = max(float(np.ptp(image)) for image in stack) / LEVELS
        noise = estimate_noise(stack, 0.0).sigma
        if noise:
            ratios.append(step / np.sqrt(12) / noise)
    middle, most = float(np.median(ratios)), float(max(ratios))
    print(f"rounding over noise, {len(ratios)} volumes: median {middle:.4f}, at most {most:.4f}")
    return {"median": middle, "most": most}


def trainer_of(cache: Path, network: str, slice_memory: int) -> LevelTrainer:
    """Return a trainer of level 1 whose patches come from a cache, with units of 1."""
    config = TrainConfig(network=network, images=10**6)
    volumes = load_volumes(cache, config.multiple, config.factors)
    cascade = CascadeData(volumes, config, slice_memory=slice_memory)
    unit = LevelStatistics(0.0, 1.0, 0.0, 1.0)
    source = cascade.source(cascade.shown, LEVEL)
    measured = Measurements(LEVEL, level_patch(LEVEL, config), config)
    data = LevelData(source, None, unit, unit, measured)
    return LevelTrainer(LEVEL, config, data, Processes("cpu"))


def waits(cache: Path, network: str, steps: int) -> list[dict[str, Any]]:
    """Return the median seconds of a step, and its share that waits for patches, by stage."""
    found = []
    for stage, name in enumerate(STAGES):
        trainer = trainer_of(cache, network, slice_memory=0)
        trainer.seen = trainer.stages[0] * stage
        waited: list[float] = []
        trainer.patches.take = timed(trainer.patches.take, waited)  # type: ignore[method-assign]
        seconds = []
        for _ in range(steps + WARM_UP):
            started = time.perf_counter()
            trainer.step()
            seconds.append(time.perf_counter() - started)
        share = sum(waited[WARM_UP:]) / sum(seconds[WARM_UP:])
        alone = drawing_seconds(trainer)
        step = statistics.median(seconds[WARM_UP:])
        print(
            f"{network} level {LEVEL}, {name}: {step:.2f} s a step, {100 * share:.1f} % wait;"
            f" {alone:.2f} s of CPU to draw its patches"
        )
        found.append({"network": network, "stage": name, "step": step, "share": share})
        found[-1]["drawing"] = alone
    return found


def timed(work: Callable[..., Any], seconds: list[float]) -> Callable[..., Any]:
    """Return ``work``, which notes its seconds."""

    def timing(*arguments: Any) -> Any:
        started = time.perf_counter()
        try:
            return work(*arguments)
        finally:
            seconds.append(time.perf_counter() - started)

    return timing


def drawing_seconds(trainer: LevelTrainer) -> float:
    """Return the CPU seconds of one thread for the patches of a batch."""
    rng, started = np.random.default_rng(0), time.thread_time()
    trainer.data.train.raw(trainer.config.batch, rng)
    return time.thread_time() - started


def memory(folder: Path, slices: int, steps: int) -> dict[str, float]:
    """Return the peak of the resident memory of a training, in MiB."""
    cache = simulated(folder / f"{slices}-slices.hdf5", slices)
    command = [sys.executable, os.fspath(Path(__file__).resolve()), "--train-on", str(cache)]
    started = time.perf_counter()
    peak = peak_memory([*command, "--steps", str(steps)])
    size = cache.stat().st_size / 2**20
    print(
        f"{slices} slices of {SIDE} x {SIDE} ({size:.0f} MiB by links): {peak:.0f} MiB at most,"
        f" {time.perf_counter() - started:.0f} s for {steps} steps"
    )
    return {"slices": slices, "peak MiB": peak, "steps": steps}


def simulated(path: Path, slices: int) -> Path:
    """Write a cache of volumes of smoothed noise, which repeat the first."""
    rng = np.random.default_rng(0)
    spectrum = np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE))) + 1 / SIDE
    volumes = []
    for number in range(DISTINCT):
        noise = np.fft.fft2(rng.standard_normal((COUNT, SIDE, SIDE)))
        images = np.abs(np.fft.ifft2(noise / spectrum**1.5).real).astype(np.float32)
        images /= images.max()
        images[:, 0, 0] = images[:, -1, -1] = 1.0  # no border of air
        volumes.append(Volume(f"{number}", "a", "train", images, {2: 0.9, 4: 0.8}))
    write_cache(volumes, path)
    count = slices // COUNT
    with h5py.File(path, "r+") as file:
        index, ranges = json.loads(bytes(file["index"][:])), file["ranges"][:]
        del file["index"], file["ranges"]
        entries = [index[n % DISTINCT] | {"file": f"{n}", "subject": f"{n}"} for n in range(count)]
        for number in range(DISTINCT, count):
            file[f"slices/{number}"] = file[f"slices/{number % DISTINCT}"]
        file["index"] = np.frombuffer(json.dumps(entries).encode(), np.uint8)
        file["ranges"] = np.resize(ranges, (slices, 2))
    return path


def train_briefly(cache: Path, steps: int) -> None:
    trainer = trainer_of(cache, "tiny", FLAT_MEMORY)
    for _ in range(steps):
        trainer.step()


if __name__ == "__main__":
    run(main)
