"""Memory of `sr` on several fastMRI files in one process.

    python benchmarks/fastmri_memory.py --volumes 10 --slices 300 --side 384 --coils 4

Writes one multi-coil file (noise in a disc, readout oversampled by 2, 8 bytes per sample) to a
temporary folder, links it under several names, and super-resolves each by 2 with `tiny` networks of
random weights. Prints the resident memory and the peak after each volume. With --complex the
combined image is complex, and so is the prior.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

from memory import random_prior
from mrcascade import CascadePrior
from mrcascade.jobs import SuperResolution, super_resolve_file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--volumes", type=int, default=10)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--side", type=int, default=384)
    parser.add_argument("--coils", type=int, default=4)
    parser.add_argument("--complex", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        channels = 2 if options.complex else 1
        prior = CascadePrior.from_pretrained(random_prior(folder / "prior", channels), "cpu")
        first = write_volume(folder / "0.h5", options.slices, options.side, options.coils)
        for number in range(options.volumes):
            path = folder / f"{number}.h5"
            if path != first:
                os.link(first, path)
            started = time.perf_counter()
            super_resolve_volume(path, folder / "out", prior)
            seconds = time.perf_counter() - started
            print(
                f"volume {number + 1}: {resident():.0f} MiB, peak so far {peak():.0f} MiB,"
                f" {seconds:.0f} s",
                flush=True,
            )


def super_resolve_volume(path: Path, output: Path, prior: CascadePrior) -> None:
    job = SuperResolution((2.0, 2.0), batch_size=4)
    written = super_resolve_file(
        path, output, prior, job, say=lambda _: None, progress=lambda _: lambda _: None
    )
    for file in written:
        file.unlink()


def write_volume(path: Path, slices: int, side: int, coils: int) -> Path:
    rng = np.random.default_rng(0)
    shape = (coils, 2 * side, side)
    line = np.linspace(-1, 1, side)
    disc = np.zeros(shape[1:])
    disc[side // 2 : side // 2 + side] = line[:, None] ** 2 + line**2 < 0.8
    with h5py.File(path, "w") as file:
        kspace = file.create_dataset("kspace", (slices, *shape), np.complex64, chunks=(1, *shape))
        for number in range(slices):
            images = disc + 0.05 * rng.normal(size=shape)
            kspace[number] = np.fft.fftshift(np.fft.fft2(images, norm="ortho"), (1, 2))
    return path


def resident() -> float:
    """Return the resident memory of the process in MiB (Linux only)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


if __name__ == "__main__":
    main()
