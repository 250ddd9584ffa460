"""Peak memory and time of `mrcascade sr` by number of slices.

    python benchmarks/memory.py --slices 30,300 --side 384 --factor 2 -o memory.json

Writes NIfTI volumes of noise in a disc (16-bit, gzipped) to a temporary folder, runs the command
on each in its own process, and prints the peak of its resident memory. Without --prior it uses
`tiny` networks with random weights, as neither time nor memory depends on the weights.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from common import names, write_json
from mrcascade.networks import network_preset
from mrcascade.prior.denoiser import LevelNetworks
from mrcascade.prior.level import LevelSpec, LevelStatistics
from mrcascade.prior.writing import write_prior


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", default="30,300")
    parser.add_argument("--side", type=int, default=384)
    parser.add_argument("--factor", default="2")
    parser.add_argument("--mode", type=names, default=["mean"], help="one or more")
    parser.add_argument("--batch-size", default="4")
    parser.add_argument("--slice-axis", type=int, default=2)
    parser.add_argument("--prior")
    parser.add_argument("-o", "--output", type=Path, help="JSON file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prior = options.prior or str(random_prior(folder / "prior"))
        rows = []
        for mode, slices in product(options.mode, map(int, options.slices.split(","))):
            source = write_volume(folder, slices, options.side, options.slice_axis)
            command = [
                sys.executable,
                "-m",
                "mrcascade",
                "sr",
                str(source),
                "-o",
                f"{folder}/{mode}",
            ]
            command += ["--factor", options.factor, "--mode", mode, "--prior", prior]
            command += ["--batch-size", options.batch_size, "--device", "cpu"]
            axes = [str(a) for a in range(3) if a != options.slice_axis]
            started = time.perf_counter()
            peak = peak_memory([*command, "--axes", ",".join(axes)])
            seconds = time.perf_counter() - started
            about = f"{mode}, {slices} slices of {options.side}"
            print(f"{about}: {peak:.0f} MiB peak, {seconds:.1f} s in all", flush=True)
            counted = {"mode": mode, "slices": slices, "side": options.side}
            rows.append({**counted, "peak_mib": peak, "seconds": seconds})
    write_json(options, rows=rows)


def peak_memory(command: list[str]) -> float:
    """Run a command and return its largest resident set in MiB."""
    child = os.posix_spawn(command[0], command, os.environ)
    _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    return usage.ru_maxrss / 2**10


def write_volume(folder: Path, slices: int, side: int, slice_axis: int) -> Path:
    rng = np.random.default_rng(0)
    line = np.linspace(-1, 1, side)
    disc = (line[:, None] ** 2 + line**2 < 0.8).astype(np.float32)
    stack = [(disc * (500 + 20 * rng.normal(size=disc.shape))) for _ in range(slices)]
    volume = np.moveaxis(np.stack(stack).astype(np.int16), 0, slice_axis)
    path = folder / f"volume{slices}.nii.gz"
    nib.save(nib.Nifti1Image(volume, np.diag([1.0, 1.0, 1.0, 1.0])), path)
    return path


def random_prior(folder: Path, channels: int = 1) -> Path:
    torch.manual_seed(0)
    levels = []
    for config in network_preset("tiny").levels:
        condition = () if config.mean is None else (0.3, 0.25)
        spec = LevelSpec(config, LevelStatistics(0.0, 0.05, *condition))
        levels.append((spec, LevelNetworks(config, channels).state_dict()))
    write_prior(
        folder,
        name="tiny, random",
        kernel="fourier",
        channels=channels,
        levels=levels,
        spectrum=[1.0] * 8,
        provenance={},
        sampling={},
    )
    return folder


if __name__ == "__main__":
    main()
