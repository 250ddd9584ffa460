"""Training for thick slices: measurements are those of a sampler, and the prior is one of means."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training_data import TINY, cache, quick

from mrcascade.arrays.factors import MOST_RATIO
from mrcascade.operators import SeparableOperator, down_matrix, up_matrix
from mrcascade.operators.profile import SliceProfile
from mrcascade.prior.cascade import CascadePrior
from mrcascade.sampling import Recipe, plan_cascade
from mrcascade.sampling.level import LevelProblem, condition_error
from mrcascade.sampling.mean import cascade_mean
from mrcascade.sampling.noise import NoiseSource
from mrcascade.training.config import TrainConfig
from mrcascade.training.log import log_file, read_log
from mrcascade.training.measurements import SLICE_FACTORS, SLICE_PROFILES, Measurements
from mrcascade.training.run import train_cascade

SIDE, STD = 64, 0.1
CONFIG = TrainConfig(network="tiny-slices")
STEP = CONFIG.step
LOW = torch.tensor(up_matrix("fourier", SIDE, SIDE // STEP), dtype=torch.float32) @ torch.tensor(
    down_matrix("fourier", SIDE, SIDE // STEP), dtype=torch.float32
)


@pytest.fixture(scope="module")
def measurements() -> Measurements:
    return Measurements(1, SIDE, CONFIG)


def test_slices_lie_along_rows_and_reach_the_largest_ratio(measurements: Measurements) -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = measurements.draw(4000, generator)
    assert not drawn.cols.any()
    first = len(measurements.axes) - len(SLICE_FACTORS) * len(SLICE_PROFILES)
    assert sorted(set(drawn.rows.tolist())) == list(range(first, len(measurements.axes)))
    assert max(SLICE_FACTORS) == MOST_RATIO == max(CONFIG.factors)
    noisy = float((drawn.sigma > 0).float().mean())
    # Four standard deviations of a mean of 4000 coins.
    assert noisy == pytest.approx(CONFIG.measurement_noise_share, abs=4 * 0.5 / 4000**0.5)


@pytest.mark.parametrize(("profile", "thickness"), [("gaussian", 1.0), ("rect", 1.0)])
@pytest.mark.parametrize("factor", [2.5, 4, 8])
def test_conditions_are_those_of_a_sampler(
    measurements: Measurements, profile: str, thickness: float, factor: float
) -> None:
    """A patch that is the whole image: the same coarser image, band and numbers."""
    kinds = list(SLICE_PROFILES).index((profile, thickness))
    index = len(measurements.axes) - len(SLICE_FACTORS) * (len(SLICE_PROFILES) - kinds)
    index += list(SLICE_FACTORS).index(factor)
    image = torch.rand((2, 1, SIDE, SIDE), generator=torch.Generator().manual_seed(0))
    low = LOW @ image @ LOW.mT
    four = measurements.thick_slices(2)
    measured = replace(four, rows=torch.full((2,), index))
    coarse, channels, unknown = measurements.known(image, low, measured, STD, NoiseSource([0, 1]))

    rows = SliceProfile(profile).matrix(SIDE, round(SIDE / factor), thickness)
    operator = SeparableOperator(rows, np.eye(SIDE), "slices")
    mean = Recipe("mean", steps=None)
    plan = plan_cascade(
        "fourier", 2, operator, 0.0, mean, step=STEP, missing=lambda full, coarse: 0.0
    )
    y = operator(image)
    smallest = plan.pyramid.down(operator.pinv(y), 1)
    problem = LevelProblem.at(plan, plan.tasks[0], y, smallest)
    # float32, and singular values down to a tenth of the largest.
    torch.testing.assert_close(coarse, problem.context, atol=1e-4, rtol=0)
    known = plan.tasks[0].view.band(problem.context, y, STD)
    assert known is not None
    torch.testing.assert_close(channels[:, :1], known.band / STD, atol=2e-3, rtol=0)
    np.testing.assert_allclose(channels[0, 1:, 0, 0], known.numbers, atol=1e-4)
    band = torch.rand(image.shape, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(unknown(band), known.unknown(band), atol=2e-4, rtol=0)


def test_noise_is_that_of_the_slices(measurements: Measurements) -> None:
    """Noise of the coarser image and of the band together is that of y, brought back.

    Both come from the same y: ``c + V G (y - A c)`` at a tau near 0 is ``A^+ y``.
    """
    image = torch.zeros((400, 1, SIDE, SIDE))
    four = measurements.thick_slices(400)
    measured = replace(four, sigma=torch.full((400,), 0.01))
    coarse, channels, _ = measurements.known(image, image, measured, 1e3, NoiseSource(range(400)))
    band = channels[:, :1] * 1e3
    inverse = np.linalg.pinv(SliceProfile().matrix(SIDE, SIDE // 4))
    expected = 0.01**2 * (inverse**2).sum(1)  # of each row of the image
    found = (coarse + band).square().mean((0, 1, 3))
    # Means of 400 x 64 squares of normal numbers, which the columns share in no way.
    np.testing.assert_allclose(found, expected, rtol=6 * (2 / (400 * 64)) ** 0.5)


def test_training_gives_a_prior_of_means(tmp_path: Path) -> None:
    config = replace(TINY, network="tiny-slices", mean_images=None, patch=64, images=160)
    with quick():
        folder = train_cascade(cache(tmp_path / "images.hdf5"), tmp_path / "run", config)
    assert folder is not None
    (errors,) = {tuple(r["val_ema0.05"]) for r in read_log(log_file(tmp_path / "run", 1))}
    assert errors == ("mean_slices",)
    prior = CascadePrior.from_pretrained(folder)
    assert not prior.generative
    assert prior.maximum_factor == MOST_RATIO
    operator = SeparableOperator(SliceProfile().matrix(64, 16), np.eye(64), "slices")
    plan = plan_cascade(
        "fourier", 2, operator, 0.0, Recipe("mean", steps=None), step=STEP, missing=lambda a, b: 0.0
    )
    assert condition_error(prior, plan, 1) == 0.0
    y = operator(torch.rand(1, 1, 64, 64))
    found = cascade_mean(prior, plan, y).image
    torch.testing.assert_close(operator(found), y, atol=1e-5, rtol=0)
    assert float((found - operator.pinv(y)).abs().max()) > 1e-3  # it has learnt something
