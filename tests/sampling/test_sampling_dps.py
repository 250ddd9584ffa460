"""DPS step by step against dense matrices, on a Gaussian prior whose denoiser is known."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from cascade_cases import SHORT, Case
from gaussian_prior import GaussianLevel, condition_on, dense, image_gaussian, shrinkage
from torch import Tensor

from mrcascade.errors import MRCascadeError
from mrcascade.operators import SeparableOperator
from mrcascade.recipes.guidance import Gradient
from mrcascade.recipes.samplers.ancestral import Ancestral
from mrcascade.sampling import (
    NoiseSource,
    Progress,
    cascade_sample,
    karras_sigmas,
    run_chain,
    with_gradient,
)

SHAPE = (8, 8)
MEAN, COV = image_gaussian(SHAPE, 1)
LEVEL = GaussianLevel(SHAPE, MEAN, None, COV, 1.0)
OPERATOR = SeparableOperator.from_kernel("area", 2, SHAPE)
SIGMAS = karras_sigmas(7, 3.0, 0.05)


def images(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).multivariate_normal(MEAN, COV, size=count)


def run(start: np.ndarray, y: np.ndarray, seeds: list[int], scale: float, **more: object) -> Tensor:
    denoise = LEVEL.condition(None, 0.0).denoise
    return run_chain(
        with_gradient(denoise, OPERATOR, torch.tensor(y).reshape(-1, 1, 4, 4), scale),
        Ancestral(),
        torch.tensor(start).reshape(-1, 1, *SHAPE),
        SIGMAS,
        NoiseSource(seeds),
        **more,  # type: ignore[arg-type]
    )


def recursion(start: np.ndarray, y: np.ndarray, seed: int, scale: float) -> np.ndarray:
    """In the original's variables: images on [-1, 1], z = x / sqrt(1 + s^2), abar = 1 / (1 + s^2),
    and the ancestral step of DDPM written with alpha and beta (Ho et al. 2020, eq. 7)."""
    h, draws = dense(OPERATOR), NoiseSource([seed])
    x, target, mean = 2 * start, 2 * y, 2 * MEAN
    for s, following in itertools.pairwise(2 * np.array(SIGMAS)):
        before, after = 1 / (1 + s**2), 1 / (1 + following**2)  # abar_t, abar_(t-1)
        alpha = before / after
        z = math.sqrt(before) * x
        gain = shrinkage(4 * COV, s)
        x0 = mean + gain @ (x - mean)
        error = h @ x0 - target
        gradient = gain.T @ h.T @ error / np.linalg.norm(error) / math.sqrt(before)
        eps = draws.randn((1, 1, *SHAPE)).double().numpy().ravel()
        z = (
            math.sqrt(after) * (1 - alpha) / (1 - before) * x0
            + math.sqrt(alpha) * (1 - after) / (1 - before) * z
            + math.sqrt((1 - after) / (1 - before) * (1 - alpha)) * eps
            - scale * gradient
        )
        x = z / math.sqrt(after)
    return (mean + shrinkage(4 * COV, 2 * SIGMAS[-1]) @ (x - mean)) / 2


@pytest.mark.parametrize("scale", [0.0, 0.3, 2.0])
def test_chain_is_that_of_the_original_variables(scale: float) -> None:
    start, y = images(2, 0), images(2, 1) @ dense(OPERATOR).T
    result = run(start, y, [3, 4], scale).numpy().reshape(2, -1)
    # Each image by itself: its own norm and its own noise.
    expected = [recursion(*pair, scale) for pair in zip(start, y, [3, 4], strict=True)]
    # A dozen products of 64 terms of order one per step, divided by norms above 0.01.
    assert np.abs(result - expected).max() < 1e-11


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scale", "bias", "spread"), [(1.0, 0.12, 0.94), (4.0, 0.17, 0.94), (16.0, 0.17, 0.94)]
)
def test_distance_to_the_posterior(scale: float, bias: float, spread: float) -> None:
    """Finding, for T = 200 and noise-free 2x data that the result is projected onto: rms bias over
    pixels in posterior standard deviations, spread as a share of the posterior's. The norm in its
    gradient makes DPS no affine recursion, so that its law is known from draws alone."""
    n = 4000
    settings = replace(SHORT, steps=200, sampler="dps", step_size=scale)
    prior, plan, y = Case("fourier", 2, 0.0, levels=1, settings=settings).build()
    measured = y.expand(n, *y.shape[1:])
    x = cascade_sample(prior, plan, measured, NoiseSource(range(n))).image.reshape(n, -1).numpy()
    flat = y.flatten().numpy()
    mean, cov = condition_on(prior.mean, prior.cov, dense(plan.operator), flat, 0.0)
    distance = np.sqrt(np.mean((x.mean(0) - mean) ** 2 / np.diag(cov)))
    # The mean of n draws is off by 1 / sqrt(n) deviations rms; twice that, and two digits.
    assert distance == pytest.approx(bias, abs=2 / np.sqrt(n) + 0.005)
    # A variance summed over k independent directions is known to sqrt(2 / (n k)), its root to half.
    directions = np.trace(cov) ** 2 / np.trace(cov @ cov)
    error = 5 * spread / np.sqrt(2 * n * directions) + 0.005
    assert np.sqrt(np.trace(np.cov(x.T)) / np.trace(cov)) == pytest.approx(spread, abs=error)


def test_callback_and_gradients_stay_inside() -> None:
    seen: list[Progress] = []
    start, y = images(1, 0), images(1, 1) @ dense(OPERATOR).T
    result = run(start, y, [0], 0.3, callback=seen.append)
    assert [(p.step, p.steps, p.sigma) for p in seen] == [(k, 7, s) for k, s in enumerate(SIGMAS)]
    assert torch.equal(seen[-1].denoised, result)
    assert not any(p.denoised.requires_grad for p in seen)


@pytest.mark.parametrize("scale", [-0.1, math.inf, math.nan])
def test_step_size_out_of_range(scale: float) -> None:
    with pytest.raises(MRCascadeError, match="step_size must be >= 0"):
        Gradient(scale)
