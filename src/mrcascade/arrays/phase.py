"""Simulated phase, which makes complex images of magnitude images.

Most public images are magnitudes. The phase of a measured image has several causes, and each is a
term of the simulated one:

- a *background* of field, echo time and the centre of k-space: a random polynomial and waves;
- the *coils*: the angle of a random sum of the sensitivities of small loops around the body;
- *susceptibility*: the field that air in and around the body makes in it, and dipoles at random
  places, which stand for vessels, blood and metal;
- *contrast*: another phase for each tissue, as of fat, iron and flow, which follows the magnitude.

The strengths of the last two differ from image to image, from almost none (spin echoes) to several
radians (gradient echoes). ``benchmarks/phase_statistics.py`` compares the result with measured
images. Wraps within a voxel, with the loss of signal that belongs to them, and the phase noise of a
real acquisition are not imitated. Results on simulated phase must be labelled.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Sequence

import numpy as np
from scipy import fft

from mrcascade.arrays.intensity import body_of, robust_maximum
from mrcascade.errors import MRCascadeError

OFFSET = np.pi  # rad; the constant term is uniform in +-OFFSET
STRENGTH = (0.1, 3.0)  # range of the factor on the polynomial and the waves, uniform
POLYNOMIAL_STD = {1: 3.0, 2: 1.5}  # degree -> std of each coefficient, rad at the image's edge
WAVES = 6  # number of waves
WAVE_STD = 0.25  # std of a wave's amplitude, rad
HIGHEST_FREQUENCY = 1.5  # cycles per image, in each in-plane direction
HIGHEST_THROUGH_FREQUENCY = 0.5  # cycles per stack of slices
COILS = (1, 8)  # least and largest number of loops
RING = (1.2, 2.5)  # distance of the loops from the centre, in half fields of view
DIPOLES = 8  # number of dipoles in the field of view
DIPOLE_RADIUS = (0.01, 0.08)  # range, in half fields of view
AIR_WIDTH = 0.006  # std of the blur of borders between air and body, in fields of view
CONTRAST_WIDTH = 0.003  # the same for borders between tissues
# Range of strengths in rad, log-uniform: of air, of a dipole and between tissues.
AIR_STRENGTH = (0.1, 8.0)
DIPOLE_STRENGTH = (0.05, 3.0)
CONTRAST_STRENGTH = (0.02, 0.5)
CONTRAST_FREQUENCY = (0.25, 1.0)  # cycles of the phase from no signal to the robust maximum
THROUGH = 0.5  # depth of a stack of slices over the field of view, assumed


def simulated_phase(stack: np.ndarray, name: str, seed: int = 0) -> np.ndarray:
    """Return a phase (S, H, W), float32, in radians for magnitude slices.

    The name and the seed determine all random numbers. Coordinates run from -1 to 1 along each
    axis, so images of one field of view have the same background, coils and dipoles at any matrix
    size. The field of air and the contrast follow the magnitude. The angle of the coils is wrapped.

    Args:
        stack: (S, H, W), magnitudes, 0 where no signal is.
        name: name of the image; each name has a phase of its own.
        seed: seed of the random numbers, 0 or more.
    """
    rng = np.random.default_rng(
        [seed, zlib.crc32(name.encode("utf-8", "surrogatepass")), *b"phase"]
    )
    axes = np.meshgrid(*(_axis(n) for n in stack.shape), indexing="ij", sparse=True)
    direction = _direction(rng)  # of the main field: slices, rows, columns
    phase = background(axes, rng) + coil_phase(axes, rng) + dipoles(axes, direction, rng)
    return phase + tissue_phase(stack, direction, rng)


def with_simulated_phase(stack: np.ndarray, name: str, seed: int = 0) -> np.ndarray:
    """Return magnitude slices (S, H, W) as complex64 with `simulated_phase`.

    Raises MRCascadeError for complex slices, which have a phase already.
    """
    if np.iscomplexobj(stack):
        raise MRCascadeError("the image is complex and has a phase already; drop --simulate-phase")
    phase = simulated_phase(stack, name, seed)
    image = np.empty(stack.shape, np.complex64)
    image.real, image.imag = stack * np.cos(phase), stack * np.sin(phase)
    return image


def background(axes: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Draw a polynomial of degree two and waves, smooth over the field of view.

    axes: coordinates from -1 to 1 of slices, rows and columns, which broadcast to (S, H, W).
    """
    shape = np.broadcast_shapes(*(a.shape for a in axes))
    phase = np.full(shape, rng.uniform(-OFFSET, OFFSET), np.float32)
    strength = rng.uniform(*STRENGTH)
    for degree, std in POLYNOMIAL_STD.items():
        for factors in itertools.combinations_with_replacement(axes, degree):
            phase += rng.normal(scale=strength * std) * math.prod(factors)
    highest = (HIGHEST_THROUGH_FREQUENCY, HIGHEST_FREQUENCY, HIGHEST_FREQUENCY)
    for _ in range(WAVES):
        frequencies = [rng.uniform(-f, f) for f in highest]
        # Each axis is 2 long, so a frequency per image is pi per unit.
        place = sum(np.pi * f * axis for f, axis in zip(frequencies, axes, strict=True))
        phase += rng.normal(scale=strength * WAVE_STD) * np.cos(place + rng.uniform(0, 2 * np.pi))
    return phase


def coil_phase(axes: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Draw the angle of a sum of coil sensitivities, in (-pi, pi], the same in all slices.

    A small loop at ``p`` is a magnetic dipole. Its field in the plane, rows and columns as real and
    imaginary part of ``z``, receives as ``(r / (z - p))^2``. The loops have random weights and are
    in phase at the centre, as a combination of coils makes them.
    """
    loops = int(rng.integers(COILS[0], COILS[1] + 1))
    angles = rng.uniform(0, 2 * np.pi, COILS[1])[:loops]
    radii = rng.uniform(*RING, COILS[1])[:loops]
    weights = rng.uniform(0, 1, COILS[1])[:loops]
    z = axes[1] + 1j * axes[2]
    place = radii * np.exp(1j * angles)
    # 1 at the centre, times the weight.
    total = sum(w * (p / (p - z)) ** 2 for w, p in zip(weights, place, strict=True))
    return np.asarray(np.angle(total).astype(np.float32))


def dipoles(
    axes: Sequence[np.ndarray], direction: Sequence[float], rng: np.random.Generator
) -> np.ndarray:
    """Draw the phase of small magnetised spheres at random places.

    A sphere of radius ``a`` adds ``s (3 cos^2 - 1) (a / sqrt(r^2 + a^2))^3``, with the angle
    between the place and the main field; the sum under the root keeps it finite at its centre.

    Args:
        axes: coordinates, as in `background`.
        direction: (3,), unit vector of the main field: slices, rows, columns.
        rng: random generator.
    """
    phase = np.zeros(np.broadcast_shapes(*(a.shape for a in axes)), np.float32)
    scaled = axes[0] * THROUGH, axes[1], axes[2]
    for _ in range(DIPOLES):
        centre = [rng.uniform(-most, most) for most in (THROUGH, 1.0, 1.0)]
        radius = _log_uniform(DIPOLE_RADIUS, rng)
        strength = _log_uniform(DIPOLE_STRENGTH, rng) * (1 if rng.random() < 0.5 else -1)
        away = [a - c for a, c in zip(scaled, centre, strict=True)]
        along = sum(d * a for d, a in zip(direction, away, strict=True))
        square = sum(a**2 for a in away) + radius**2
        phase += strength * radius**3 * (3 * along**2 / square - 1) / (square * np.sqrt(square))
    return phase


def tissue_phase(
    stack: np.ndarray, direction: Sequence[float], rng: np.random.Generator
) -> np.ndarray:
    """Draw the phase that follows the magnitude (S, H, W): field of air, contrast of tissues.

    Slices count as constant along their normal, so that the susceptibility ``chi`` (1 in air, 0 in
    the body) shifts the field by ``chi (1/3 - (b k)^2 / k^2)`` in their k-space, with the main
    field's direction ``b`` (Salomir et al. 2003). The contrast is a cosine of the magnitude.
    """
    air, contrast = (_log_uniform(r, rng) for r in (AIR_STRENGTH, CONTRAST_STRENGTH))
    frequency, start = rng.uniform(*CONTRAST_FREQUENCY), rng.uniform(0, 2 * np.pi)
    scale = robust_maximum(stack)
    if not scale > 0:
        return np.zeros(stack.shape)
    level = np.minimum(np.abs(stack) / scale, 1.0)
    tissue = contrast * np.cos(2 * np.pi * frequency * level + start)
    chi = ~body_of(stack, scale)
    shape = stack.shape[1], stack.shape[2]
    rows, cols = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])
    # Frequencies per field of view, which may have other pixels along rows than along columns.
    u, v = rows * shape[0], cols * shape[1]
    square = u**2 + v**2
    shift = 1 / 3 - (direction[1] * u + direction[2] * v) ** 2 / np.maximum(square, 1.0)
    shift[0, 0] = 0.0  # a constant field is part of the background
    spectrum = (air * shift * _blur(square, AIR_WIDTH)).astype(np.float32) * _transformed(chi)
    spectrum += _blur(square, CONTRAST_WIDTH).astype(np.float32) * _transformed(tissue)
    return np.asarray(fft.irfft2(spectrum, shape))


def _transformed(stack: np.ndarray) -> np.ndarray:
    return np.asarray(fft.rfft2(stack.astype(np.float32)))


def _blur(square: np.ndarray, width: float) -> np.ndarray:
    """Return the spectrum of a Gaussian of standard deviation ``width`` in fields of view."""
    return np.asarray(np.exp(-2 * (np.pi * width) ** 2 * square))


def _direction(rng: np.random.Generator) -> list[float]:
    vector = rng.normal(size=3)
    return [float(v) for v in vector / np.linalg.norm(vector)]


def _log_uniform(limits: tuple[float, float], rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(*np.log(limits))))


def _axis(n: int) -> np.ndarray:
    return ((2 * np.arange(n) + 1) / n - 1).astype(np.float32)
