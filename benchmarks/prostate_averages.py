"""Errors of the complex image of a T2 file of fastMRI prostate, simulated at its true size.

    python benchmarks/prostate_averages.py --coils 16 --noise 0.02,0.05,0.1

Simulates an object that fills the field of view (640 x 640, of which 451 columns of k-space are
measured), a ring of coils, three averages of every other line whose phases differ, and 32
calibration lines; writes them in the publisher's layout; and reads the file as `sr` with a complex
prior does. Prints root mean square and largest errors within the central 320 x 320: the phase (rad,
up to a constant) and the magnitude (relative). The truth has the spectrum of the measured lines.
Rows: one fully sampled average, for comparison; one undersampled average by GRAPPA; three, as
their phases are; three, with their phases matched (all with the true maps); the file, with maps by
ESPIRiT; and the mean of the averages' magnitudes (root sum of squares), as the publisher stores it.

--noise is the standard deviation per coil and sample of the real and imaginary part, as a fraction
of the object's mean. The last line says what reading the file takes: processor time per slice (each
computed once, and the middle one once more for its phase), and the peak of allocations.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import tracemalloc
from pathlib import Path

import h5py
import numpy as np

import coil_combination
from common import numbers, run
from mrcascade.io import read_image
from mrcascade.io.fastmri.alignment import average
from mrcascade.io.fastmri.coils import combine, virtual_coil
from mrcascade.io.fastmri.grappa import Grappa
from mrcascade.io.fastmri.kspace import central, coil_images, forward, root_sum_of_squares

SIDE, COLUMNS, LINES = 640, 451, 32
CROP = (320, 320)
FIRST = SIDE // 2 - COLUMNS // 2  # column of the grid that the k-space begins at
# Phase of each average: a constant (rad) and slopes over the field of view (rad).
TURNS = ((0.0, 0.0, 0.0), (1.5, 1.0, -2.0), (-0.8, -1.5, 1.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--coils", type=int, default=16)
    parser.add_argument("--noise", type=numbers, default=[0.02, 0.05, 0.1])
    options = parser.parse_args()
    print("| noise | image | phase rms, max (rad) | magnitude rms, max |")
    print("| --- | --- | --- | --- |")
    for noise in options.noise:
        lines, cost = rows(options.coils, noise)
        for line in lines:
            print(f"| {noise:g} | {line} |")
    print(f"\n{cost}")


def rows(coils: int, noise: float) -> tuple[list[str], str]:
    """Return the lines of the table, and what reading the file takes."""
    image = coil_combination.phantom(SIDE)
    maps = coil_combination.ring_of_coils(coils, image.shape)
    seen = image * maps
    level = noise * np.abs(image[np.abs(image) > 0.2 * np.abs(image).max()]).mean()
    rng = np.random.default_rng(0)
    clean = to_kspace(seen)
    truth = central(to_images(clean), CROP)
    maps = central(maps[:, ::-1], CROP)
    magnitude = root_sum_of_squares(truth)
    inside = magnitude > 0.2 * magnitude.max()

    full = clean + level * draw(rng, clean.shape)
    middle = slice(COLUMNS // 2 - LINES // 2, COLUMNS // 2 + LINES // 2)
    calibration = (clean + level * draw(rng, clean.shape))[..., middle]
    averages = [to_kspace(seen * turn(*angles)) for angles in TURNS]
    averages = [one + level * draw(rng, one.shape) for one in averages]
    measured = np.arange(COLUMNS) % 2 == 0
    patterns = np.stack([measured, ~measured, measured])
    averages = [one * pattern for one, pattern in zip(averages, patterns, strict=True)]
    grappa = Grappa(calibration, patterns)
    completed = [grappa.complete(*pair) for pair in zip(averages, patterns, strict=True)]
    images = [to_images(kspace) for kspace, _ in completed]
    variances = [variance for _, variance in completed]

    matched = average(images, variances)
    found = [
        ("one fully sampled average", combine(central(to_images(full), CROP), maps)),
        ("one average, GRAPPA", combine(central(images[0], CROP), maps)),
        ("three, phases as they are", combine(central(np.mean(images, axis=0), CROP), maps)),
        ("three, phases matched", combine(central(matched, CROP), maps)),
    ]
    expected = combine(truth, maps)
    lines = [f"{name} | {coil_combination.errors((z / expected)[inside])}" for name, z in found]
    combined, cost = read(np.stack(averages), calibration)
    reference = coil_combination.referenced(maps, virtual_coil(matched))
    ratio = combined / combine(truth, reference)
    lines.append(f"three, as `sr` reads them | {coil_combination.errors(ratio[inside])}")
    stored = np.mean([root_sum_of_squares(central(z, CROP)) for z in images], axis=0)
    *_, size = coil_combination.errors((stored / magnitude)[inside].astype(complex)).split(" | ")
    return [*lines, f"mean of the magnitudes | - | {size}"], cost


def read(averages: np.ndarray, calibration: np.ndarray) -> tuple[np.ndarray, str]:
    """Write a file of two equal slices; return the first as it is read, and what that takes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file_prostate_AXT2_001.h5"
        with h5py.File(path, "w") as file:
            shape = (len(averages), 2, *averages.shape[1:])
            kspace = file.create_dataset("kspace", shape, np.complex64)
            for number, one in enumerate(averages):
                kspace[number] = one
            file["calibration_data"] = np.stack([calibration] * 2).astype(np.complex64)
            file["reconstruction_rss"] = np.zeros((2, *CROP), np.float32)
            file["ismrmrd_header"] = HEADER
        tracemalloc.start()
        started = time.process_time()
        image = read_image(path, complex_valued=True).data
        seconds = (time.process_time() - started) / 3
        peak = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        return image[..., 0], f"{seconds:.1f} s per slice, peak of {peak:.0f} MiB"


def to_kspace(images: np.ndarray) -> np.ndarray:
    """Return the measured columns of images that lie upside down in k-space."""
    return forward(forward(images, 1), 2)[..., FIRST : FIRST + COLUMNS].astype(np.complex64)


def to_images(kspace: np.ndarray) -> np.ndarray:
    rest = SIDE - FIRST - COLUMNS
    return coil_images(np.pad(kspace, ((0, 0), (0, 0), (FIRST, rest))), (SIDE, SIDE))[:, ::-1]


def turn(constant: float, down: float, across: float) -> np.ndarray:
    place = np.linspace(-0.5, 0.5, SIDE)
    return np.exp(1j * (constant + down * place[:, None] + across * place))


def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    parts = rng.standard_normal((2, *shape), np.float32)
    return parts[0] + 1j * parts[1]


HEADER = f"""<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><encoding>
<encodedSpace><matrixSize><x>640</x><y>642</y><z>1</z></matrixSize>
<fieldOfView_mm><x>360</x><y>361.125</y><z>3</z></fieldOfView_mm></encodedSpace>
<reconSpace><matrixSize><x>320</x><y>320</y><z>1</z></matrixSize>
<fieldOfView_mm><x>180</x><y>180</y><z>3</z></fieldOfView_mm></reconSpace>
<encodingLimits><kspace_encoding_step_1><minimum>0</minimum><maximum>{COLUMNS - 1}</maximum>
<center>{COLUMNS // 2}</center></kspace_encoding_step_1></encodingLimits>
</encoding></ismrmrdHeader>"""


if __name__ == "__main__":
    run(main)
