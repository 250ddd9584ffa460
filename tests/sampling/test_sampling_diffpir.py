"""DiffPIR against the exact affine recursion of its own algorithm, on a Gaussian prior.

On a Gaussian prior each step is affine, so the law of the result is Gaussian and known. It is *not*
the posterior: the early steps leave a bias of the mean. More fresh noise (``zeta``) reduces the
bias and shrinks the spread, as ``test_distance_to_the_posterior`` states.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from gaussian_prior import (
    DenseLevel,
    GaussianLevel,
    condition_on,
    dense,
    dense_chain,
    image_gaussian,
    shrinkage,
)
from torch import Tensor

from mrcascade.errors import MRCascadeError
from mrcascade.operators import IdentityOperator, SeparableOperator
from mrcascade.recipes.samplers.diffpir import DiffPIR
from mrcascade.sampling import (
    NoiseSource,
    Progress,
    karras_sigmas,
    proximal_step,
    run_chain,
    with_data_step,
)

SHAPE = (8, 8)
MEAN, COV = image_gaussian(SHAPE, 1)
STD = float(np.sqrt(np.trace(COV) / len(COV)))
LEVEL = GaussianLevel(SHAPE, MEAN, None, COV, STD)
OPERATOR = SeparableOperator.from_kernel("fourier", 2, SHAPE)


def measurement(sigma_y: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    x = rng.multivariate_normal(MEAN, COV)
    return dense(OPERATOR) @ x + sigma_y * rng.standard_normal(16)


def run(
    start: Tensor, sigma_y: float, sigmas: tuple[float, ...], zeta: float, lam: float, seed: int = 0
) -> Tensor:
    y = torch.tensor(measurement(sigma_y)).reshape(1, 1, 4, 4)
    step = proximal_step(OPERATOR, y, sigma_y, lam)
    denoise = with_data_step(LEVEL.condition(None, 0.0).denoise, step)
    return run_chain(denoise, DiffPIR(zeta), start, sigmas, NoiseSource([seed]))


@pytest.mark.parametrize("sigma_y", [0.0, 0.05])
@pytest.mark.parametrize("lam", [1.0, 4.0])
def test_deterministic_chain(sigma_y: float, lam: float) -> None:
    sigmas = karras_sigmas(15, 5.0, 0.01)
    start = torch.randn(1, 1, *SHAPE, dtype=torch.float64, generator=torch.Generator())
    problem = DenseLevel(LEVEL, dense(OPERATOR), measurement(sigma_y), sigma_y, None)
    # The recursion's constant is its result for this start where no noise is added. The plain
    # chain does not end with the projection that the recursion adds for exact data.
    law = dense_chain(problem, sigmas, zeta=0.0, lam=lam, start=start.numpy().ravel())
    result = run(start, sigma_y, sigmas, 0.0, lam)
    if sigma_y == 0:
        result = OPERATOR.project(result, torch.tensor(problem.target).reshape(1, 1, 4, 4))
    # Normal equations with tau down to (0.05/5)^2 lose 4 of 16 digits.
    assert np.abs(result.numpy().ravel() - law.constant).max() < 1e-10


def test_chain_with_known_noise_step_by_step() -> None:
    """The update formula itself, with the draws of the same seed."""
    sigmas, zeta, sigma_y = karras_sigmas(6, 3.0, 0.05), 0.3, 0.05
    draws, h, y = NoiseSource([0]), dense(OPERATOR), measurement(sigma_y)
    x = MEAN + 3.0 * np.random.default_rng(1).standard_normal(64)
    result = run(torch.tensor(x).reshape(1, 1, *SHAPE), sigma_y, sigmas, zeta, 1.0)
    for s, following in itertools.pairwise(sigmas):
        x0 = MEAN + shrinkage(COV, s) @ (x - MEAN)
        tau = (sigma_y / s) ** 2
        x0 = np.linalg.solve(h.T @ h + tau * np.eye(64), h.T @ y + tau * x0)
        eps = draws.randn((1, 1, *SHAPE)).double().numpy().ravel()
        x = x0 + following * (np.sqrt(1 - zeta) * (x - x0) / s + np.sqrt(zeta) * eps)
    expected = MEAN + shrinkage(COV, sigmas[-1]) @ (x - MEAN)
    assert np.abs(result.numpy().ravel() - expected).max() < 1e-10


@pytest.mark.parametrize("zeta", [0.1, 1.0])
def test_law_of_many_samples(zeta: float) -> None:
    """Empirical mean and covariance within five standard errors of the exact recursion.

    With n samples a mean has standard error sqrt(S_ii / n) and a covariance
    sqrt((S_ii S_jj + S_ij^2) / n). 64 + 2080 values exceed five of them by chance in one run of
    a thousand; the seeds are fixed.
    """
    n, sigma_y, sigmas = 2000, 0.1, karras_sigmas(20, 80 * STD, 0.002 * STD)
    # Samples are channels of one image: one generator serves them all.
    start = sigmas[0] * NoiseSource([1]).randn((1, n, *SHAPE), dtype=torch.float64)
    samples = run(start + torch.tensor(MEAN).reshape(SHAPE), sigma_y, sigmas, zeta, 1.0)
    x = samples.reshape(n, -1).numpy()
    h, y = dense(OPERATOR), measurement(sigma_y)
    law = dense_chain(DenseLevel(LEVEL, h, y, sigma_y, None), sigmas, zeta=zeta, start=MEAN)
    variance = np.diag(law.cov)
    z_mean = (x.mean(0) - law.constant) / np.sqrt(variance / n)
    assert np.abs(z_mean).max() < 5
    z_cov = (np.cov(x.T) - law.cov) / np.sqrt((np.outer(variance, variance) + law.cov**2) / n)
    assert np.abs(z_cov).max() < 5
    # The same bounds tell the posterior apart: the test can fail.
    mean, _ = condition_on(MEAN, COV, h, y, sigma_y)
    assert np.abs((x.mean(0) - mean) / np.sqrt(variance / n)).max() > 5


@pytest.mark.parametrize(
    ("steps", "zeta", "bias", "spread"),
    [
        (20, 0.0, 0.30, 0.86),
        (20, 0.1, 0.29, 0.85),
        (20, 0.3, 0.25, 0.83),
        (20, 1.0, 0.12, 0.61),
        (200, 0.0, 0.28, 0.99),
        (200, 0.1, 0.15, 0.97),
        (200, 0.3, 0.07, 0.94),
        (200, 1.0, 0.01, 0.69),
        (1000, 0.1, 0.05, 0.98),
        (1000, 0.3, 0.02, 0.95),
    ],
)
def test_distance_to_the_posterior(steps: int, zeta: float, bias: float, spread: float) -> None:
    """Bias of the mean and spread against the posterior, in closed form, to two digits.

    The images are 8 x 8, at 2x with noise 0.1. The bias is the root mean square over pixels and
    measurements, in posterior standard deviations; the spread is a share of the posterior's.

    With no band structure (up = 0) the recursion's coarser image g is free to stand for y, which
    gives the result as a function of y and the bias averaged over all measurements.
    """
    sigma_y, h = 0.1, dense(OPERATOR)
    sigmas = karras_sigmas(steps, 80 * STD, 0.002 * STD)
    any_y = DenseLevel(LEVEL, h, None, sigma_y, np.zeros((64, 16)))
    law = dense_chain(any_y, sigmas, zeta=zeta, start=MEAN)
    _, cov = condition_on(MEAN, COV, h, h @ MEAN, sigma_y)
    y_cov = h @ COV @ h.T + sigma_y**2 * np.eye(16)
    gain = np.linalg.solve(y_cov, h @ COV).T
    error = law.slope - gain
    mean_error = law.constant + law.slope @ h @ MEAN - MEAN
    squared = mean_error**2 + np.diag(error @ y_cov @ error.T)
    measured = math.sqrt(float(np.mean(squared / np.diag(cov))))
    assert measured == pytest.approx(bias, abs=0.0051)
    share = math.sqrt(float(np.trace(law.cov) / np.trace(cov)))
    assert share == pytest.approx(spread, abs=0.0051)


def test_noise_free_data_give_the_exact_projection() -> None:
    y = torch.tensor(measurement(0.0)).reshape(1, 1, 4, 4)
    x0 = torch.ones(1, 1, *SHAPE, dtype=torch.float64)
    step = proximal_step(OPERATOR, y, 0.0)
    for sigma in (80.0, 1e-3):
        moved = step(x0, sigma)
        assert torch.equal(moved, OPERATOR.project(x0, y))
        assert float((OPERATOR(moved) - y).abs().max()) < 1e-13  # values of order 1, 64 terms


def test_tau_in_consistent_units() -> None:
    """On H = I the step is the weighted mean (y + tau x0) / (1 + tau)."""
    x0, y = torch.zeros(1, 1, 2, 2, dtype=torch.float64), torch.ones(1, 1, 2, 2).double()
    identity = IdentityOperator((2, 2))
    # lam = 4, sigma_y = 0.1, sigma = 0.4: tau = 1/4
    halfway = proximal_step(identity, y, 0.1, lam=4.0)(x0, 0.4)
    assert torch.allclose(halfway, 0.8 * y, rtol=0, atol=1e-15)
    floored = proximal_step(identity, y, 0.0, lam=1.0, floor=0.1)(x0, 0.1)
    assert torch.allclose(floored, 0.5 * y, rtol=0, atol=1e-15)
    unfloored = proximal_step(identity, y, 0.2, lam=1.0, floor=0.1)(x0, 0.2)
    assert torch.allclose(unfloored, 0.5 * y, rtol=0, atol=1e-15)


def test_last_step_is_the_denoiser_alone() -> None:
    """No data step and no noise at the last index: one step is one evaluation, nothing else."""
    x = torch.randn(2, 1, *SHAPE, generator=torch.Generator(), dtype=torch.float64)

    def refuse(x0: Tensor, sigma: float) -> Tensor:
        raise AssertionError("data step at the last index")

    denoise = with_data_step(lambda x, s: 2 * x, refuse)
    result = run_chain(denoise, DiffPIR(1.0), x, (1.0,), NoiseSource([0, 1]))
    assert torch.equal(result, 2 * x)


def test_callback_sees_every_step_after_its_data_step() -> None:
    seen: list[Progress] = []
    sigmas = karras_sigmas(4, 2.0, 0.1)
    result = run_chain(
        with_data_step(lambda x, s: torch.zeros_like(x), lambda x0, s: x0 + s),
        DiffPIR(0.5),
        torch.ones(1, 1, 2, 2),
        sigmas,
        NoiseSource([0]),
        callback=seen.append,
        level=3,
    )
    assert [(p.level, p.step, p.steps, p.sigma) for p in seen] == [
        (3, k, 4, sigma) for k, sigma in enumerate(sigmas)
    ]
    for progress in seen[:-1]:
        assert torch.equal(progress.denoised, torch.full((1, 1, 2, 2), progress.sigma))
    assert torch.equal(seen[-1].denoised, result)


def test_inputs_are_left_alone_and_calls_do_not_depend_on_each_other() -> None:
    start = torch.randn(1, 1, *SHAPE, generator=torch.Generator(), dtype=torch.float64)
    copy = start.clone()
    sigmas = karras_sigmas(5, 1.0, 0.01)
    first = run(start, 0.05, sigmas, 0.3, 1.0)
    run(start, 0.0, karras_sigmas(3, 7.0, 0.5), 1.0, 2.0, seed=4)
    assert torch.equal(run(start, 0.05, sigmas, 0.3, 1.0), first)
    assert torch.equal(start, copy)


@pytest.mark.parametrize("zeta", [-0.1, 1.1, float("nan")])
def test_zeta_out_of_range(zeta: float) -> None:
    with pytest.raises(MRCascadeError, match="zeta"):
        run(torch.zeros(1, 1, *SHAPE).double(), 0.0, (1.0, 0.5), zeta, 1.0)


@pytest.mark.parametrize("sigmas", [(), (1.0, 1.0), (0.5, 1.0), (1.0, 0.0), (float("nan"), 0.1)])
def test_bad_noise_levels(sigmas: tuple[float, ...]) -> None:
    with pytest.raises(MRCascadeError, match="noise levels"):
        run(torch.zeros(1, 1, *SHAPE).double(), 0.0, sigmas, 0.3, 1.0)


@pytest.mark.parametrize(("sigma_y", "lam", "floor"), [(-1, 1, 0), (0, 0, 0), (0, 1, -1)])
def test_bad_data_steps(sigma_y: float, lam: float, floor: float) -> None:
    with pytest.raises(MRCascadeError, match="data step"):
        proximal_step(OPERATOR, torch.zeros(1, 1, 4, 4), sigma_y, lam, floor)
