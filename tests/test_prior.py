"""The prior's units and its statistics."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mrcascade import CascadePrior, MRCascadeError
from mrcascade.networks import fold, network_preset
from mrcascade.prior.denoiser import LevelNetworks
from mrcascade.prior.level import LevelPrior, LevelSpec, LevelStatistics
from mrcascade.training.cascade_data import SPECTRUM_BINS, CascadeData
from mrcascade.training.config import TrainConfig
from mrcascade.training.volume import Volume
from tests.conftest import SINGLE, write_random_prior

# ---- units ----


def test_denoiser_works_in_image_units(prior: CascadePrior) -> None:
    level = prior.levels[0]
    stats = level.spec.statistics
    coarse = 0.3 + 0.2 * torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    x = 0.05 * torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    conditioned = level.condition(coarse, error=0.4)
    standard = (coarse - stats.condition_mean) / stats.condition_std
    condition = torch.cat([standard, torch.full_like(coarse, 0.4)], 1)
    with torch.no_grad():
        mean = level.networks.mean(condition)
        expected = level.networks(x / stats.std, torch.full((2,), 2.0), condition, mean)
    assert torch.equal(conditioned.mean(), mean * stats.std)
    result = conditioned.denoise(x, 2.0 * stats.std)
    torch.testing.assert_close(result, expected * stats.std)
    assert level.std == stats.std
    assert level.sigma_max == pytest.approx(level.spec.sigma_max * stats.std)
    assert level.sigma_min == pytest.approx(level.spec.sigma_min * stats.std)


def test_unconditional_level_returns_its_mean_at_high_noise(prior: CascadePrior) -> None:
    level = prior.levels[-1]
    stats = level.spec.statistics
    conditioned = level.condition(None)
    assert float(conditioned.mean()) == pytest.approx(stats.mean)
    # c_skip and c_out F with |F| of order one: within a few stds of the mean.
    x = stats.mean + 80 * stats.std * torch.randn(1, 1, 16, 16)
    assert (conditioned.denoise(x, 80 * stats.std) - stats.mean).abs().max() < 10 * stats.std


def test_error_is_limited_to_what_training_showed(prior: CascadePrior) -> None:
    level, coarse = prior.levels[0], torch.rand(1, 1, 16, 16)
    limit = level.spec.condition_error
    assert limit < 1
    assert torch.equal(level.condition(coarse, 1.0).mean(), level.condition(coarse, limit).mean())
    assert not torch.equal(level.condition(coarse, 0.1).mean(), level.condition(coarse, 0).mean())


def test_condition_is_given_exactly_where_needed(prior: CascadePrior) -> None:
    for level, condition in ((prior.levels[0], None), (prior.levels[-1], torch.zeros(1, 1, 8, 8))):
        with pytest.raises(ValueError, match="condition"):
            level.condition(condition)


# ---- spectrum ----

SCALE = 0.1  # of the density exp(-r / SCALE), cycles per pixel


def radius(n: int) -> np.ndarray:
    f = np.fft.fftfreq(n)
    return np.hypot(f[:, None], f[None])


def image_of_density(n: int, seed: int) -> np.ndarray:
    """An image whose periodogram is exp(-r / SCALE) exactly: random phases, given magnitudes."""
    phases = np.fft.fft2(np.random.default_rng(seed).normal(size=(n, n)))
    spectrum = np.sqrt(np.exp(-radius(n) / SCALE)) * n * phases / np.abs(phases)
    return np.fft.ifft2(spectrum).real.astype(np.float32)


def prior_of_images(n: int, count: int) -> tuple[CascadePrior, np.ndarray]:
    stack = np.stack([image_of_density(n, seed) for seed in range(count)])
    volumes = [Volume("v", "v", "train", 2 * stack, {2: 2.0, 4: 2.1})]
    spectrum = CascadeData(volumes, TrainConfig(network="tiny")).spectrum()
    return CascadePrior("p", "fourier", 1, [], spectrum), stack


@pytest.mark.parametrize("n", [256, 48])
def test_power_density_is_that_of_the_training_images(n: int) -> None:
    """Measured density, binned and interpolated, against the one that made the images.

    A bin of width h averages the density over at most h, and interpolation reaches one bin
    further: so the logarithm, of slope 1 / SCALE, is off by at most 2 h / SCALE anywhere. (At 48
    pixels bins are empty, and h is one frequency step more.) In the integral the two signs cancel
    to first order and the square remains.
    """
    prior, stack = prior_of_images(n, 2)
    frequency = np.fft.fftfreq(n)
    density = prior.power_density(frequency[:, None], frequency[None])
    h = np.sqrt(0.5) / SPECTRUM_BINS + (1 / n if n == 48 else 0)
    assert np.abs(np.log(density) + radius(n) / SCALE).max() < 2 * h / SCALE
    # Parseval: the mean of the periodogram over the grid is the mean square of a pixel.
    mean_square = float(np.square(stack, dtype=np.float64).mean())
    assert density.mean() == pytest.approx(mean_square, rel=2 * (h / SCALE) ** 2)


def test_small_images_leave_no_hole_in_the_spectrum() -> None:
    prior, _ = prior_of_images(16, 1)
    assert min(prior.spectrum) > 0.5 * math.exp(-math.sqrt(0.5) / SCALE)


def test_level_prior_needs_no_files() -> None:
    networks = fold(LevelNetworks(network_preset("tiny").levels[2], 1))
    level = LevelPrior(
        LevelSpec(network_preset("tiny").levels[2], LevelStatistics(0.3, 0.2)), networks
    )
    assert not level.conditional
    # At the start the network is zero: the Wiener filter around the mean.
    x = torch.rand(1, 1, 8, 8)
    torch.testing.assert_close(level.condition(None).denoise(x, 0.2), 0.3 + (x - 0.3) / 2)


def test_half_precision_is_of_the_networks_alone(prior: CascadePrior, prior_folder: Path) -> None:
    """bfloat16 has 8 bits: each layer rounds by up to 2^-8, and a dozen layers in a row add up to
    some per cent of the band; image, condition and noise stay in float32."""
    half = CascadePrior.from_pretrained(prior_folder, precision="bfloat16")
    generator = torch.Generator().manual_seed(0)
    coarse = 0.3 + 0.25 * torch.randn(1, 1, 32, 32, generator=generator)
    for exact, rounded in zip(prior.levels[:2], half.levels[:2], strict=True):
        x = exact.std * torch.randn(1, 1, 32, 32, generator=generator)
        pairs = [
            (level.mean(), level.denoise(x, 0.5 * exact.std))
            for level in (exact.condition(coarse), rounded.condition(coarse))
        ]
        for a, b in zip(*pairs, strict=True):
            assert b.dtype == torch.float32
            error = float((a - b).square().mean().sqrt() / exact.std)
            assert 1e-5 < error < 12 * 2.0**-8


def test_two_levels_are_the_finest_of_a_cascade_and_a_prior_of_one_level(
    prior: CascadePrior, tmp_path: Path
) -> None:
    single = CascadePrior.from_pretrained(write_random_prior(tmp_path, cascade=SINGLE))
    cascade = replace(
        prior,
        sampling={
            "paper": {
                "zeta": 0.1,
                "sigma_start": [9.0, 8.0, 7.0],
                "rho": [2, 2, 7],
                "step_shares": [0.5, 1.5, 1],
            },
            "mean": {"orientations": 2},
        },
        provenance={"files": ["b", "a"]},
    )
    single.sampling = {"paper": {"zeta": 0.4}}
    single.provenance = {"files": ["a", "c"]}
    both = cascade.with_coarsest(single)
    assert both.levels == [prior.levels[0], single.levels[0]]
    # The coarse level starts where it always does; the fine one as in the cascade. Schedules of
    # three levels are no guide.
    start = [9.0, single.levels[0].spec.sigma_max]
    assert both.sampling == {
        "paper": {"zeta": 0.4, "sigma_start": start},
        "mean": {"orientations": 2},
    }
    assert both.provenance["files"] == ["a", "b", "c"]
    assert len(cascade.levels) == 3  # as it was
    with pytest.raises(MRCascadeError, match="needs one level, of the same kernel"):
        cascade.with_coarsest(prior)
    with pytest.raises(MRCascadeError, match="needs one level, of the same kernel"):
        cascade.with_coarsest(replace(single, kernel="area"))
