"""The learning-rate schedule, noise levels and condition errors of a batch."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import asdict, replace

import pytest
import torch

from mrcascade import MRCascadeError
from mrcascade.training.config import TrainConfig
from mrcascade.training.noise import draw_condition_error, draw_sigma, largest_condition_error

CONFIG = TrainConfig(images=100_000)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_learning_rate_ramps_stays_decays_and_ends_at_zero() -> None:
    assert CONFIG.learning_rate(0) < 1e-4
    assert CONFIG.learning_rate(0.01) == pytest.approx(0.5, abs=1e-4)  # half of the 2 % ramp
    assert CONFIG.learning_rate(0.02) == CONFIG.learning_rate(0.3) == 1
    assert CONFIG.learning_rate(0.48) == pytest.approx(math.sqrt(0.3 / 0.48))
    assert CONFIG.learning_rate(0.75) == pytest.approx(0.5 * math.sqrt(0.3 / 0.75))
    assert CONFIG.learning_rate(1) == 0
    assert CONFIG.learning_rate(1.001) == 0  # the last batch may go over
    rates = [CONFIG.learning_rate(n / 200) for n in range(4, 201)]
    assert all(a >= b for a, b in itertools.pairwise(rates))


@pytest.mark.parametrize(
    "settings",
    [
        {"images": 0},
        {"mean_images": -1},
        {"mean_images": 120_000},
        {"mean_images": 10, "network": "small-regression"},
        {"mean_images": 10, "network": "small-single"},
        {"batch": 0},
        {"patch": 0},
        {"cooldown_share": 0.0},
        {"reference_share": 0.0},
        {"ramp_share": -0.1},
        {"condition_error": 1.0},
        {"coarse_condition_error": -0.1},
        {"reduction": 3},
        {"precision": "auto"},
        {"images": True},
        {"mean_images": False},
        {"rate": True},
        {"blur_share": False},
        {"demodulate": 1},
        {"data_condition": 0.0},
        {"one_axis_share": 0.5, "network": "small-slices"},
        {"data_condition": False, "network": "small-slices"},
    ],
)
def test_impossible_settings_are_one_line(settings: dict[str, float | str]) -> None:
    with pytest.raises(MRCascadeError, match=next(iter(settings))) as error:
        TrainConfig(**settings)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("network", "given", "stages"),
    [
        ("small", {}, [(60_000, 60_000), (60_000, 60_000), (0, 120_000)]),
        ("small", {"images": 200}, [(100, 100), (100, 100), (0, 200)]),
        ("small", {"images": 201}, [(100, 101), (100, 101), (0, 201)]),
        ("small", {"images": 200, "mean_images": 0}, [(0, 200), (0, 200), (0, 200)]),
        ("small", {"images": 200, "mean_images": 199}, [(199, 1), (199, 1), (0, 200)]),
        ("small-single", {"images": 200}, [(0, 200)]),
        ("small-regression", {"images": 200}, [(200, 0), (0, 0)]),
    ],
)
def test_one_budget_of_patches_per_level(
    network: str, given: dict[str, int], stages: list[tuple[int, int]]
) -> None:
    config = TrainConfig(network=network, **given)
    assert [config.stages(level) for level in range(1, config.levels + 1)] == stages


@pytest.mark.parametrize(
    ("network", "level", "stages", "shared"),
    [
        ("small", 1, (40, 60), 40),
        ("small", 3, (0, 60), None),
        ("small-regression", 1, (40, 0), None),
    ],
)
def test_settings_of_older_versions(
    network: str, level: int, stages: tuple[int, int], shared: int | None
) -> None:
    text = json.dumps({"network": network, "images": 60, "mean_images": 40, "rate": 0.5})
    upgraded, found = TrainConfig.upgraded(text, level)
    assert found == stages
    config = TrainConfig.from_json(upgraded)
    assert config.stages(level) == stages
    assert (config.mean_images, config.rate) == (shared, 0.5)


def test_config_round_trip() -> None:
    config = TrainConfig(network="xs", ema=(0.03, 0.07, 0.2), rate=0.5)
    assert TrainConfig.from_json(json.dumps(asdict(config))) == config
    with pytest.raises(TypeError):
        TrainConfig.from_json('{"unknown": 1}')


def test_every_batch_has_its_share_of_high_noise() -> None:
    config = replace(CONFIG, high_noise_share=0.25, noise_mean=-3.0, noise_std=0.5)
    low, high = config.high_noise_range
    for seed in range(50):
        sigma = draw_sigma(16, config, generator(seed))
        assert sigma.shape == (16,)
        # ln sigma ~ N(-3, 0.5) reaches ln 5 with a chance of 1e-20.
        assert int((sigma >= low).sum()) == 4
        assert sigma.max() <= high * (1 + 1e-6)


def test_a_broken_share_is_right_on_average() -> None:
    config = replace(CONFIG, high_noise_share=0.1, noise_mean=-3.0, noise_std=0.5)
    counts = [
        int((draw_sigma(16, config, generator(s)) >= config.high_noise_range[0]).sum())
        for s in range(2000)
    ]
    assert set(counts) == {1, 2}  # 1.6 of 16
    assert sum(counts) / 2000 == pytest.approx(1.6, abs=5 * math.sqrt(0.6 * 0.4 / 2000))


def test_noise_levels_have_their_distributions() -> None:
    n = 40_000
    log = draw_sigma(n, replace(CONFIG, high_noise_share=0.0), generator()).log()
    assert float(log.mean()) == pytest.approx(CONFIG.noise_mean, abs=5 * 1.4 / math.sqrt(n))
    assert float(log.std()) == pytest.approx(1.4, rel=5 / math.sqrt(2 * n))
    log = draw_sigma(n, replace(CONFIG, high_noise_share=1.0), generator()).log()
    low, high = (math.log(v) for v in CONFIG.high_noise_range)
    width = high - low
    assert float(log.mean()) == pytest.approx((low + high) / 2, abs=5 * width / math.sqrt(12 * n))
    assert low - 1e-6 <= float(log.min()) < low + 0.01 * width
    assert high - 0.01 * width < float(log.max()) <= high + 1e-6


def test_condition_errors() -> None:
    n = 40_000
    share = 0.4
    t = draw_condition_error(n, 0.8, share, generator())
    clean = float((t == 0).float().mean())
    assert clean == pytest.approx(share, abs=5 * math.sqrt(share * (1 - share) / n))
    rest = t[t > 0]
    assert float(rest.mean()) == pytest.approx(0.4, abs=5 * 0.8 / math.sqrt(12 * len(rest)))
    assert 0.79 < float(rest.max()) <= 0.8


def test_a_condition_that_is_the_coarsest_image_is_degraded_less() -> None:
    assert largest_condition_error(1, CONFIG) == CONFIG.condition_error
    assert largest_condition_error(2, CONFIG) == CONFIG.coarse_condition_error
