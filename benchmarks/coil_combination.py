"""Errors of the complex coil combination of fastMRI files, for simulated sensitivity maps.

    python benchmarks/coil_combination.py --side 320 --coils 4,16 --noise 0,0.01,0.03

Simulates an object with a smooth phase and a ring of coils. Prints the root mean square and the
largest error in the object, for the phase (rad, up to a constant) and the magnitude (relative).
The truth is the object times the coils' joint sensitivity, with the phase of the virtual coil
(`mrcascade.io.fastmri.coils`). Rows: the true maps, whose errors come from noise alone; ESPIRiT,
which `sr` uses; low-resolution coil images over their root sum of squares, the simplest estimate.

--noise is the standard deviation per coil of the real and imaginary part, as a fraction of the
object's mean. --image is a NIfTI file whose middle slice is the object.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from mrcascade.io import choose_axes, read_image, to_slices
from mrcascade.io.fastmri.coils import CALIBRATION, combine, estimate_maps, virtual_coil
from mrcascade.io.fastmri.kspace import forward, inverse, root_sum_of_squares


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=320)
    parser.add_argument("--coils", default="4,16")
    parser.add_argument("--noise", default="0,0.01,0.03")
    parser.add_argument("--image", type=Path)
    options = parser.parse_args()
    image = phantom(options.side) if options.image is None else slice_of(options.image)
    print("| coils | noise | maps | phase rms, max (rad) | magnitude rms, max | seconds |")
    print("| --- | --- | --- | --- | --- | --- |")
    for coils in map(int, options.coils.split(",")):
        for noise in map(float, options.noise.split(",")):
            for row in rows(image, coils, noise):
                print(f"| {coils} | {noise:g} | {row} |")


def rows(image: np.ndarray, coils: int, noise: float) -> list[str]:
    maps = ring_of_coils(coils, image.shape)
    inside = np.abs(image) > 0.2 * np.abs(image).max()
    drawn = np.random.default_rng(0).normal(size=(2, *maps.shape))
    level = noise * np.abs(image[inside]).mean()
    seen = (image * maps + level * (drawn[0] + 1j * drawn[1])).astype(np.complex64)
    virtual = virtual_coil(seen)
    truth = referenced(maps, virtual)
    estimates = {
        "true": lambda: truth,
        "ESPIRiT": lambda: estimate_maps(seen, virtual),
        "low resolution": lambda: referenced(low_resolution(seen), virtual),
    }
    expected = combine(image * maps, truth)[inside]
    found = []
    for name, estimate in estimates.items():
        started = time.perf_counter()
        combined = combine(seen, estimate())[inside]
        seconds = time.perf_counter() - started
        found.append(f"{name} | {errors(combined / expected)} | {seconds:.1f}")
    return found


def errors(ratio: np.ndarray) -> str:
    phase = np.angle(ratio / ratio.mean())
    magnitude = np.abs(ratio) - 1
    sizes = (f"{np.sqrt(np.mean(e**2)):.1e}, {np.abs(e).max():.1e}" for e in (phase, magnitude))
    return " | ".join(sizes)


def referenced(maps: np.ndarray, virtual: np.ndarray) -> np.ndarray:
    """Return maps of unit norm, with the phase of the virtual coil."""
    seen = np.einsum("c,cyx->yx", virtual.conj(), maps)
    return maps / root_sum_of_squares(maps) * np.exp(-1j * np.angle(seen))


def low_resolution(seen: np.ndarray) -> np.ndarray:
    """Return coil images of the calibration region of k-space, under a Hann window."""
    windowed = forward(forward(seen, 1), 2)
    for axis in (1, 2):
        n = seen.shape[axis]
        place = (np.arange(n) - n // 2) / (CALIBRATION / 2)
        window = np.where(np.abs(place) < 1, np.cos(np.pi * place / 2) ** 2, 0)
        windowed = windowed * np.expand_dims(window, [a for a in range(3) if a != axis])
    return inverse(inverse(windowed, 1), 2)


def phantom(side: int) -> np.ndarray:
    y, x = coordinates((side, side))
    body = ((x / 0.8) ** 2 + (y / 0.9) ** 2 < 1) * (1 + 0.4 * np.sin(9 * x) * np.cos(7 * y))
    hole = (x - 0.2) ** 2 + y**2 < 0.05
    return with_phase(body * (1 - 0.7 * hole))


def slice_of(path: Path) -> np.ndarray:
    image = read_image(path)
    stack = to_slices(image, choose_axes(image))
    return with_phase(stack[len(stack) // 2])


def with_phase(magnitude: np.ndarray) -> np.ndarray:
    y, x = coordinates(magnitude.shape)
    return magnitude * np.exp(1j * (0.3 + 1.5 * x + 1.2 * y**2))


def ring_of_coils(coils: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return Gaussian sensitivities around the field of view, with linear phases, (coils, H, W)."""
    y, x = coordinates(shape)
    angles = 2 * np.pi * np.arange(coils)[:, None, None] / coils
    towards = x * np.cos(angles) + y * np.sin(angles)
    distance = x**2 + y**2 - 2.4 * towards + 1.44
    return np.exp(-distance / 1.5 + 1j * (1.2 * towards + angles))


def coordinates(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    y, x = ((np.arange(n) - n // 2) / (n / 2) for n in shape)
    return y[:, None], x[None]


if __name__ == "__main__":
    main()
