"""The simulated phase: its terms by their formulas, determinism, the field of view."""

from __future__ import annotations

import numpy as np
import pytest

from mrcascade.arrays import phase as module
from mrcascade.arrays.phase import (
    HIGHEST_FREQUENCY,
    POLYNOMIAL_STD,
    STRENGTH,
    WAVE_STD,
    WAVES,
    background,
    coil_phase,
    dipoles,
    simulated_phase,
    tissue_phase,
    with_simulated_phase,
)
from mrcascade.errors import MRCascadeError

SHAPE = (3, 32, 24)
# float32: phases below 100 rad keep 1e-5, and a sum of some ten terms.
ROUNDING = 1e-4


def magnitudes(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).uniform(1, 2, shape).astype(np.float32)


def axes_of(shape: tuple[int, int, int]) -> list[np.ndarray]:
    return np.meshgrid(*(module._axis(n) for n in shape), indexing="ij", sparse=True)


class Chosen(np.random.Generator):
    """Generator whose uniform numbers are those given, in turn, and whose integers are 1."""

    def __init__(self, *values: object) -> None:
        super().__init__(np.random.PCG64(0))
        self.values = list(values)

    def uniform(self, *_: object) -> object:
        return self.values.pop(0)

    def integers(self, *_: object) -> int:
        return 1

    def random(self) -> float:
        return 0.0


def test_the_same_name_and_seed_give_the_same_phase() -> None:
    stack = magnitudes()
    first = simulated_phase(stack, "brain/a.nii.gz", 1)
    assert (first.shape, first.dtype) == (SHAPE, np.float32)
    np.testing.assert_array_equal(first, simulated_phase(stack, "brain/a.nii.gz", 1))
    for name, seed in (("brain/b.nii.gz", 1), ("brain/a.nii.gz", 2)):
        assert np.abs(first - simulated_phase(stack, name, seed)).max() > 0.1


def test_magnitudes_stay_and_the_phase_is_that_of_the_name() -> None:
    magnitude = magnitudes()
    image = with_simulated_phase(magnitude, "x", 5)
    assert image.dtype == np.complex64
    # Cosine, sine, their products and the magnitude: a few roundings of float32.
    np.testing.assert_allclose(np.abs(image), magnitude, rtol=2.0**-21)
    turned = image * np.exp(-1j * simulated_phase(magnitude, "x", 5).astype(np.float64))
    assert np.abs(np.angle(turned)).max() < 2.0**-20
    signed = with_simulated_phase(-magnitude, "x", 5)  # ringing
    np.testing.assert_array_equal(signed, -image)


def test_the_phase_belongs_to_the_field_of_view() -> None:
    """Every third pixel of a three times finer matrix lies at a pixel of the coarse one. An empty
    image has no tissue, whose phase follows the magnitude."""
    fine, coarse = (np.exp(1j * simulated_phase(np.zeros((1, n, n)), "x")) for n in (96, 32))
    np.testing.assert_allclose(fine[:, 1::3, 1::3], coarse, atol=ROUNDING)
    assert np.abs(fine[:, 1:] - fine[:, :-1]).max() > 0.01


def test_variance_of_the_background_is_that_of_its_terms() -> None:
    """Over many draws, without the constant: sum of the terms' variances at each point.

    The variance of n draws has relative standard deviation sqrt(k - 1) / sqrt(n) with the
    kurtosis k, here at most that of a product of a normal number, a cosine and the strength:
    3 * 3/2 * E[u^4] / E[u^2]^2.
    """
    n, axes = 3000, axes_of((1, 2, 2))
    phases = np.stack([background(axes, np.random.default_rng(i)) for i in range(n)])
    difference = phases[:, 0, 1, 1] - phases[:, 0, 0, 0]  # at (0, 1/2, 1/2) and its opposite
    linear = POLYNOMIAL_STD[1] ** 2 * 2  # 2 axes, a difference of 1 along each
    # E[(cos(u + p) - cos(v + p))^2] = 1 - E[cos(u - v)], u - v = pi (f + g) with f, g uniform.
    uniform = np.sinc(HIGHEST_FREQUENCY) ** 2
    waves = WAVES * WAVE_STD**2 * (1 - uniform)
    low, high = STRENGTH
    square, fourth = ((high**m - low**m) / (m * (high - low)) for m in (3, 5))
    expected = square * (linear + waves)  # terms of degree two are alike at opposite points
    kurtosis = 4.5 * fourth / square**2
    assert abs(difference.var() / expected - 1) < 5 * np.sqrt((kurtosis - 1) / n)


def test_coils_are_in_phase_at_the_centre() -> None:
    axes = axes_of((1, 33, 33))
    found = np.stack([coil_phase(axes, np.random.default_rng(i)) for i in range(20)])
    assert np.abs(found[:, 0, 16, 16]).max() < 1e-6
    assert np.abs(found).max() > 1
    np.testing.assert_array_equal(found[0].shape, (1, 33, 33))


def test_one_loop_has_the_phase_of_a_dipole() -> None:
    """At p = 1.5 on the axis of the rows: the angle of (1 - z / p)^-2."""
    axes = axes_of((1, 32, 24))
    some = [np.full(module.COILS[1], value) for value in (0.0, 1.5, 0.7)]
    z = (axes[1] + 1j * axes[2]) / 1.5
    expected = np.exp(-2j * np.angle(1 - z))
    found = np.exp(1j * coil_phase(axes, Chosen(*some)))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_dipole_falls_with_the_third_power(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice as strong along the main field as across it, with the other sign; at its centre -s.
    The softened core changes the field by 3 a^2 / r^2 of it at most, 4.5 times along it."""
    monkeypatch.setattr(module, "DIPOLES", 1)
    a, s = 0.02, 0.8
    drawn = [0.0, 0.0, 0.0, np.log(a), np.log(s)]
    field = dipoles(axes_of((1, 33, 33)), (0.0, 1.0, 0.0), Chosen(*drawn))[0]
    r = 16 / 33  # a step is 2 / 33
    assert field[16, 16] == pytest.approx(-s, rel=1e-6)
    cube = s * (a / r) ** 3
    assert field[24, 16] == field[8, 16] == pytest.approx(2 * cube, rel=4.5 * (a / r) ** 2)
    assert field[16, 24] == field[16, 8] == pytest.approx(-cube, rel=4.5 * (a / r) ** 2)


# ---- phase that follows the magnitude ----

DISC = 0.1  # radius in fields of view


@pytest.fixture
def _wide_borders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blur borders by a fifth of the disc's radius, 2.6 pixels: its spectrum ends before
    Nyquist's frequency, so that nothing rings, and its tails before the disc's centre."""
    for name in ("AIR_WIDTH", "CONTRAST_WIDTH"):
        monkeypatch.setattr(module, name, DISC / 5)


def disc_of_air(n: int = 128) -> np.ndarray:
    y, x = (np.arange(n) - n // 2)[:, None] / n, (np.arange(n) - n // 2) / n
    return (np.hypot(y, x) >= DISC).astype(np.float32)[None]


def air_phase(direction: tuple[float, float, float]) -> np.ndarray:
    """The phase of a disc of air in a body, by an air of strength 1 and no contrast."""
    drawn = Chosen(0.0, np.log(1e-12), 1.0, 0.0)
    return tissue_phase(disc_of_air(), direction, drawn)[0]


@pytest.mark.usefixtures("_wide_borders")
def test_air_shifts_the_field_as_a_cylinder() -> None:
    """Across its axis the main field has, in the cylinder, 1/3 - 1/2 of it, and outside
    (R / r)^2 cos(2 angle) / 2. The neighbours of the periodic field of view change that by
    3 S R^2 r^2 / 2 to first order, with the lattice sum S = 3.15."""
    directions = {"r": (0.0, 1.0, 0.0), "c": (0.0, 0.0, 1.0), "s": (1.0, 0.0, 0.0)}
    found = {name: air_phase(direction) for name, direction in directions.items()}
    # The three directions sum up to zero, and along the slices the field is local.
    np.testing.assert_allclose(found["r"] + found["c"] + found["s"], 0, atol=1e-6)
    chi = 1 - disc_of_air()[0]
    assert found["s"][64, 64] == pytest.approx((1 - chi.mean()) / 3, abs=1e-5)
    assert found["s"][0, 0] == pytest.approx(-chi.mean() / 3, abs=1e-5)
    np.testing.assert_allclose(found["r"], found["c"].T, atol=1e-6)
    r = 25 / 128
    area = float(chi.mean()) / np.pi  # R^2 of the drawn disc
    neighbours = 3 * 3.15 * area * r**2 / 2
    mean = float(chi.mean()) * (1 / 3 - 1 / 2)  # which belongs to the background
    for place, sign in (((64 + 25, 64), 1), ((64, 64 + 25), -1)):
        expected = sign * area / r**2 / 2 - mean
        assert found["r"][place] == pytest.approx(expected, abs=2 * neighbours)


@pytest.mark.usefixtures("_wide_borders")
def test_contrast_is_a_function_of_the_magnitude() -> None:
    """Away from the border, which is blurred: a cos(2 pi f m + p) at m = 0 and m = 1."""
    drawn = Chosen(np.log(1e-12), np.log(0.3), 0.4, 0.5)
    phase = tissue_phase(disc_of_air(), (1.0, 0.0, 0.0), drawn)[0]
    assert phase[64, 64] == pytest.approx(0.3 * np.cos(0.5), abs=1e-5)
    assert phase[0, 0] == pytest.approx(0.3 * np.cos(2 * np.pi * 0.4 + 0.5), abs=1e-5)


def test_complex_images_are_refused() -> None:
    with pytest.raises(MRCascadeError, match="complex and has a phase already"):
        with_simulated_phase(np.ones(SHAPE, np.complex64), "x")
