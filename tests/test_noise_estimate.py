"""Noise estimates of images that come without a noise level."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from mrcascade import CascadePrior, MRCascadeError, SeparableOperator, super_resolve
from mrcascade.arrays.intensity import robust_maximum
from mrcascade.evaluation.data import find_files, load_truth, truth_operator
from mrcascade.measurement.noise import NoiseEstimate, estimate_noise, likelihood
from mrcascade.measurement.noise.air import rician_spread

SIDE = 128


def head(noise: float, seed: int = 0) -> np.ndarray:
    """A complex slice: a disc of 1 with a darker core, band-limited as MR images are, and noise in
    both parts."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    radius = np.hypot(rows, columns)
    image = gaussian_filter(1.0 * (radius < 0.3) - 0.4 * (radius < 0.12), 1.0)
    return image + noise * (rng.normal(size=image.shape) + 1j * rng.normal(size=image.shape))


def test_noise_is_estimated_on_request(prior: CascadePrior) -> None:
    operator = SeparableOperator.from_kernel("fourier", 2, (128, 128))
    y = (1 + 0.05 * np.random.default_rng(0).normal(size=(2, 64, 64))).astype(np.float32)
    noise = estimate_noise(y).sigma / robust_maximum(y)
    estimated = super_resolve(y, operator, prior)
    assert estimated.settings["noise"] == noise > 0.01
    np.testing.assert_array_equal(
        estimated.mean, super_resolve(y, operator, prior, noise=noise).mean
    )


def test_spread_of_rician_magnitudes() -> None:
    """Without signal the distribution is Rayleigh's, whose moments are closed forms; with a signal
    of two deviations the moments are those of 400,000 draws, each to 1 / sqrt(800,000)."""
    rayleigh = math.sqrt(2 - math.pi / 2)
    assert rician_spread(math.sqrt(math.pi / 2) / rayleigh) == pytest.approx(rayleigh, rel=1e-6)
    assert rician_spread(0.5) == pytest.approx(rayleigh, rel=1e-6)
    assert rician_spread(20.0) == pytest.approx(1, rel=0.01)
    rng = np.random.default_rng(0)
    draws = np.abs(2 + rng.normal(size=400_000) + 1j * rng.normal(size=400_000))
    assert rician_spread(draws.mean() / draws.std()) == pytest.approx(draws.std(), rel=0.01)


@pytest.mark.parametrize("noise", [0.005, 0.02, 0.05])
def test_air_of_magnitude_images_tells_the_noise(noise: float) -> None:
    """About 17,000 pixels of air in two slices: their median absolute deviation varies by 1.17 /
    sqrt(2 n), correlated differences widen that some two times; 5 % are five deviations."""
    found = estimate_noise([np.abs(head(noise, seed)) for seed in range(2)])
    assert found.source == "air"
    assert found.certain
    assert found.sigma == pytest.approx(noise, rel=0.05)


@pytest.mark.parametrize(
    ("slope", "offset"), [(1.0, -1024.0), (300.0, -1024.0), (1.0, 50.0), (4.0, -0.9)]
)
def test_the_value_of_air_does_not_matter(slope: float, offset: float) -> None:
    """As stored with an offset, or normalised to mean 0 and deviation 1; the smallest of the noisy
    magnitudes stands for zero, which it exceeds by under 2 % of the noise."""
    image = slope * np.abs(head(0.02)) + offset
    assert estimate_noise([image]).sigma == pytest.approx(slope * 0.02, rel=0.08)


@pytest.mark.parametrize("padding", [0.0, -2000.0, 3.0])
def test_padding_does_not_count(padding: float) -> None:
    image = np.abs(head(0.02))
    padded = np.pad(image, 40, constant_values=padding)
    assert estimate_noise([padded]).sigma == pytest.approx(0.02, rel=0.08)


@pytest.mark.parametrize("noise", [0.01, 0.03])
def test_signed_and_complex_images(noise: float) -> None:
    """Their noise is normal everywhere; the judge was trained on heads of another kind."""
    image = head(noise)
    phase = np.exp(2j * np.pi * 6 * np.add(*np.mgrid[:SIDE, :SIDE]) / SIDE)
    assert estimate_noise([image.real]).sigma == pytest.approx(noise, rel=0.2)
    assert estimate_noise([image * phase]).sigma == pytest.approx(noise, rel=0.2)


def test_masked_air_is_no_evidence() -> None:
    image = head(0.02).real
    image[head(0).real < 0.01] = 0
    found = estimate_noise([image])
    assert found.source == "likelihood"
    assert not found.certain
    assert "uncertain" in str(found)
    assert 0.01 < found.sigma < 0.03


def test_a_gaussian_prior_has_its_own_noise_level(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where images are white with variance c, y has variance c + s^2 and the likelihood is largest
    at s^2 = mean(y^2) - c. The denoiser is linear, so its divergence is exact. What is left is the
    interpolation between noise levels that differ by 1.6, which errs by up to 4 % here."""
    variance = 0.01

    class Level:
        def condition(self, coarse: None, error: float) -> Level:
            return self

        def denoise(self, x: Tensor, sigma: float) -> Tensor:
            return x * (variance / (variance + sigma**2))

    judge = SimpleNamespace(levels=[Level()])
    monkeypatch.setattr(likelihood, "as_prior", lambda name: judge)
    rng = np.random.default_rng(0)
    for noise in (0.05, 0.1, 0.2):
        y = rng.normal(scale=math.hypot(0.1, noise), size=(64, 64))
        mask = np.ones(y.shape, bool)
        exact = math.sqrt(float(np.square(y).mean()) - variance)
        assert likelihood.most_likely_noise([y], [mask]) == pytest.approx(exact, rel=0.05)
        half = mask.copy()
        half[:32] = False
        exact = math.sqrt(float(np.square(y[32:]).mean()) - variance)
        assert likelihood.most_likely_noise([y], [half]) == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize("image", [np.zeros((64, 64)), np.zeros((8, 8)), np.full((64, 64), 3.0)])
def test_nothing_to_estimate_from(image: np.ndarray) -> None:
    with pytest.raises(MRCascadeError, match="--noise"):
        estimate_noise([image])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["normal", "rician"])
@pytest.mark.parametrize("noise", [0.0, 0.01, 0.04])
def test_real_measurements(data_folder: Path, noise: float, kind: str) -> None:
    """Files of several anatomies and contrasts at 4x: in the median off by 0.3 points, four of five
    by at most 0.7 points or 30 %. The noise of the scans themselves counts as error."""
    wanted = ("ms12_study1_t2w", "ptbp44", "te06", "tra", "sct_ms", "run1", "sts005", "swastling")
    errors = []
    rng = np.random.default_rng(0)
    for file in find_files(data_folder, "test"):
        if any(name in file.name for name in wanted):
            truth = load_truth(file, (4.0, 4.0), 4)
            operator = truth_operator(truth, "fourier", (4.0, 4.0))
            low = operator(torch.from_numpy(truth.slices)).numpy()
            low = low / robust_maximum(low)
            parts = noise * (rng.normal(size=low.shape) + 1j * rng.normal(size=low.shape))
            y = np.abs(low + parts) if kind == "rician" else low + parts.real
            errors.append(abs(estimate_noise(list(y)).sigma - noise))
    assert len(errors) >= len(wanted)
    assert np.quantile(errors, 0.8) < max(0.007, 0.3 * noise)
    assert np.median(errors) < 0.003


@pytest.mark.parametrize(
    ("sigma", "said"),
    [(0.0, "less than 0.001 %"), (1e-7, "less than 0.001 %"), (1e-4, "0.005 %"), (0.5, "25 %")],
)
def test_noise_is_told_with_the_digits_that_it_has(sigma: float, said: str) -> None:
    found = NoiseEstimate(sigma, "air", certain=True)
    assert found.describe(2.0) == f"{said} of the maximum (from the air around the body)"
