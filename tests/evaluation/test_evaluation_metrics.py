"""Metrics against scikit-image and against their formulas written out."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from skimage import metrics as reference

from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.metrics import (
    largest_magnitude,
    nmse,
    pooled_metrics,
    psnr,
    slice_metrics,
    spread_skill,
    ssim,
)

RNG = np.random.default_rng(0)
TRUTH = RNG.uniform(0, 700, (3, 20, 25)) * np.array([1.0, 0.5, 0.8])[:, None, None]
IMAGES = TRUTH + RNG.normal(scale=30, size=TRUTH.shape)
# float64 sums of a few hundred terms
CLOSE = {"rel": 1e-10}


def ssim_formula(truth: np.ndarray, image: np.ndarray, data_range: float) -> float:
    """Wang et al. 2004, eq. 13, uniform 7x7 windows inside the image, sample covariance."""
    a = sliding_window_view(truth, (7, 7)).reshape(-1, 49)
    b = sliding_window_view(image, (7, 7)).reshape(-1, 49)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    ma, mb = a.mean(1), b.mean(1)
    va, vb = a.var(1, ddof=1), b.var(1, ddof=1)
    covariance = ((a - ma[:, None]) * (b - mb[:, None])).sum(1) / 48
    above = (2 * ma * mb + c1) * (2 * covariance + c2)
    return float((above / ((ma**2 + mb**2 + c1) * (va + vb + c2))).mean())


def test_psnr_and_nmse_agree_with_scikit_image() -> None:
    truth, image = TRUTH[0], IMAGES[0]
    expected = reference.peak_signal_noise_ratio(truth, image, data_range=512.0)
    assert psnr(truth, image, 512.0) == pytest.approx(expected, **CLOSE)
    root = reference.normalized_root_mse(truth, image, normalization="euclidean")
    assert nmse(truth, image) == pytest.approx(root**2, **CLOSE)


@pytest.mark.parametrize("data_range", [90.0, 700.0])
def test_ssim_is_the_formula(data_range: float) -> None:
    expected = ssim_formula(TRUTH[0], IMAGES[0], data_range)
    assert ssim(TRUTH[0], IMAGES[0], data_range) == pytest.approx(expected, rel=1e-9)


def test_spread_and_skill_of_draws_from_one_law() -> None:
    """Truth and K samples drawn alike have a ratio of 1 whatever the spread of each pixel; with n
    pixels its error is sqrt(1 / (2 n K) + 1 / (2 n)), of which five."""
    n, k = 20_000, 8
    rng = np.random.default_rng(0)
    widths = rng.uniform(0.5, 1, n)
    truth, *samples = widths * rng.normal(size=(k + 1, n))
    mean, std = np.mean(samples, axis=0), np.std(samples, axis=0, ddof=1)
    body = np.ones(n, bool)
    error = 5 * np.sqrt((1 + 1 / k) / n)  # of n pixels of unequal spread at least half count
    assert spread_skill(truth, mean, std, k, body) == pytest.approx(1, abs=error)
    assert spread_skill(truth, mean, std / 2, k, body) == pytest.approx(0.5, abs=error)
    body[: n // 2] = False  # what lies outside does not count
    std[: n // 2] = 99
    assert spread_skill(truth, mean, std, k, body) == pytest.approx(1, abs=1.5 * error)
    assert np.isnan(spread_skill(truth, mean, std, k, np.zeros(n, bool)))


def test_slice_and_volume_maximum_differ_by_their_ratio() -> None:
    maximum = largest_magnitude(TRUTH)
    for truth, image in zip(TRUTH, IMAGES, strict=True):
        result = slice_metrics(truth, image, maximum)
        shift = 20 * np.log10(maximum / truth.max())
        assert result["psnr_volmax"] - result["psnr_slice"] == pytest.approx(shift, abs=1e-9)
        assert result["ssim_slice"] == pytest.approx(ssim_formula(truth, image, truth.max()))
        assert result["ssim_volmax"] == pytest.approx(ssim_formula(truth, image, maximum))


def test_volume_figures_are_pooled() -> None:
    maximum = largest_magnitude(TRUTH)
    slices = [slice_metrics(t, x, maximum) for t, x in zip(TRUTH, IMAGES, strict=True)]
    column = {key: np.array([row[key] for row in slices]) for key in ("nmse", "ssim_volmax")}
    energy = (TRUTH**2).sum((1, 2))
    result = pooled_metrics(column["nmse"], column["ssim_volmax"], energy, 20 * 25, maximum)
    error = ((IMAGES - TRUTH) ** 2).mean()
    assert result["psnr"] == pytest.approx(10 * np.log10(maximum**2 / error), **CLOSE)
    assert result["nmse"] == pytest.approx(error / (TRUTH**2).mean(), **CLOSE)
    single = [ssim_formula(t, x, maximum) for t, x in zip(TRUTH, IMAGES, strict=True)]
    assert result["ssim"] == pytest.approx(np.mean(single), rel=1e-9)
    # The pooled PSNR is not the mean of the slices' PSNR.
    mean = np.mean([psnr(t, x, maximum) for t, x in zip(TRUTH, IMAGES, strict=True)])
    assert abs(result["psnr"] - mean) > 1e-4


def test_known_errors() -> None:
    truth = np.full((8, 8), 10.0)
    # An error of 1 everywhere: rmse 1, so PSNR = 20 log10(10) = 20 dB and NMSE = 1/100.
    assert psnr(truth, truth + 1, 10.0) == pytest.approx(20.0, **CLOSE)
    assert nmse(truth, truth + 1) == pytest.approx(0.01, **CLOSE)
    assert psnr(truth, truth, 10.0) == float("inf")
    perfect = pooled_metrics(np.zeros(2), np.ones(2), np.ones(2), 64, 10.0)
    assert perfect == {"psnr": float("inf"), "ssim": 1.0, "nmse": 0.0}
    assert ssim(truth, truth, 10.0) == pytest.approx(1.0, **CLOSE)


def test_complex_images_are_compared_by_magnitude_and_real_ones_as_they_are() -> None:
    phase = np.exp(1j * RNG.uniform(0, 6, TRUTH[0].shape))
    by_magnitude = slice_metrics(TRUTH[0], np.abs(IMAGES[0]), 700.0)
    assert slice_metrics(TRUTH[0] * phase, np.abs(IMAGES[0]) * phase**2, 700.0) == pytest.approx(
        by_magnitude, rel=1e-9
    )
    truth = np.ones((8, 8))
    assert nmse(truth, -truth) == pytest.approx(4.0, **CLOSE)


def test_an_image_smaller_than_the_window_is_refused() -> None:
    with pytest.raises(MRCascadeError, match="6x9 are smaller than SSIM's window of 7"):
        ssim(np.ones((6, 9)), np.ones((6, 9)), 1.0)
