"""DPM-Solver++ 2M against the exact solutions of what it solves, on Gaussian priors.

A Gaussian prior makes each eigenvector of its covariance a problem of its own: with variance c the
denoiser shrinks by c / (c + s^2), the ODE scales x - mean by sqrt((c + s'^2) / (c + s^2)), and the
SDE keeps the marginals N(mean, c + s^2).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from gaussian_prior import (
    Array,
    GaussianLevel,
    GaussianPrior,
    condition_on,
    dense,
    image_gaussian,
    shrinkage,
    stationary_gaussian,
)
from scipy.integrate import solve_ivp
from torch import Tensor

from mrcascade.operators import SeparableOperator
from mrcascade.recipes.recipe import Recipe
from mrcascade.recipes.samplers.diffpir import DiffPIR
from mrcascade.recipes.samplers.multistep import Multistep
from mrcascade.recipes.samplers.sampler import Sampler
from mrcascade.sampling import (
    NoiseSource,
    cascade_sample,
    karras_sigmas,
    plan_cascade,
    proximal_step,
    run_chain,
    unguided,
    with_data_step,
)
from mrcascade.sampling.guidance import GuidedDenoiser

SHAPE = (8, 8)
MEAN, COV = image_gaussian(SHAPE, 1)
LEVEL = GaussianLevel(SHAPE, MEAN, None, COV, 1.0)
DENOISE = LEVEL.condition(None, 0.0).denoise
START, END = 5.0, 0.02
INTERVALS = (32, 64, 128, 256)


class Columns(NoiseSource):
    """The columns of the identity for noise, as channels of one image: a deterministic sampler
    that is affine in its start then shows its matrix. With ``scale`` 0, its constant."""

    def __init__(self, scale: float) -> None:
        super().__init__([0])
        self._scale = scale

    def draws(self, count, shape, device="cpu", dtype=torch.float32) -> Iterator[Tensor]:  # type: ignore[no-untyped-def]
        size = shape[-2] * shape[-1]
        columns = torch.eye(size, dtype=dtype).reshape(1, size, *shape[-2:])
        padded = torch.zeros(tuple(shape), dtype=dtype)
        padded[:, :size] = self._scale * columns
        return (padded for _ in range(count))


def orders(error: Callable[[int], float]) -> list[float]:
    """log2 of the ratios of errors where steps are halved."""
    errors = [error(n) for n in INTERVALS]
    return [math.log2(a / b) for a, b in itertools.pairwise(errors)]


def start(seed: int = 0) -> Array:
    return MEAN + START * np.random.default_rng(seed).standard_normal(64)


def run(sampler: Sampler, intervals: int, guided: GuidedDenoiser | None = None) -> Array:
    sigmas = karras_sigmas(intervals + 1, START, END)
    x = torch.tensor(start()).reshape(1, 1, *SHAPE)
    guided = unguided(DENOISE) if guided is None else guided
    return run_chain(guided, sampler, x, sigmas, NoiseSource([0])).numpy().ravel()


def ode_solution() -> Array:
    """The ODE from START to END in closed form, then the denoiser."""
    values, vectors = np.linalg.eigh(COV)
    scale = np.sqrt((values + END**2) / (values + START**2)) * values / (values + END**2)
    return MEAN + vectors @ (scale * (vectors.T @ (start() - MEAN)))


@pytest.mark.parametrize(("sampler", "order"), [(Multistep(0.0), 2), (DiffPIR(0.0), 1)])
def test_order_of_convergence_to_the_ode(sampler: Sampler, order: int) -> None:
    """DDIM, which is DiffPIR without data and fresh noise, is of first order: the test can fail."""
    exact = ode_solution()
    found = orders(lambda n: float(np.linalg.norm(run(sampler, n) - exact)))
    assert found[-1] == pytest.approx(order, abs=0.1)


def test_second_order_with_a_proximal_step() -> None:
    """Noisy data: the guided ODE dx / d ln s = x - prox(D(x, s)), solved with scipy."""
    operator, sigma_y = SeparableOperator.from_kernel("fourier", 2, SHAPE), 0.1
    h = dense(operator)
    y = h @ np.random.default_rng(2).multivariate_normal(MEAN, COV)

    def guided(x: Array, s: float) -> Array:
        clean, tau = MEAN + shrinkage(COV, s) @ (x - MEAN), (sigma_y / s) ** 2
        return np.linalg.solve(h.T @ h + tau * np.eye(64), h.T @ y + tau * clean)

    def velocity(log_s: float, x: Array) -> Array:
        return x - guided(x, math.exp(log_s))

    span = (math.log(START), math.log(END))
    solved = solve_ivp(velocity, span, start(), method="DOP853", rtol=1e-11, atol=1e-12)
    exact = MEAN + shrinkage(COV, END) @ (solved.y[:, -1] - MEAN)
    step = proximal_step(operator, torch.tensor(y).reshape(1, 1, 4, 4), sigma_y)
    guide = with_data_step(DENOISE, step)
    found = orders(lambda n: float(np.linalg.norm(run(Multistep(0.0), n, guide) - exact)))
    assert found[-1] == pytest.approx(2, abs=0.1)


def test_projected_estimates_draw_from_the_posterior() -> None:
    """Noise-free data of a prior whose measured and other parts are independent.

    The projected estimate is then the posterior's denoiser: the mean is exact for any T, and the
    covariance converges with second order to that of the ODE, which begins at noise of START^2
    instead of c + START^2 and ends at END. Both leave a share of c / START^2 or END^2 / c.
    """
    mean, cov = stationary_gaussian(SHAPE)
    operator = SeparableOperator.from_kernel("fourier", 2, SHAPE)
    flat = dense(operator) @ np.random.default_rng(3).multivariate_normal(mean, cov)
    y = torch.tensor(flat).reshape(1, 1, *operator.out_shape).expand(1, 64, 4, 4)
    exact_mean, posterior = condition_on(mean, cov, dense(operator), flat, 0.0)
    values, vectors = np.linalg.eigh(posterior)
    values = values.clip(0)
    share = START**2 / (values + START**2) * values / (values + END**2)
    of_ode = (vectors * (values * share)) @ vectors.T

    def law(intervals: int) -> tuple[Array, Array]:
        recipe = Recipe(
            "x",
            sampler="multistep",
            eta=0.0,
            guidance="projection",
            steps=intervals + 1,
            sigma_start=(START,),
            sigma_min=(END,),
        )
        plan = plan_cascade("fourier", 1, operator, 0.0, recipe)
        prior = GaussianPrior(mean, cov, plan.pyramid)
        prior.levels[0].std = 1.0  # noise levels in units of the image
        constant, both = (
            cascade_sample(prior, plan, y, Columns(scale)).image.reshape(64, 64).numpy()
            for scale in (0.0, 1.0)
        )
        matrix = (both - constant).T
        return constant[0], matrix @ matrix.T

    # Pseudo-inverse and products of values of order one.
    assert np.abs(law(8)[0] - exact_mean).max() < 1e-12
    found = orders(lambda n: float(np.linalg.norm(law(n)[1] - of_ode)))
    assert found[-1] == pytest.approx(2, abs=0.1)
    rest = values[values > 1e-9]
    lost = max((rest / START**2).max(), (END**2 / rest).max())
    assert np.linalg.norm(of_ode - posterior, 2) <= 2 * lost * values.max()
    assert lost < 0.2


def scalar_law(c: Array, sigmas: tuple[float, ...], eta: float) -> Array:
    """Exact variance of the result for prior variances c, mean 0 and a start of variance s_0^2.

    Written as a recursion of (x, x0 of the step before), whose covariance is 2 x 2: with
    k = (s' / s)^(1 + eta), g = c / (c + s^2) and q = h / (2 h_before), the next x is
    (k + (1 - k) (1 + q) g) x - (1 - k) q x0_before + noise.
    """
    state = np.zeros((len(c), 2, 2))
    state[:, 0, 0] = sigmas[0] ** 2
    h_before = math.inf
    for s, following in itertools.pairwise(sigmas):
        h, g = math.log(s / following), c / (c + s**2)
        k, q = math.exp(-(1 + eta) * h), h / (2 * h_before)
        step = np.zeros((len(c), 2, 2))
        step[:, 0, 0] = k + (1 - k) * (1 + q) * g
        step[:, 0, 1] = -(1 - k) * q
        step[:, 1, 0] = g
        state = step @ state @ step.transpose(0, 2, 1)
        state[:, 0, 0] += following**2 * (1 - math.exp(-2 * eta * h))
        h_before = h
    return (c / (c + sigmas[-1] ** 2)) ** 2 * state[:, 0, 0]


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_variance_of_many_samples(eta: float) -> None:
    """Within five standard errors of the exact recursion, whose own error falls with the steps.

    A variance of n normal samples has a relative standard error of sqrt(2 / n). The start lacks
    the prior's variance, of which the ODE keeps c / (c + START^2) and the SDE the square of that.
    """
    n, sigmas = 4000, karras_sigmas(25, START, END)
    values, vectors = np.linalg.eigh(COV)
    x = START * NoiseSource([1]).randn((1, n, *SHAPE), dtype=torch.float64)
    x = x + torch.tensor(MEAN).reshape(SHAPE)
    result = run_chain(unguided(DENOISE), Multistep(eta), x, sigmas, NoiseSource([2]))
    parts = (result.reshape(n, 64).numpy() - MEAN) @ vectors
    expected = scalar_law(values, sigmas, eta)
    assert np.abs(parts.var(0, ddof=1) / expected - 1).max() < 5 * math.sqrt(2 / n)
    assert np.abs(parts.mean(0) / np.sqrt(expected / n)).max() < 5

    keep = (values + END**2) / (values + START**2)
    lacking = values * keep ** (1 + eta) if eta in (0.0, 1.0) else 0.0
    exact = (values / (values + END**2)) ** 2 * (values + END**2 - lacking)
    if eta not in (0.0, 1.0):
        exact = scalar_law(values, karras_sigmas(20000, START, END), eta)
    errors = [
        np.abs(scalar_law(values, karras_sigmas(m + 1, START, END), eta) / exact - 1).max()
        for m in (400, 800)
    ]
    assert errors[1] < 0.6 * errors[0]  # of first order at least
    assert errors[1] < 0.02


def test_one_step_is_the_denoiser() -> None:
    x = torch.tensor(start()).reshape(1, 1, *SHAPE)
    for eta in (0.0, 1.0):
        result = run_chain(unguided(DENOISE), Multistep(eta), x, (START,), NoiseSource([0]))
        assert torch.equal(result, DENOISE(x, START))


def test_steps_are_those_of_the_paper() -> None:
    """Algorithm 2 and equation 18 of Lu et al. 2022 with alpha = 1 and lambda = -ln s, written out
    with the paper's r = h_before / h; each chain begins anew."""
    sigmas = (3.0, 1.0, 0.4, 0.1)
    for eta, chains in itertools.product((0.0, 1.0), range(2)):
        draws = NoiseSource([4 + chains])
        x = start(chains)
        image = torch.tensor(x).reshape(1, 1, *SHAPE)
        result = run_chain(
            unguided(DENOISE), Multistep(eta), image, sigmas, NoiseSource([4 + chains])
        )
        data: list[Array] = []
        for s, t in itertools.pairwise(sigmas):
            data.append(MEAN + shrinkage(COV, s) @ (x - MEAN))
            h, d = math.log(s / t), data[-1]
            if len(data) > 1:
                r = math.log(sigmas[len(data) - 2] / s) / h
                d = (1 + 1 / (2 * r)) * data[-1] - 1 / (2 * r) * data[-2]
            if eta == 0:
                x = t / s * x - math.expm1(-h) * d
            else:
                z = draws.randn((1, 1, *SHAPE)).double().numpy().ravel()
                x = t / s * math.exp(-h) * x - math.expm1(-2 * h) * d
                x = x + t * math.sqrt(-math.expm1(-2 * h)) * z
        expected = MEAN + shrinkage(COV, sigmas[-1]) @ (x - MEAN)
        assert (
            np.abs(result.numpy().ravel() - expected).max() < 1e-12
        )  # dense products of order one


def test_the_ode_draws_nothing() -> None:
    class Refusing(NoiseSource):
        def draws(self, count, shape, device="cpu", dtype=torch.float32):  # type: ignore[no-untyped-def]
            assert count == 0
            return iter(())

    x = torch.tensor(start()).reshape(1, 1, *SHAPE)
    run_chain(unguided(DENOISE), Multistep(0.0), x, (3.0, 1.0, 0.3), Refusing([0]))
