"""A made-up smooth phase for magnitude images, so that they can stand in for complex ones.

Most public images are magnitudes. What a receive coil, an echo time and an uneven field add to the
phase of a real one is smooth and differs from image to image; that much is imitated here, by a
random polynomial and a few random waves. What is not: phase that follows the anatomy (veins, flow,
fat), wraps of strong fields, and noise of the phase, since a magnitude image's noise lost its own.
Whoever uses this must say so: results on simulated phase say little about measured phase.
"""

from __future__ import annotations

import itertools
import math
import zlib

import numpy as np

from mrcascade.errors import MRCascadeError

OFFSET = np.pi  # the constant is uniform in +-OFFSET
POLYNOMIAL_STD = {1: 1.5, 2: 0.8}  # rad at the edge of the image, per coefficient of that degree
WAVES = 6
WAVE_STD = 0.25  # rad, of each wave's amplitude
HIGHEST_FREQUENCY = 1.5  # cycles per image, in each in-plane direction
HIGHEST_THROUGH_FREQUENCY = 0.5  # cycles per stack of slices


def simulated_phase(shape: tuple[int, int, int], name: str, seed: int = 0) -> np.ndarray:
    """Phase (S, H, W) in radians, not wrapped, the same for the same shape, name and seed.

    The axes run from -1 to 1, so that the phase belongs to the field of view and not to its matrix.
    """
    rng = np.random.default_rng(
        [seed, zlib.crc32(name.encode("utf-8", "surrogatepass")), *b"phase"]
    )
    axes = np.meshgrid(*(_axis(n) for n in shape), indexing="ij", sparse=True)
    phase = np.full(shape, rng.uniform(-OFFSET, OFFSET))
    for degree, std in POLYNOMIAL_STD.items():
        for factors in itertools.combinations_with_replacement(axes, degree):
            phase += rng.normal(scale=std) * math.prod(factors)
    highest = (HIGHEST_THROUGH_FREQUENCY, HIGHEST_FREQUENCY, HIGHEST_FREQUENCY)
    for _ in range(WAVES):
        frequencies = [rng.uniform(-f, f) for f in highest]
        # The axes are two long, so half of 2 pi per cycle.
        place = sum(np.pi * f * axis for f, axis in zip(frequencies, axes, strict=True))
        phase += rng.normal(scale=WAVE_STD) * np.cos(place + rng.uniform(0, 2 * np.pi))
    return phase


def with_simulated_phase(stack: np.ndarray, name: str, seed: int = 0) -> np.ndarray:
    """Magnitude slices (S, H, W) as complex64 ones with the phase of ``name``.

    Raises MRCascadeError for slices that have a phase.
    """
    if np.iscomplexobj(stack):
        raise MRCascadeError("a complex image, whose phase is known; drop --simulate-phase")
    slices, rows, cols = stack.shape
    phase = simulated_phase((slices, rows, cols), name, seed)
    return (stack * np.exp(1j * phase)).astype(np.complex64)


def _axis(n: int) -> np.ndarray:
    return (2 * np.arange(n) + 1) / n - 1
