"""DPS step by step against dense matrices, on a Gaussian prior whose denoiser is known."""

import itertools
import math

import numpy as np
import pytest
import torch
from gaussian_prior import GaussianLevel, dense, image_gaussian, shrinkage
from torch import Tensor

from mrcascade.errors import MRCascadeError
from mrcascade.operators import SeparableOperator
from mrcascade.samplers import NoiseSource, Progress, dps, karras_sigmas

SHAPE = (8, 8)
MEAN, COV = image_gaussian(SHAPE, 1)
LEVEL = GaussianLevel(SHAPE, MEAN, None, COV, 1.0)
OPERATOR = SeparableOperator.from_kernel("area", 2, SHAPE)
SIGMAS = karras_sigmas(7, 3.0, 0.05)


def images(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).multivariate_normal(MEAN, COV, size=count)


def run(start: np.ndarray, y: np.ndarray, seeds: list[int], scale: float, **more: object) -> Tensor:
    return dps(
        LEVEL.condition(None, 0.0).denoise,
        torch.tensor(start).reshape(-1, 1, *SHAPE),
        SIGMAS,
        OPERATOR,
        torch.tensor(y).reshape(-1, 1, 4, 4),
        scale=scale,
        noise=NoiseSource(seeds),
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


def test_callback_and_gradients_stay_inside() -> None:
    seen: list[Progress] = []
    start, y = images(1, 0), images(1, 1) @ dense(OPERATOR).T
    result = run(start, y, [0], 0.3, callback=seen.append)
    assert [(p.step, p.steps, p.sigma) for p in seen] == [(k, 7, s) for k, s in enumerate(SIGMAS)]
    assert torch.equal(seen[-1].denoised, result)
    assert not any(p.denoised.requires_grad for p in seen)


@pytest.mark.parametrize("scale", [-0.1, math.inf, math.nan])
def test_step_size_out_of_range(scale: float) -> None:
    with pytest.raises(MRCascadeError, match="step size"):
        run(images(1, 0), images(1, 1) @ dense(OPERATOR).T, [0], scale)
