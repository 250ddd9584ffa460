"""Two channels (real, imaginary) on circular complex Gaussian images.

The posterior of x ~ CN(0, C) given y = H x + n, each part of n of standard deviation s, has the
mean C H^T (H C H^T + 2 s^2 I)^-1 y. The images here have correlated parts: C is not real.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cascade_cases import Silence
from gaussian_prior import (
    Array,
    DenseLevel,
    GaussianLevel,
    GaussianPrior,
    circular,
    dense,
    dense_chain,
)
from torch import Tensor

from mrcascade.operators import KERNELS, SeparableOperator, downsampler
from mrcascade.operators.pyramid import LaplacianPyramid
from mrcascade.recipes.samplers.ancestral import Ancestral
from mrcascade.sampling import (
    CascadePlan,
    NoiseSource,
    Recipe,
    cascade_mean,
    cascade_sample,
    karras_sigmas,
    plan_cascade,
    run_chain,
    with_gradient,
)

SHAPE = (8, 8)
MEAN = Recipe("mean", steps=None)
SHORT = Recipe("short", steps=10, zeta=0.3)


def complex_covariance(seed: int = 2) -> Array:
    """Smooth, textured, not stationary, with a phase that runs along the rows."""
    rng = np.random.default_rng(seed)
    rows, cols = (a.ravel() for a in np.meshgrid(*map(np.arange, SHAPE), indexing="ij"))
    steps = rows[:, None] - rows
    squared = steps**2 + (cols[:, None] - cols) ** 2
    parts = rng.standard_normal((2, 64, 64))
    texture = (parts[0] + 1j * parts[1]) / np.sqrt(128)
    smooth = 0.06 * np.exp(-squared / 12 + 0.4j * steps)
    return smooth + 0.004 * texture @ texture.conj().T + 1e-4 * np.eye(64)


def stationary_covariance() -> Array:
    """Circulant, with a spectrum that is not symmetric: not at the frequencies that a coarser
    grid folds (1 and 2 cycles), so that its Fourier bands are independent."""
    fr, fc = np.meshgrid(*map(np.fft.fftfreq, SHAPE), indexing="ij")
    power = 0.002 / (0.01 + fr**2 + fc**2) * (1 + 0.8 * (8 * fr == 3) - 0.8 * (8 * fc == -3))
    units = np.eye(64).reshape(-1, *SHAPE)
    root = np.fft.ifft2(np.fft.fft2(units) * np.sqrt(power)).reshape(64, 64).T
    return root @ root.conj().T


def parts(x: Array, shape: tuple[int, int]) -> Tensor:
    """Complex (N, pixels) as (N, 2, H, W)."""
    return torch.tensor(np.stack([x.real, x.imag], 1)).reshape(-1, 2, *shape)


def setup(
    cov: Array, kernel: str, factor: int, sigma_y: float, levels: int, settings: Recipe
) -> tuple[GaussianPrior, CascadePlan, Tensor, Tensor]:
    """Prior, plan, two measurements and their posterior means."""
    operator = SeparableOperator.from_kernel(kernel, factor, SHAPE)
    h, rng = dense(operator), np.random.default_rng(3)
    white = rng.standard_normal((2, 2, 64))
    x = (white[0] + 1j * white[1]) / np.sqrt(2) @ np.linalg.cholesky(cov).T
    noise = rng.standard_normal((2, 2, len(h)))
    y = x @ h.T + sigma_y * (noise[0] + 1j * noise[1])
    gram = h @ cov @ h.T + 2 * sigma_y**2 * np.eye(len(h))
    expected = (cov @ h.T @ np.linalg.solve(gram, y.T)).T
    prior = GaussianPrior(np.zeros(128), circular(cov), LaplacianPyramid(kernel, SHAPE, levels))
    plan = plan_cascade(kernel, levels, operator, sigma_y, settings)
    return prior, plan, parts(y, operator.out_shape), parts(expected, SHAPE)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("factor", [2, 4])
def test_noise_free_mean_is_the_posterior_mean(kernel: str, factor: int) -> None:
    """As for one channel: two dense solutions of condition number up to 1e5."""
    prior, plan, y, expected = setup(complex_covariance(), kernel, factor, 0.0, 3, MEAN)
    result = cascade_mean(prior, plan, y)
    assert float((result.image - expected).abs().max()) < 1e-10
    assert float((plan.operator(result.image) - y).abs().max()) < 1e-12


@pytest.mark.parametrize("factor", [1, 2, 4])
@pytest.mark.parametrize("sigma_y", [0.02, 0.3])
def test_noisy_mean_is_the_posterior_mean_for_independent_bands(
    factor: int, sigma_y: float
) -> None:
    cov = stationary_covariance()
    assert np.abs(cov.imag).max() > 0.04 * cov.real.max()
    prior, plan, y, expected = setup(cov, "fourier", factor, sigma_y, 3, MEAN)
    assert float((cascade_mean(prior, plan, y).image - expected).abs().max()) < 1e-10


def expected_law(prior: GaussianPrior, plan: CascadePlan, y: Array) -> tuple[Array, Array]:
    """Mean and covariance of what DiffPIR on two levels draws for noisy 2x data."""
    sigma = plan.sigma_y
    coarse, fine = prior.levels[1], prior.levels[0]
    down = np.kron(np.eye(2), dense(downsampler("fourier", SHAPE, (4, 4))))
    keep = np.eye(128) - prior.ups[0] @ down
    problems = [
        DenseLevel(coarse, np.eye(len(y)), y, sigma, None),
        DenseLevel(fine, down, y, sigma, prior.ups[0], keep),
    ]
    mean, cov = np.zeros(0), np.zeros((0, 0))
    for problem, task in zip(problems, reversed(plan.tasks), strict=True):
        sigmas = karras_sigmas(task.steps, problem.level.sigma_max, problem.level.sigma_min)
        mean, cov = dense_chain(problem, sigmas, zeta=SHORT.zeta).given(mean, cov)
    return mean, cov


def test_samples_have_the_law_of_their_algorithm() -> None:
    """Mean as in test_sampling_cascade_law, covariance within five standard errors."""
    prior, plan, y, _ = setup(complex_covariance(), "fourier", 2, 0.05, 2, SHORT)
    mean, cov = expected_law(prior, plan, y[0].flatten().numpy())
    result = cascade_sample(prior, plan, y[:1], Silence([0]))
    assert np.abs(result.image.flatten().numpy() - mean).max() < 1e-9
    n = 500
    draws = cascade_sample(prior, plan, y[:1].expand(n, -1, -1, -1), NoiseSource(range(n)))
    x = draws.image.reshape(n, -1).numpy()
    variance = np.diag(cov)
    assert np.abs((x.mean(0) - mean) / np.sqrt(variance / n)).max() < 5
    z = (np.cov(x.T) - cov) / np.sqrt((np.outer(variance, variance) + cov**2) / n)
    assert np.abs(z).max() < 5


def test_a_global_phase_of_the_data_is_one_of_the_result() -> None:
    """The prior is circular: mean(exp(i a) y) = exp(i a) mean(y)."""
    prior, plan, y, _ = setup(complex_covariance(), "fourier", 4, 0.1, 3, MEAN)

    def turned(x: Tensor) -> Tensor:
        z = torch.complex(x[:, 0], x[:, 1]) * np.exp(0.7j)
        return torch.stack([z.real, z.imag], 1)

    first, second = (cascade_mean(prior, plan, v).image for v in (turned(y), y))
    assert float((first - turned(second)).abs().max()) < 1e-12  # dense products of order one


def test_dps_measures_the_distance_over_both_parts() -> None:
    """The parts one above the other are a real image of twice the rows, whose operator acts on
    each half; DPS on it is checked in test_sampling_dps."""
    cov = circular(complex_covariance())
    operator = SeparableOperator.from_kernel("area", 2, SHAPE)
    tall = SeparableOperator(np.kron(np.eye(2), operator.rows), operator.cols)
    rng = np.random.default_rng(0)
    x, start = rng.multivariate_normal(np.zeros(128), cov, size=2)
    sigmas = karras_sigmas(7, 3.0, 0.05)
    results = []
    for h, channels, shape in ((operator, 2, SHAPE), (tall, 1, (16, 8))):
        level = GaussianLevel(shape, np.zeros(128), None, cov, 1.0)
        image = torch.tensor(x).reshape(1, channels, *shape)
        begin = torch.tensor(start).reshape(1, channels, *shape)
        guided = with_gradient(level.condition(None, 0.0).denoise, h, h(image), 0.3)
        result = run_chain(guided, Ancestral(), begin, sigmas, NoiseSource([1]))
        results.append(result.flatten())
    # As in test_sampling_dps.
    assert float((results[0] - results[1]).abs().max()) < 1e-11
