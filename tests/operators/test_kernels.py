"""The 1-D matrices against independent definitions of the same kernels."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcascade.errors import MRCascadeError
from mrcascade.operators import KERNELS, down_matrix, up_matrix

# Entries are of order one and at most a few hundred of them are added, so that float64 results
# of two correct computations differ by less than 1000 units of rounding (2.2e-16).
EXACT = 1000 * np.finfo(np.float64).eps

SIZES = st.integers(1, 48).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n)))
PAIRS = [(12, 6), (16, 4), (9, 3), (9, 6), (15, 5), (11, 6), (7, 4), (20, 13), (5, 1), (6, 6)]


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


# ---- properties of every kernel ----


@pytest.mark.parametrize("kernel", KERNELS)
@settings(max_examples=40, deadline=None)
@given(sizes=SIZES)
def test_shapes_and_constants(kernel: str, sizes: tuple[int, int]) -> None:
    n, m = sizes
    down, up = down_matrix(kernel, n, m), up_matrix(kernel, n, m)
    assert down.shape == (m, n)
    assert up.shape == (n, m)
    np.testing.assert_allclose(down.sum(axis=1), 1, atol=EXACT)
    np.testing.assert_allclose(up.sum(axis=1), 1, atol=EXACT)


@pytest.mark.parametrize("kernel", KERNELS)
def test_equal_sizes_give_the_identity(kernel: str) -> None:
    np.testing.assert_array_equal(down_matrix(kernel, 6, 6), np.eye(6))
    np.testing.assert_array_equal(up_matrix(kernel, 6, 6), np.eye(6))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("m", [1, 3, 8, 13])
def test_four_fold_is_exactly_two_two_fold_steps(kernel: str, m: int) -> None:
    down = down_matrix(kernel, 2 * m, m) @ down_matrix(kernel, 4 * m, 2 * m)
    up = up_matrix(kernel, 4 * m, 2 * m) @ up_matrix(kernel, 2 * m, m)
    np.testing.assert_array_equal(down_matrix(kernel, 4 * m, m), down)
    np.testing.assert_array_equal(up_matrix(kernel, 4 * m, m), up)
    eight = down @ down_matrix(kernel, 8 * m, 4 * m)
    np.testing.assert_allclose(down_matrix(kernel, 8 * m, m), eight, atol=EXACT)


@pytest.mark.parametrize("kernel", ["area", "bicubic", "gaussian"])
@pytest.mark.parametrize(("n", "m"), [(12, 6), (12, 4), (12, 8)])
def test_only_fourier_undoes_its_up(kernel: str, n: int, m: int) -> None:
    product = down_matrix(kernel, n, m) @ up_matrix(kernel, n, m)
    assert np.abs(product - np.eye(m)).max() > 0.02


@pytest.mark.parametrize("kernel", ["area", "bicubic", "gaussian"])
@pytest.mark.parametrize(("n", "m"), [(64, 32), (64, 16), (63, 21), (48, 32)])
def test_sample_positions(kernel: str, n: int, m: int) -> None:
    """Away from the edges a symmetric kernel returns the position of a sample from a ramp.

    Where the factor is not whole, area and gaussian weights are not symmetric about the sample;
    their centroids still lie within 1/8 of a fine sample, far from the (f - 1) / 2 that the two
    grids differ by.
    """
    factor = n / m
    j, i = np.arange(m), np.arange(n)
    shared = KERNELS[kernel].origin == "edges"
    coarse_positions = (j + 0.5) * factor - 0.5 if shared else j * factor
    fine_positions = (i + 0.5) / factor - 0.5 if shared else i / factor
    inner_coarse = slice(m // 4, -(m // 4))
    inner_fine = slice(n // 4, -(n // 4))
    tolerance = EXACT * n if factor % 1 == 0 else 0.125
    down, up = down_matrix(kernel, n, m) @ i, up_matrix(kernel, n, m) @ j
    np.testing.assert_allclose(down[inner_coarse], coarse_positions[inner_coarse], atol=tolerance)
    up_tolerance = 0.125 if kernel == "gaussian" and factor not in (2, 4) else EXACT * n
    np.testing.assert_allclose(up[inner_fine], fine_positions[inner_fine], atol=up_tolerance)


@pytest.mark.parametrize("kernel", KERNELS)
def test_matrices_are_shared_and_read_only(kernel: str) -> None:
    matrix = down_matrix(kernel, 12, 3)
    assert matrix is down_matrix(kernel, 12, 3)
    with pytest.raises(ValueError, match="read-only"):
        matrix[0, 0] = 1
    assert not up_matrix(kernel, 12, 3).flags.writeable


@pytest.mark.parametrize("matrix", [down_matrix, up_matrix])
def test_errors_name_kernel_and_sizes(matrix) -> None:
    with pytest.raises(MRCascadeError, match=r"unknown kernel 'lanczos'.*fourier.*gaussian"):
        matrix("lanczos", 8, 4)
    with pytest.raises(MRCascadeError, match="got 8 coarse, 4 fine"):
        matrix("area", 4, 8)
    with pytest.raises(MRCascadeError, match="got 0 coarse, 4 fine"):
        matrix("area", 4, 0)


# ---- fourier ----


@settings(max_examples=60, deadline=None)
@given(sizes=SIZES)
def test_fourier_is_a_scaled_partial_isometry(sizes: tuple[int, int]) -> None:
    n, m = sizes
    down, up = down_matrix("fourier", n, m), up_matrix("fourier", n, m)
    np.testing.assert_allclose(down @ up, np.eye(m), atol=EXACT)
    np.testing.assert_allclose(down @ down.T, m / n * np.eye(m), atol=EXACT)
    np.testing.assert_allclose(up, n / m * down.T, atol=EXACT)


def crop_kspace(x: np.ndarray, m: int) -> np.ndarray:
    """The written rule, frequency by frequency, through FFTs."""
    n = len(x)
    if m == n:
        return x
    full = np.fft.fft(x)
    kept = np.zeros(m, complex)
    for k in range(-((m - 1) // 2), (m - 1) // 2 + 1):
        kept[k % m] = full[k % n]
    if m % 2 == 0:
        kept[m // 2] = (full[-m // 2 % n] + full[m // 2]) / np.sqrt(2)
    return np.fft.ifft(kept) * m / n


def zero_fill(z: np.ndarray, n: int) -> np.ndarray:
    m = len(z)
    if m == n:
        return z
    kept = np.fft.fft(z)
    full = np.zeros(n, complex)
    for k in range(-((m - 1) // 2), (m - 1) // 2 + 1):
        full[k % n] = kept[k % m]
    if m % 2 == 0:
        full[-m // 2 % n] += kept[m // 2] / np.sqrt(2)
        full[m // 2] += kept[m // 2] / np.sqrt(2)
    return np.fft.ifft(full) * n / m


@pytest.mark.parametrize(("n", "m"), PAIRS)
def test_fourier_is_a_crop_of_kspace(n: int, m: int) -> None:
    x = rng().normal(size=n) + 1j * rng().normal(size=n)[::-1]
    z = x[:m]
    np.testing.assert_allclose(down_matrix("fourier", n, m) @ x, crop_kspace(x, m), atol=EXACT)
    np.testing.assert_allclose(up_matrix("fourier", n, m) @ z, zero_fill(z, n), atol=EXACT)


@pytest.mark.parametrize(("n", "m"), [(24, 12), (24, 9), (25, 15), (24, 6)])
def test_fourier_samples_a_wave_from_voxel_0(n: int, m: int) -> None:
    wave = lambda position: np.cos(2 * np.pi * 2 * position / n + 0.7)  # noqa: E731
    expected = wave(np.arange(m) * n / m)
    np.testing.assert_allclose(
        down_matrix("fourier", n, m) @ wave(np.arange(n)), expected, atol=EXACT
    )


# ---- area ----


@pytest.mark.parametrize(("n", "m"), PAIRS)
def test_area_is_the_mean_over_the_covered_interval(n: int, m: int) -> None:
    """Every fine pixel cut into m equal pieces: a coarse pixel is the mean of n pieces."""
    x = rng().normal(size=n)
    expected = np.repeat(x, m).reshape(m, n).mean(axis=1)
    np.testing.assert_allclose(down_matrix("area", n, m) @ x, expected, atol=EXACT)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_area_is_average_pooling(factor: int) -> None:
    x = torch.from_numpy(rng().normal(size=(5 * factor, 3 * factor)))
    expected = F.avg_pool2d(x[None, None], factor)[0, 0].numpy()
    rows, cols = (down_matrix("area", n, n // factor) for n in x.shape)
    np.testing.assert_allclose(rows @ x.numpy() @ cols.T, expected, atol=EXACT)


@pytest.mark.parametrize(("n", "m"), [(12, 6), (9, 3), (9, 6), (20, 13), (5, 1)])
def test_area_up_is_bilinear(n: int, m: int) -> None:
    z = torch.from_numpy(rng().normal(size=(1, 1, m)))
    expected = F.interpolate(z, size=n, mode="linear", align_corners=False)[0, 0].numpy()
    np.testing.assert_allclose(up_matrix("area", n, m) @ z[0, 0].numpy(), expected, atol=EXACT)


# ---- bicubic ----


@pytest.mark.parametrize(("n", "m"), [(12, 6), (9, 3), (9, 6), (15, 5), (11, 6), (20, 13), (5, 1)])
def test_bicubic_is_the_antialiased_resize_of_torch(n: int, m: int) -> None:
    """torch uses a = -1/2 and renormalises at the border, as PIL does: equal to the last row."""
    x = torch.from_numpy(rng().normal(size=(1, 1, n, n)))
    small = F.interpolate(x, size=(m, m), mode="bicubic", antialias=True)
    large = F.interpolate(small, size=(n, n), mode="bicubic", antialias=True)
    down, up = down_matrix("bicubic", n, m), up_matrix("bicubic", n, m)
    np.testing.assert_allclose(down @ x[0, 0].numpy() @ down.T, small[0, 0].numpy(), atol=EXACT)
    np.testing.assert_allclose(up @ small[0, 0].numpy() @ up.T, large[0, 0].numpy(), atol=EXACT)


# ---- gaussian ----

TAPS = np.array([1, 4, 6, 4, 1]) / 16


@pytest.mark.parametrize("m", [2, 3, 8])
def test_gaussian_is_burt_adelson_at_factor_2(m: int) -> None:
    n = 2 * m
    x, z = rng().normal(size=n), rng().normal(size=m)
    reduced = np.convolve(np.pad(x, 2, mode="reflect"), TAPS, mode="valid")[::2]
    stuffed = np.zeros(n)
    stuffed[::2] = z
    expanded = 2 * np.convolve(np.pad(stuffed, 2, mode="reflect"), TAPS, mode="valid")
    np.testing.assert_allclose(down_matrix("gaussian", n, m) @ x, reduced, atol=EXACT)
    np.testing.assert_allclose(up_matrix("gaussian", n, m) @ z, expanded, atol=EXACT)


@pytest.mark.parametrize(("n", "m"), [(64, 32), (64, 16), (96, 32), (100, 20), (128, 16)])
def test_gaussian_width_follows_one_law(n: int, m: int) -> None:
    """Variance (f^2 - 1) / 3 at every factor; sampling a Gaussian of sigma >= 1 and cutting it at
    6 sigma changes its variance by less than 1e-6 (Poisson sum: exp(-2 pi^2 sigma^2))."""
    factor = n / m
    row = down_matrix("gaussian", n, m)[m // 2]
    variance = row @ (np.arange(n) - m // 2 * factor) ** 2
    assert variance == pytest.approx((factor**2 - 1) / 3, rel=1e-6)


def test_gaussian_at_a_fractional_factor() -> None:
    """Factor 3/2: sigma^2 = (9/4 - 1) / 3 = 5/12 around fine position 3 j / 2."""
    distance = np.arange(30) - 15.0
    weights = np.exp(-0.5 * distance**2 / (5 / 12)) * (np.abs(distance) < 6 * np.sqrt(5 / 12))
    np.testing.assert_allclose(
        down_matrix("gaussian", 30, 20)[10], weights / weights.sum(), atol=EXACT
    )


def test_gaussian_close_to_factor_1_is_not_the_nearest_sample() -> None:
    """Factor 1.1: sigma is held at 1/2. Coarse sample 5 lies between fine samples 5 and 6."""
    weights = np.exp(-2 * (np.arange(22) - 5.5) ** 2) * (np.abs(np.arange(22) - 5.5) < 3)
    np.testing.assert_allclose(
        down_matrix("gaussian", 22, 20)[5], weights / weights.sum(), atol=EXACT
    )


@pytest.mark.parametrize(("n", "m"), [(1023, 512), (2047, 1024), (1000, 999), (768, 512)])
def test_fourier_against_the_sum_in_whole_numbers(n: int, m: int) -> None:
    """A few rows against the sum over frequencies, its phases reduced in whole numbers: relative
    to 1 / n times m terms, rounding alone."""
    found = down_matrix("fourier", n, m)
    k = np.arange(1, (m + 1) // 2)
    for j in (0, 1, m // 3, m - 1):
        lag = (j * n - np.arange(n) * m) % (n * m)
        total = 1 + 2 * np.cos(2 * np.pi / (n * m) * (lag[:, None] * k % (n * m))).sum(1)
        if m % 2 == 0:
            total += np.sqrt(2) * np.cos(2 * np.pi / (n * m) * (lag * (m // 2) % (n * m)))
        np.testing.assert_allclose(found[j], total / n, rtol=0, atol=2e-15)


@pytest.mark.parametrize("kernel", KERNELS)
def test_sides_beyond_memory(kernel: str) -> None:
    for function in (down_matrix, up_matrix):
        with pytest.raises(MRCascadeError, match=r"400000 pixels over one of 200000 .* 596 GiB"):
            function(kernel, 400_000, 200_000)
