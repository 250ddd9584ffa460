"""Simulated smooth phase, which makes complex images of magnitude images.

Most public images are magnitudes. The receive coil, the echo time and an inhomogeneous field give
a measured image a smooth phase, which a random polynomial and a few random waves imitate here.
Three things are not imitated: phase that follows the anatomy (veins, flow, fat), wraps in strong
fields, and phase noise. Results on simulated phase must be labelled, as they say little about
measured phase.
"""

from __future__ import annotations

import itertools
import math
import zlib

import numpy as np

from mrcascade.errors import MRCascadeError

OFFSET = np.pi  # rad; the constant term is uniform in +-OFFSET
POLYNOMIAL_STD = {1: 1.5, 2: 0.8}  # degree -> std of each coefficient, rad at the image's edge
WAVES = 6  # number of waves
WAVE_STD = 0.25  # std of a wave's amplitude, rad
HIGHEST_FREQUENCY = 1.5  # cycles per image, in each in-plane direction
HIGHEST_THROUGH_FREQUENCY = 0.5  # cycles per stack of slices


def simulated_phase(shape: tuple[int, int, int], name: str, seed: int = 0) -> np.ndarray:
    """Return a smooth phase (S, H, W) in radians, not wrapped.

    The name and the seed determine it. Coordinates run from -1 to 1 along each axis, so images of
    one field of view have the same phase at any matrix size.

    Args:
        shape: (S, H, W).
        name: name of the image; each name has a phase of its own.
        seed: seed of the random numbers, 0 or more.
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
        # Each axis is 2 long, so a frequency per image is pi per unit.
        place = sum(np.pi * f * axis for f, axis in zip(frequencies, axes, strict=True))
        phase += rng.normal(scale=WAVE_STD) * np.cos(place + rng.uniform(0, 2 * np.pi))
    return phase


def with_simulated_phase(stack: np.ndarray, name: str, seed: int = 0) -> np.ndarray:
    """Return magnitude slices (S, H, W) as complex64 with `simulated_phase`.

    Raises MRCascadeError for complex slices, which have a phase already.
    """
    if np.iscomplexobj(stack):
        raise MRCascadeError("the image is complex and has a phase already; drop --simulate-phase")
    slices, rows, cols = stack.shape
    phase = simulated_phase((slices, rows, cols), name, seed)
    return (stack * np.exp(1j * phase)).astype(np.complex64)


def _axis(n: int) -> np.ndarray:
    return (2 * np.arange(n) + 1) / n - 1
