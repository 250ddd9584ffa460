"""Images between the conditional mean and a sample, on Gaussian images."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from cascade_cases import CASES, SHAPE, SHORT, Case, label
from gaussian_prior import GaussianPrior, condition_on, dense, stationary_gaussian
from tests.quick import slow_but

from mrcascade.errors import MRCascadeError
from mrcascade.operators import KERNELS, SeparableOperator
from mrcascade.operators.pyramid import LaplacianPyramid
from mrcascade.sampling import (
    CascadeResult,
    NoiseSource,
    Recipe,
    cascade_mean,
    cascade_sample,
    keep_detail,
    plan_cascade,
    reconstruct,
)


@pytest.mark.parametrize("case", slow_but(CASES, *CASES[::5]), ids=label)
def test_both_ends(case: Case) -> None:
    """All detail is the sample itself, none the conditional mean: the mean plus bands times zero,
    and where data are exact a projection that moves it by rounding."""
    prior, plan, y = case.build()
    drawn = cascade_sample(prior, plan, y, NoiseSource([0]))
    whole = reconstruct(prior, plan, y, NoiseSource([0]))
    assert torch.equal(whole.image, drawn.image)
    assert whole.evaluations == drawn.evaluations
    none = replace(plan, settings=replace(case.settings, detail=0.0))
    result = reconstruct(prior, none, y, NoiseSource([0]))
    mean = cascade_mean(prior, none, y)
    assert not torch.allclose(mean.image, drawn.image)
    # Sums of a few dozen products of order one; area and gaussian kernels divide by singular
    # values down to 1e-2.
    assert float((result.image - mean.image).abs().max()) < 1e-12
    assert result.steps_nominal == drawn.steps_nominal


@pytest.mark.parametrize("project", [True, False])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("shares", [(0.9, 0.25), (1.0, 0.25)])
def test_bands_keep_their_shares(kernel: str, shares: tuple[float, float], project: bool) -> None:
    """Written out with dense matrices, the projection onto the data included.

    The same sums in another order, of matrices whose singular values reach down to 1e-2.
    """
    case = Case(kernel, 4, 0.0, settings=replace(SHORT, detail=shares, project=project))
    prior, plan, y = case.build()
    drawn = cascade_sample(prior, plan, y, NoiseSource([0]))
    result = keep_detail(prior, plan, y, drawn)
    mean = cascade_mean(prior, plan, y).image.flatten().numpy()
    half = (SHAPE[0] // 2, SHAPE[1] // 2)
    down1, down2 = (dense(SeparableOperator.from_kernel(kernel, 2, s)) for s in (SHAPE, half))
    up1, up2 = prior.ups
    e = drawn.image.flatten().numpy() - mean
    band1, band2 = e - up1 @ down1 @ e, down1 @ e - up2 @ down2 @ down1 @ e
    kept = shares[0] * band1 + shares[1] * (up1 @ (band2 + up2 @ down2 @ down1 @ e))
    h = dense(plan.operator)
    expected = mean + kept
    if project:
        expected = expected + np.linalg.pinv(h) @ (y.flatten().numpy() - h @ expected)
        assert float((plan.operator(result.image) - y).abs().max()) < 1e-12
    assert np.abs(result.image.flatten().numpy() - expected).max() < 1e-12
    means = 0 if kernel == "fourier" and shares[0] == 1 else 1  # of level 1
    assert result.evaluations == {1: 10 + means, 2: 11, 3: 0}


def test_a_level_that_keeps_all_detail_needs_no_mean() -> None:
    """With level 1 whole, its conditional mean is never asked for, and nothing else changes."""
    prior, plan, y = Case("fourier", 4, 0.0, settings=replace(SHORT, detail=(1.0, 0.25))).build()
    drawn = cascade_sample(prior, plan, y, NoiseSource([0]))
    result = keep_detail(prior, plan, y, drawn)
    assert result.evaluations == {1: 10, 2: 11, 3: 0}
    mean = cascade_mean(prior, plan, y)
    mixed = plan.pyramid.down(mean.image + 0.25 * (drawn.image - mean.image), 1)
    assert float((plan.pyramid.down(result.image, 1) - mixed).abs().max()) < 1e-12
    fine = drawn.image - plan.pyramid.up(plan.pyramid.down(drawn.image, 1), 1)
    kept = result.image - plan.pyramid.up(plan.pyramid.down(result.image, 1), 1)
    assert float((kept - fine).abs().max()) < 1e-12
    stopped = cascade_mean(prior, plan, y, finest=2)
    assert stopped.evaluations == {1: 0, 2: 1, 3: 0}
    coarse = plan.pyramid.up(plan.pyramid.down(mean.image, 1), 1)
    assert float((stopped.image - coarse).abs().max()) < 1e-12


def test_a_level_without_a_chain_has_no_detail_to_lose() -> None:
    """At 2x level 2 is the data, so that the draw comes back as it is."""
    prior, plan, y = Case("fourier", 2, 0.0, settings=replace(SHORT, detail=(1.0, 0.25))).build()
    drawn = cascade_sample(prior, plan, y, NoiseSource([0]))
    assert keep_detail(prior, plan, y, drawn) is drawn


@pytest.mark.parametrize("sigma_y", [0.0, 0.05])
@pytest.mark.parametrize("kernel", KERNELS)
def test_another_kind_of_operator(kernel: str, sigma_y: float) -> None:
    """A prior of the kernel ``fourier`` meets noise-free data of any kernel exactly."""
    operator = SeparableOperator.from_kernel(kernel, (4, 2), SHAPE)
    settings = replace(SHORT, detail=(0.9, 0.25))
    plan = plan_cascade("fourier", 3, operator, sigma_y, settings, missing=[0.0, 0.03, 0.06])
    prior, _, _ = Case("fourier", 4, 0.0).build()
    y = torch.rand(1, 1, *operator.out_shape, dtype=torch.float64)
    image = reconstruct(prior, plan, y, NoiseSource([0])).image
    assert bool(image.isfinite().all())
    if sigma_y == 0:
        assert float((operator(image) - y).abs().max()) < 1e-12


def test_error_of_exact_draws() -> None:
    """Stationary images have independent Fourier bands: with draws from the posterior itself the
    squared error of band i is that of the mean times 1 + detail_i^2."""
    n, shares = 4000, (0.8, 0.5)
    mean, cov = stationary_gaussian(SHAPE)
    prior = GaussianPrior(mean, cov, LaplacianPyramid("fourier", SHAPE, 3))
    operator = SeparableOperator.from_kernel("fourier", 4, SHAPE)
    rng = np.random.default_rng(1)
    truth = rng.multivariate_normal(mean, cov, size=n)
    y = truth @ dense(operator).T
    _, posterior = condition_on(mean, cov, dense(operator), y[0], 0.0)
    gain = np.linalg.solve(dense(operator) @ cov @ dense(operator).T, dense(operator) @ cov).T
    values, vectors = np.linalg.eigh(posterior)
    root = vectors * np.sqrt(np.maximum(values, 0))
    draws = y @ gain.T + rng.standard_normal((n, len(cov))) @ root.T

    plan = plan_cascade("fourier", 3, operator, 0.0, replace(SHORT, detail=shares))
    stack = torch.tensor(draws).reshape(n, 1, *SHAPE)
    low = torch.tensor(y).reshape(n, 1, *operator.out_shape)
    result = keep_detail(prior, plan, low, CascadeResult(stack, {1: 0, 2: 0, 3: 0}, 0))
    error = result.image - torch.tensor(truth).reshape(n, 1, *SHAPE)
    pyramid = plan.pyramid
    bands = pyramid.decompose(error)
    for level, share in enumerate(shares, start=1):
        flat = np.eye(len(cov)).reshape(-1, 1, *SHAPE)
        matrix = pyramid.decompose(torch.tensor(flat))[level - 1].flatten(1).numpy().T
        expected = (1 + share**2) * np.trace(matrix @ posterior @ matrix.T)
        squares = bands[level - 1].square().sum((1, 2, 3)).numpy()
        # Five standard errors of a mean of n independent squares.
        assert abs(squares.mean() - expected) < 5 * squares.std() / np.sqrt(n)
    assert float(bands[2].abs().max()) < 1e-12  # the data


@pytest.mark.parametrize("wrong", [-0.1, 1.1, [], [1.0, 2.0], (1.0, math.nan)])
def test_shares_out_of_range(wrong: object) -> None:
    with pytest.raises(MRCascadeError, match=r"settings 'short': detail must be in \[0, 1\]"):
        replace(SHORT, detail=wrong)


def test_shares_of_levels() -> None:
    settings = replace(SHORT, detail=[0.9, 0.4])
    assert settings.detail == (0.9, 0.4)
    assert [settings.detail_at(level) for level in (1, 2, 3)] == [0.9, 0.4, 0.4]
    assert not settings.full_detail
    assert SHORT.full_detail
    assert replace(SHORT, detail=(1, 1)).full_detail
    with pytest.raises(MRCascadeError, match="detail has no effect on sampler 'multigrid'"):
        Recipe("grids", sampler="multigrid", detail=0.5)
