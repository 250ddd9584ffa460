"""The simulated phase: statistics by its formula, determinism, smoothness."""

from __future__ import annotations

import numpy as np
import pytest

from mrcascade.arrays.phase import (
    HIGHEST_FREQUENCY,
    POLYNOMIAL_STD,
    WAVE_STD,
    WAVES,
    simulated_phase,
    with_simulated_phase,
)
from mrcascade.errors import MRCascadeError

SHAPE = (3, 32, 24)


def test_the_same_name_and_seed_give_the_same_phase() -> None:
    first = simulated_phase(SHAPE, "brain/a.nii.gz", 1)
    np.testing.assert_array_equal(first, simulated_phase(SHAPE, "brain/a.nii.gz", 1))
    for name, seed in (("brain/b.nii.gz", 1), ("brain/a.nii.gz", 2)):
        assert np.abs(first - simulated_phase(SHAPE, name, seed)).max() > 0.1


def test_magnitudes_stay_and_the_phase_is_that_of_the_name() -> None:
    magnitude = np.random.default_rng(0).uniform(1, 2, SHAPE).astype(np.float32)
    image = with_simulated_phase(magnitude, "x", 5)
    assert image.dtype == np.complex64
    # complex64: a rounding of each part
    np.testing.assert_allclose(np.abs(image), magnitude, rtol=2.0**-22)
    turned = image * np.exp(-1j * simulated_phase(SHAPE, "x", 5))
    assert np.abs(np.angle(turned)).max() < 2.0**-22


def test_the_phase_belongs_to_the_field_of_view() -> None:
    """Pixels of a coarser matrix lie between those of the finer one: halfway, where the matrix is
    half. The mean of two neighbours differs by the second derivative times h^2 / 8 and axis."""
    fine, coarse = (simulated_phase((1, n, n), "x") for n in (64, 32))
    mean = fine.reshape(1, 32, 2, 32, 2).mean((2, 4))
    # Second derivatives in units of half the image: polynomial 2 a, wave b (pi f)^2.
    wave = WAVES * WAVE_STD * (np.pi * HIGHEST_FREQUENCY) ** 2
    bound = 5 * (2 * POLYNOMIAL_STD[2] + wave) * (2 / 64) ** 2 / 8 * 2
    assert 0 < np.abs(mean - coarse).max() < bound


def test_variance_is_that_of_its_terms() -> None:
    """Over many names, without the constant: sum of the terms' variances at each point.

    The variance of n draws has relative standard deviation sqrt(k - 1) / sqrt(n) with the
    kurtosis k, here at most that of a product of a normal number and a cosine, 3 * 3/2.
    """
    n, shape = 3000, (1, 2, 2)
    phases = np.stack([simulated_phase(shape, str(i)) for i in range(n)])
    difference = phases[:, 0, 1, 1] - phases[:, 0, 0, 0]  # at (0, 1/2, 1/2) and its opposite
    linear = POLYNOMIAL_STD[1] ** 2 * 2  # 2 axes, a difference of 1 along each
    # E[(cos(u + p) - cos(v + p))^2] = 1 - E[cos(u - v)], u - v = pi (f + g) with f, g uniform.
    uniform = np.sinc(HIGHEST_FREQUENCY) ** 2
    waves = WAVES * WAVE_STD**2 * (1 - uniform)
    expected = linear + waves  # terms of degree two are alike at opposite points
    assert abs(difference.var() / expected - 1) < 5 * np.sqrt(3.5 / n)


def test_complex_images_are_refused() -> None:
    with pytest.raises(MRCascadeError, match="complex and has a phase already"):
        with_simulated_phase(np.ones(SHAPE, np.complex64), "x")
