"""What conditions tell of data while a cascade trains, against dense matrices."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.conftest import write_random_prior
from tests.quick import slow
from training_data import TINY, cache, quick

from mrcascade.errors import MRCascadeError
from mrcascade.networks import CascadeConfig
from mrcascade.operators import SeparableOperator, down_matrix, up_matrix
from mrcascade.prior.cascade import CascadePrior
from mrcascade.prior.denoiser import (
    KNOWLEDGE,
    LevelNetworks,
    condition_channels,
    known_channels,
    nothing_known,
)
from mrcascade.prior.format import read_document
from mrcascade.sampling import Recipe, plan_cascade
from mrcascade.sampling.noise import NoiseSource
from mrcascade.training.cascade_data import CascadeData
from mrcascade.training.config import TrainConfig
from mrcascade.training.distributed import Processes
from mrcascade.training.level import LevelTrainer, checkpoint_file
from mrcascade.training.measurements import FACTORS, DrawnMeasurements, Measurements, Unknown
from mrcascade.training.run import train_cascade
from mrcascade.training.slices import load_volumes
from mrcascade.training.start import start_of
from mrcascade.training.validation import validate

SIDE, STD = 16, 0.04
CONFIG = TrainConfig(patch=SIDE, coarse_patch=SIDE)


def random(count: int, generator: torch.Generator, side: int = SIDE) -> torch.Tensor:
    return STD * torch.randn((count, 1, side, side), generator=generator)


def chosen(rows: list[int], cols: list[int], sigma: float) -> DrawnMeasurements:
    return DrawnMeasurements(
        torch.tensor(rows), torch.tensor(cols), torch.full((len(rows),), sigma)
    )


def noise(count: int) -> NoiseSource:
    return NoiseSource(range(count))


def told(
    measurements: Measurements, rest: torch.Tensor, measured: DrawnMeasurements
) -> tuple[torch.Tensor, Unknown]:
    """Knowledge of images whose coarser image is zero, which stays so."""
    nothing = torch.zeros_like(rest)
    coarse, found, unknown = measurements.known(rest, nothing, measured, STD, noise(len(rest)))
    assert coarse is nothing
    return found, unknown


@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("kernel", ["fourier", "area"])
def test_channels_are_those_of_dense_matrices(kernel: str, level: int) -> None:
    measurements = Measurements(level, SIDE, replace(CONFIG, kernel=kernel))
    generator = torch.Generator().manual_seed(0)
    pairs = torch.randint(len(measurements.axes), (2, 20), generator=generator).tolist()
    rest = random(20, generator)
    found, unknown = told(measurements, rest, chosen(*pairs, 0.0))
    left = unknown(rest).double().numpy()
    found = found.double().numpy()
    low = up_matrix(kernel, SIDE, SIDE // 2) @ down_matrix(kernel, SIDE, SIDE // 2)
    one = np.eye(SIDE)
    images = rest.double().numpy()
    for channels, image, open_, row, col in zip(found, images, left, *pairs, strict=True):
        known = [a.v[:, a.s > 1e-9] for a in (measurements.axes[row], measurements.axes[col])]
        k_rows, k_cols = (v @ v.T for v in known)
        estimate = k_rows @ image[0] @ k_cols
        expected = (estimate - low @ estimate @ low.T) / STD
        shares = []
        for rows, cols in ((one - low, low), (low, one - low), (one - low, one - low)):
            shares.append(np.trace(k_rows @ rows) * np.trace(k_cols @ cols))
            shares[-1] /= np.trace(rows) * np.trace(cols)
        if max(map(abs, shares)) < 1e-6:
            expected = 0 * expected
        np.testing.assert_allclose(channels[0], expected, atol=2e-3)
        np.testing.assert_allclose(open_[0], image[0] - expected * STD, atol=2e-3 * STD)
        np.testing.assert_allclose(channels[1:4].mean((1, 2)), shares, atol=1e-4)
        assert (channels[1:] == channels[1:, :1, :1]).all()
        assert not channels[4].any()  # no noise


@pytest.mark.parametrize("level", [1, 2])
def test_axes_are_those_of_a_sampler(level: int) -> None:
    """An image as large as a patch, measured at full resolution: the same band and numbers."""
    measurements = Measurements(level, SIDE, CONFIG)
    full, generator = SIDE * 2 ** (level - 1), torch.Generator().manual_seed(0)
    factors = list(FACTORS)
    for factor in (1.5, 2, 4):
        # Along the columns, by the prior's kernel, which comes first; after the full grid and the
        # prior's own measurements in plane.
        own = 2 if level == 1 else 1
        index = 1 + own + factors.index(factor)
        for sigma in (0.0, 0.02):
            rows = down_matrix("fourier", full, round(full / factor))
            operator = SeparableOperator(rows, np.eye(full), "one axis")
            settings = Recipe("mean", steps=None)
            plan = plan_cascade(
                "fourier", 3, operator, sigma, settings, missing=lambda full, coarse: 0.0
            )
            view = plan.tasks[level - 1].view
            rest = random(1, generator)
            measured = chosen([index], [0], sigma)
            found, _ = told(measurements, rest, measured)
            numbers = view.numbers(STD)
            assert numbers is not None
            np.testing.assert_allclose(found[0, 1:, 0, 0].numpy(), numbers, atol=1e-6)
            if sigma == 0:
                y = plan.tasks[level - 1].data.operator(rest)
                known = view.band(torch.zeros_like(rest), y, STD)
                assert known is not None
                torch.testing.assert_close(found[:, :1], known.band / STD, atol=1e-3, rtol=0)


@pytest.mark.parametrize(("level", "factor"), [(1, 2), (1, 4), (2, 4)])
def test_the_own_kernel_in_plane_tells_nothing(level: int, factor: int) -> None:
    measurements = Measurements(level, 64, TrainConfig())
    generator = torch.Generator().manual_seed(0)
    index = 1 + {2: 0, 4: 1}[factor] - (level - 1)
    rest = random(3, generator, 64)
    found, unknown = told(measurements, rest, chosen([index] * 3, [index] * 3, 0.0))
    assert torch.equal(unknown(rest), rest)
    assert found.shape == (3, 1 + KNOWLEDGE, 64, 64)
    assert not found.any()
    # Its rows are those of the sampler's operator.
    matrix = down_matrix("fourier", 64, 64 // (factor // 2 ** (level - 1)))
    v = measurements.axes[index].v
    np.testing.assert_allclose(v @ v.T, np.linalg.pinv(matrix) @ matrix, atol=1e-9)


@pytest.mark.parametrize("kernel", ["fourier", slow("gaussian")])
def test_estimates_of_white_bands_are_the_best_linear_ones(kernel: str) -> None:
    """So the error of an estimate does not correlate with it, whatever the noise."""
    measurements = Measurements(2, SIDE, replace(CONFIG, kernel=kernel))
    generator = torch.Generator().manual_seed(0)
    count = 4000
    measured = measurements.draw(count, generator)
    rest = random(count, generator)
    found, _ = told(measurements, rest, measured)
    estimate, knows = found[:, 0], found[:, 1:4].amax(1)[:, 0, 0] > 0
    low = torch.tensor(up_matrix(kernel, SIDE, SIDE // 2) @ down_matrix(kernel, SIDE, SIDE // 2))
    band = rest[:, 0].double() / STD
    band = band - low @ band @ low.T
    slope = (estimate.double() * band)[knows].mean() / (estimate.double() ** 2)[knows].mean()
    assert float(slope) == pytest.approx(1, abs=0.01)
    assert 0.05 < float((estimate**2).mean() / (band**2).mean()) < 0.9
    assert not estimate[~knows].any()


def test_shares_of_draws_are_those_of_the_configuration() -> None:
    config = replace(CONFIG, own_kernel_share=0.3, one_axis_share=0.4)
    count, generator = 20_000, torch.Generator().manual_seed(0)
    for level in (1, 2):
        measurements = Measurements(level, SIDE, config)
        drawn = measurements.draw(count, generator)
        first = 1 + (2 if level == 1 else 1)
        own = (drawn.rows >= 1) & (drawn.rows < first)
        assert torch.equal(own, (drawn.cols >= 1) & (drawn.cols < first))
        one = (drawn.rows == 0) ^ (drawn.cols == 0)
        both = (drawn.rows >= first) & (drawn.cols >= first)
        for kind, share in ((own, 0.3), (one, 0.4), (both, 0.3)):
            assert float(kind.float().mean()) == pytest.approx(share, abs=0.015)
        assert bool((own | one | both).all())
        assert not drawn.sigma[own].any()
        assert float(drawn.sigma.max()) <= config.largest_measurement_noise
        noisy = float((drawn.sigma[one | both] > 0).float().mean())
        assert noisy == pytest.approx(config.measurement_noise_share, abs=0.02)
        assert set(drawn.rows[both].tolist()) == set(range(first, len(measurements.axes)))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"own_kernel_share": 0.8, "one_axis_share": 0.3}, "add up to at most 1"),
        ({"one_axis_share": -0.1}, "at least 0"),
        ({"largest_measurement_noise": 2.0}, "largest_measurement_noise is 2.0"),
    ],
)
def test_shares_that_cannot_be_are_refused(changes: dict[str, float], reason: str) -> None:
    with pytest.raises(MRCascadeError, match=reason):
        replace(TINY, **changes)


# ---- training ----


@pytest.mark.slow
def test_a_trained_prior_uses_data(tmp_path: Path) -> None:
    """A few steps; the prior says so, and another condition makes another mean."""
    with quick():
        folder = train_cascade(cache(tmp_path / "slices.hdf5"), tmp_path / "run", TINY)
    assert folder is not None
    document = read_document(folder)
    assert [level["networks"]["data"] for level in document["levels"]] == [True, True, False]
    settings = document["levels"][0]["training"]["config"]
    assert settings["data_condition"]
    assert settings["own_kernel_share"] == TINY.own_kernel_share
    assert {"mean", "mean_one_axis"} <= set(document["levels"][1]["training"]["validation"])
    prior = CascadePrior.from_pretrained(folder)
    assert [level.informed for level in prior.levels] == [True, True, False]
    operator = SeparableOperator.from_kernel("fourier", (2, 1), (32, 32))
    plan = plan_cascade(
        "fourier",
        3,
        operator,
        0.0,
        Recipe("mean", steps=None),
        missing=lambda full, coarse: 0.0,
    )
    level = prior.levels[0]
    coarse = torch.rand((1, 1, 32, 32), generator=torch.Generator().manual_seed(0))
    known = plan.tasks[0].view.band(coarse, operator(coarse + 0.1 * coarse.roll(1, -1)), level.std)
    assert known is not None
    informed, plain = level.condition(coarse, 0.0, known), level.condition(coarse)
    # What the branch adds to the linear estimate depends on the data too.
    added = informed.mean() - known.band
    assert float((added - known.unknown(plain.mean())).abs().max()) > 1e-5
    x = torch.randn((1, 1, 32, 32), generator=torch.Generator().manual_seed(1))
    difference = informed.denoise(x, 1.0) - plain.denoise(x, 1.0)
    assert float(difference.abs().max()) > 1e-5
    with pytest.raises(ValueError, match="informed"):
        prior.levels[2].condition(None, 0.0, known)


def test_before_training_the_mean_is_the_linear_estimate(tmp_path: Path) -> None:
    config = replace(TINY, images=64, mean_images=48)
    with quick():
        data = CascadeData(
            load_volumes(cache(tmp_path / "x.hdf5"), config.multiple, config.factors), config
        )
        trainer = LevelTrainer(1, config, data.level(1), Processes("cpu"))
        figures = validate(trainer.networks, trainer.data, 1, config)
    # With the kernel fourier nothing is known in plane, and a part along one axis.
    assert figures["mean"] == figures["mean_degraded"] == 1
    assert figures["mean_one_axis"] < 0.95
    head = trainer.networks.mean.head.weight
    assert head.shape[1] == 4 * (2 + 1 + KNOWLEDGE)  # behind the stem
    for _ in range(3):  # of the branch, whose last layer is zero at first
        trainer.step()
    assert bool((head.grad.abs().amax((0, 2, 3)) > 0).all())


@pytest.mark.parametrize("channels", [1, 2])
def test_a_start_without_data_is_kept_where_nothing_is_known(tmp_path: Path, channels: int) -> None:
    """The new inputs begin with weights of zero, so that the mean is the old one after a step."""
    folder = write_random_prior(tmp_path / "old", channels)
    config = replace(TINY, channels=channels, start=str(folder), demodulate=False)
    _, weights = start_of(config)
    plain, old = start_of(replace(config, data_condition=False))
    generator = torch.Generator().manual_seed(0)
    for index in (0, 1, 2):
        wide = LevelNetworks(config.networks[index], channels).eval()
        wide.load_state_dict(weights[index])
        narrow = plain.levels[index].networks
        narrow.load_state_dict(old[index], assign=True)
        narrow.eval()
        x = torch.randn((2, channels, 16, 16), generator=generator)
        sigma = torch.tensor([0.3, 2.0])
        if index == 2:
            torch.testing.assert_close(wide(x, sigma, None, None), narrow(x, sigma, None, None))
            continue
        coarse, band = torch.randn((2, 2, channels, 16, 16), generator=generator)
        condition = condition_channels(coarse, 0.2)
        nothing = condition_channels(coarse, 0.2, nothing_known(coarse))
        mean = narrow.conditional_mean(condition)
        torch.testing.assert_close(wide.conditional_mean(nothing), mean)
        known = known_channels(band, torch.tensor([0.3, 0.2, 0.1, 0.4]))
        informed = condition_channels(coarse, 0.2, known)
        stepped = wide.conditional_mean(informed, lambda m: 0.3 * m)
        torch.testing.assert_close(stepped, 0.3 * mean + band)
        expected = narrow(x, sigma, condition, mean)
        for data in (nothing, informed):
            torch.testing.assert_close(wide(x, sigma, data, mean), expected, atol=1e-4, rtol=1e-4)


def test_a_start_with_data_needs_them_in_the_run(tmp_path: Path) -> None:
    shapes = CascadeConfig(TINY.networks)
    folder = write_random_prior(tmp_path / "informed", cascade=shapes)
    _, weights = start_of(replace(TINY, start=str(folder)))
    for level, state in zip(TINY.networks, weights, strict=True):
        LevelNetworks(level, 1).load_state_dict(state)
    with pytest.raises(MRCascadeError, match="data_condition is false"):
        start_of(replace(TINY, start=str(folder), data_condition=False))


@pytest.mark.slow
def test_conditions_without_data_stay_as_they_were(tmp_path: Path) -> None:
    """Of a run of an older version, whose checkpoint does not know the setting."""
    config = replace(TINY, images=32, mean_images=16, data_condition=False)
    path = cache(tmp_path / "x.hdf5")
    with quick():
        folder = train_cascade(path, tmp_path / "run", config)
        assert folder is not None
        document = read_document(folder)
        assert not any(level["networks"]["data"] for level in document["levels"])
        file = checkpoint_file(tmp_path / "run", 1)
        state = torch.load(file, weights_only=True)
        state["config"] = state["config"].replace('"data_condition": false, ', "")
        assert "data_condition" not in state["config"]
        torch.save(state, file)
        train_cascade(path, tmp_path / "run", config, resume=True)
        with pytest.raises(MRCascadeError, match=r"other settings \(data_condition\)"):
            train_cascade(path, tmp_path / "run", replace(config, data_condition=True), resume=True)
