"""Averages whose phases differ: recovered exactly without noise, at the bound with noise."""

from __future__ import annotations

import numpy as np
import pytest
from fastmri_files import UNIT, coil_maps, phantom

from mrcascade.io.fastmri.alignment import average, linear_phase

SIZE = (40, 33)
TURNS = [(0.0, 0.0, 0.0), (3.1, 0.0, 0.0), (-2.0, 0.8, -0.3), (1.0, -3.0, 2.9)]


def ramp(constant: float, down: float, across: float) -> np.ndarray:
    """The linear phase of an image, rad."""
    y, x = (np.arange(n) - (n - 1) / 2 for n in SIZE)
    return constant + down * y[:, None] + across * x


def coil_images() -> np.ndarray:
    return phantom(1, SIZE, SIZE)[0] / UNIT * coil_maps(4, SIZE, SIZE)


@pytest.mark.parametrize("turn", TURNS)
def test_a_linear_phase_is_recovered(turn: tuple[float, float, float]) -> None:
    """Whatever the magnitudes, and with slopes that wrap over the image many times."""
    weight = np.random.default_rng(0).random(SIZE)
    found = linear_phase(weight * np.exp(1j * ramp(*turn)))
    np.testing.assert_allclose(np.exp(1j * found), np.exp(1j * ramp(*turn)), atol=1e-10)


@pytest.mark.parametrize("turn", TURNS)
def test_turned_averages_are_turned_back(turn: tuple[float, float, float]) -> None:
    seen = coil_images()
    both = [seen, seen * np.exp(1j * ramp(*turn))]
    np.testing.assert_allclose(average(both, [1.0, 1.0]), seen, atol=1e-10)


def test_precision_is_that_of_the_bound() -> None:
    """Cramer and Rao: with noise of variance s^2 per part in both, the phase between two images
    has the information I = basis' diag(|seen|^2 / (2 s^2)) basis. Of 200 draws, the variance of
    each parameter is within 5 sqrt(2 / 200) of the bound; second order in s / |seen| is left."""
    seen, level, turn = coil_images(), 0.02, (0.7, 0.4, -0.2)
    y, x = (np.arange(n) - (n - 1) / 2 for n in SIZE)
    basis = np.stack([ramp(1, 0, 0), ramp(0, 1, 0), ramp(0, 0, 1)])
    power = (np.abs(seen) ** 2).sum(axis=0) / (2 * level**2)
    bound = np.linalg.inv(np.einsum("kyx,lyx,yx->kl", basis, basis, power)).diagonal()
    rng = np.random.default_rng(1)
    errors = []
    for _ in range(200):
        drawn = level * rng.normal(size=(2, 2, *seen.shape))
        one, two = seen + drawn[0, 0] + 1j * drawn[0, 1], seen + drawn[1, 0] + 1j * drawn[1, 1]
        turned = two * np.exp(1j * ramp(*turn))
        off = linear_phase((one.conj() * turned).sum(axis=0)) - ramp(*turn)
        corner = off[0, 0]
        down, across = off[1, 0] - off[0, 0], off[0, 1] - off[0, 0]
        errors.append((corner - down * y[0] - across * x[0], down, across))
    ratio = np.var(errors, axis=0) / bound
    assert np.abs(ratio - 1).max() < 5 * np.sqrt(2 / 200)


def test_weights_are_inverse_variances() -> None:
    images = [np.full((1, 4, 4), value, complex) for value in (1.0, 2.0, 4.0)]
    expected = (1 / 1 + 2 / 2 + 4 / 4) / (1 / 1 + 1 / 2 + 1 / 4)
    np.testing.assert_allclose(average(images, [1.0, 2.0, 4.0]), expected)


@pytest.mark.parametrize("shape", [(2, 3, 1, 9), (2, 3, 9, 1), (2, 3, 1, 1)])
def test_images_of_one_row_or_column(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).normal(size=shape[1:]) + 1j
    both = [image, image * np.exp(2j)]
    np.testing.assert_allclose(average(both, [1.0, 1.0]), image, atol=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_noise_alone_is_fitted_no_worse_than_by_the_autocorrelation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    common = rng.normal(size=SIZE) + 1j * rng.normal(size=SIZE)
    fitted = (common * np.exp(-1j * linear_phase(common))).real.sum()
    slopes = [
        np.angle((common[1:] * common[:-1].conj()).sum()),
        np.angle((common[:, 1:] * common[:, :-1].conj()).sum()),
    ]
    start = np.abs((common * np.exp(-1j * ramp(0, *slopes))).sum())
    assert fitted > start * (1 - 1e-9)


def test_images_without_signal() -> None:
    images = [np.zeros((2, 6, 5), np.complex64)] * 3
    mean = average(images, [1.0, 1.0, 1.0])
    assert mean.dtype == np.complex64
    assert not mean.any()
