"""The expected distance of two operators, against covariance matrices and Monte Carlo."""

import numpy as np
import pytest

from mrcascade.errors import MRCascadeError
from mrcascade.operators import (
    KERNELS,
    CallableOperator,
    IdentityOperator,
    SeparableOperator,
    downsampler,
    expected_error,
    sampled_error,
    upsampler,
)
from mrcascade.operators.mismatch import IMAGES

SHAPE = (12, 16)


def power_law(fr: np.ndarray, fc: np.ndarray) -> np.ndarray:
    """Like an image, and different along rows and columns."""
    return 1.0 / (0.03 + fr**2 + 2 * fc**2) ** 1.5


def coarse_only(
    kernel: str, factor: float, prior: str = "fourier"
) -> tuple[SeparableOperator, SeparableOperator]:
    """H and what it sees of the coarse part: H up down."""
    operator = SeparableOperator.from_kernel(kernel, factor, SHAPE)
    coarse = (SHAPE[0] // 4, SHAPE[1] // 4)
    through = upsampler(prior, SHAPE, coarse).compose(downsampler(prior, SHAPE, coarse))
    return operator, operator.compose(through)


def covariance(shape: tuple[int, int]) -> np.ndarray:
    """Covariance of the pixels: autocovariance = inverse Fourier transform of S / (H W)."""
    fr, fc = (np.fft.fftfreq(n) for n in shape)
    auto = np.fft.ifft2(power_law(fr[:, None], fc[None, :])).real
    r, c = (i.ravel() for i in np.indices(shape))
    return auto[r[:, None] - r, c[:, None] - c]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("prior", ["fourier", "area"])
@pytest.mark.parametrize("factor", [2, 1.0, (2, 4)])
def test_equals_the_trace_with_the_dense_covariance(kernel: str, prior: str, factor) -> None:
    a, b = coarse_only(kernel, factor, prior)
    difference = np.kron(a.rows, a.cols) - np.kron(b.rows, b.cols)
    power = np.trace(difference @ covariance(SHAPE) @ difference.T) / len(difference)
    # Both sum a few ten thousand float64 terms of like size.
    assert expected_error(a, b, power_law) == pytest.approx(np.sqrt(power), rel=1e-10)


def sampled_powers(a: SeparableOperator, b: SeparableOperator) -> np.ndarray:
    """Mean square of (A - B) x for 4000 fields x = F^-1 sqrt(S) F w with white noise w."""
    white = np.random.default_rng(1).normal(size=(4000, *SHAPE))
    fr, fc = (np.fft.fftfreq(n) for n in SHAPE)
    root = np.sqrt(power_law(fr[:, None], fc[None, :]))
    x = np.fft.ifft2(np.fft.fft2(white) * root).real
    error = a.rows @ x @ a.cols.T - b.rows @ x @ b.cols.T
    powers: np.ndarray = (error**2).mean(axis=(1, 2))
    return powers


@pytest.mark.parametrize("kernel", ["fourier", "gaussian"])
def test_agrees_with_sampled_fields(kernel: str) -> None:
    """Within 4 standard errors of 4000 fields."""
    a, b = coarse_only(kernel, 2)
    power = sampled_powers(a, b)
    standard_error = power.std() / np.sqrt(len(power))
    assert abs(power.mean() - expected_error(a, b, power_law) ** 2) <= 4 * standard_error
    assert standard_error < 0.02 * power.mean()


@pytest.mark.parametrize("kernel", ["fourier", "gaussian"])
def test_sampled_error(kernel: str) -> None:
    """Within 4 standard errors; that of one image's mean square is found from 4000 of them."""
    a, b = coarse_only(kernel, 2)
    standard_error = sampled_powers(a, b).std() / np.sqrt(2 * IMAGES)
    wrapped = CallableOperator(a, a.adjoint, a.in_shape, a.out_shape)
    found = sampled_error(wrapped, b, power_law, channels=2)
    assert abs(found**2 - expected_error(a, b, power_law) ** 2) <= 4 * standard_error
    assert standard_error < 0.15 * found**2


def test_normalisation() -> None:
    """Identity against nothing: the standard deviation of a pixel, here of white noise."""
    nothing = SeparableOperator(np.zeros((12, 12)), np.zeros((16, 16)))
    error = expected_error(IdentityOperator(SHAPE), nothing, lambda fr, fc: np.full((1, 1), 9.0))
    assert error == pytest.approx(3.0, rel=1e-12)


def test_equal_operators_have_no_error() -> None:
    a, _ = coarse_only("bicubic", 2)
    assert expected_error(a, a, power_law) == 0.0


def test_nearly_equal_operators_keep_their_digits() -> None:
    """rows + 1e-10 I against rows: the difference itself is known, 1e-10 times a pixel."""
    eye = IdentityOperator(SHAPE)
    near = SeparableOperator(eye.rows * (1 + 1e-10), eye.cols)
    error = expected_error(near, eye, lambda fr, fc: np.ones((12, 16)))
    assert error == pytest.approx(1e-10, rel=1e-5)  # 1 + 1e-10 itself is rounded to 1e-16


def test_missing_bands_of_a_band_limited_image_cost_nothing() -> None:
    a, b = coarse_only("fourier", 2)
    low = lambda fr, fc: ((abs(fr) < 0.1) & (abs(fc) < 0.1)).astype(float)  # noqa: E731
    assert expected_error(a, b, low) < 1e-14


def test_errors() -> None:
    a, _ = coarse_only("area", 2)
    with pytest.raises(MRCascadeError, match=r"'area 2x' \(\(12, 16\) -> \(6, 8\)\) and 'identi"):
        expected_error(a, IdentityOperator(SHAPE), power_law)
    with pytest.raises(MRCascadeError, match=r"returned shape \(3, 3\).*broadcast to \(12, 16\)"):
        expected_error(a, a, lambda fr, fc: np.ones((3, 3)))
    for bad in (-1.0, np.inf, np.nan):
        with pytest.raises(MRCascadeError, match="finite and >= 0 at every frequency"):
            expected_error(a, a, lambda fr, fc, bad=bad: np.full((12, 16), bad))
