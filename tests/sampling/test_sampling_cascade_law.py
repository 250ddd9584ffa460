"""The cascade against the exact law of its own algorithm on Gaussian images.

Every step of every level is affine on a Gaussian prior, so mean and covariance of the result are
known. ``expected_law`` computes them with dense matrices from the method's description, not from
the plan.
"""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from cascade_cases import (
    CASES,
    OTHER_OPERATORS,
    SHAPE,
    SHORT,
    Case,
    Silence,
    label,
    law_of_samples,
    prior_and_measurement,
)
from gaussian_prior import (
    Array,
    DenseLevel,
    GaussianPrior,
    condition_on,
    dense,
    dense_chain,
    dense_reverse_diffusion,
)
from tests.quick import slow

from mrcascade.operators import (
    IdentityOperator,
    downsampler,
)
from mrcascade.sampling import (
    CascadePlan,
    NoiseSource,
    Recipe,
    cascade_sample,
    karras_sigmas,
    plan_cascade,
)

FROM_DATA = [
    Case(kernel, factor, sigma_y, settings=replace(SHORT, start_at_data=True, zeta=zeta))
    for kernel, factor, sigma_y, zeta in (
        ("fourier", 4, 0.05, 0.3),
        ("fourier", 2, 0.05, 0.3),
        ("fourier", 2, 0.05, 0.0),
        ("area", 2, 0.05, 1.0),
        ("fourier", 4, 0.0019, 0.3),  # less noise than the denoiser knows
    )
]
ENDS = replace(SHORT, start_at_data=True, sigma_min=(0.05, 0.02, 0.01))
FROM_DATA.append(Case("fourier", 2, 0.05, settings=ENDS))
# As `mr-small` has it but for orientations, which a prior without symmetry has none of.
SHIPPED = replace(
    SHORT, zeta=0.2, sigma_start=(5.0, 5.0, 20.0), start_at_mean=True, rho=(2.0, 2.0, 7.0)
)
FROM_MEAN = [
    Case("fourier", 4, 0.0, settings=SHIPPED),
    Case("fourier", 2, 0.0, settings=SHIPPED),
    Case("fourier", 4, 0.05, settings=replace(SHIPPED, start_at_data=True)),
    Case("area", 4, 0.05, settings=replace(SHIPPED, start_at_data=True)),
    Case("fourier", 4, 0.0, settings=replace(SHIPPED, step_shares=(0.5, 1.5, 1.0))),
    Case("fourier", 2, 0.05, settings=replace(SHIPPED, start_at_data=True, observed_zeta=1.0)),
]


def dense_levels(case: Case, prior: GaussianPrior, y: Array) -> list[DenseLevel]:
    """The levels' problems by the method's description, finest first."""
    shapes = [level.shape for level in prior.levels]
    grid = case.factor.bit_length()  # factor 2^k: y lies on the grid of level k + 1
    problems = []
    for i, level in enumerate(prior.levels, start=1):
        up = prior.ups[i - 1] if i < case.levels else None
        keep = None
        if up is not None and case.kernel == "fourier":
            down = dense(downsampler(case.kernel, shapes[i - 1], shapes[i]))
            keep = np.eye(len(up)) - up @ down
        target: Array | None = y
        if i >= grid:
            reduce = np.eye(len(y))
            for fine, coarse in pairwise(shapes[grid - 1 : i]):
                reduce = dense(downsampler(case.kernel, fine, coarse)) @ reduce
            sigma = case.sigma_y * np.sqrt(np.mean(np.sum(reduce**2, axis=1)))
            h, target = np.eye(len(reduce)), reduce @ y
        elif case.settings.consistency == "cascade" and i < case.levels:
            h, target, sigma = dense(downsampler(case.kernel, shapes[i - 1], shapes[i])), None, 0.0
        else:
            h = np.eye(shapes[i - 1][0] * shapes[i - 1][1])
            for k in range(grid - i):
                rows, cols = shapes[i - 1][0] // 2**k, shapes[i - 1][1] // 2**k
                h = dense(downsampler(case.kernel, (rows, cols), (rows // 2, cols // 2))) @ h
            sigma = case.sigma_y
        problems.append(DenseLevel(level, h, target, sigma, up, keep))
    return problems


def expected_law(case: Case, prior: GaussianPrior, plan: CascadePlan, y: Array) -> tuple:
    """Mean and covariance of the sampled image."""
    mean, cov = np.zeros(0), np.zeros((0, 0))
    problems = dense_levels(case, prior, y)
    for task, problem in zip(reversed(plan.tasks), reversed(problems), strict=True):
        if not task.sampled:
            assert problem.target is not None
            mean, cov = problem.target, np.zeros((len(problem.target),) * 2)
            continue
        level, settings = problem.level, case.settings
        observed = task.level >= case.factor.bit_length()
        end = level.sigma_min
        if settings.sigma_min is not None:
            end = settings.sigma_min[task.level - 1] * level.std
        if settings.start_at_data and observed and problem.sigma > end:
            sigmas = karras_sigmas(task.steps, problem.sigma, end, rho(settings, task.level))
            fresh = settings.zeta if settings.observed_zeta is None else settings.observed_zeta
            law = dense_reverse_diffusion(problem, sigmas, zeta=fresh)
            mean, cov = law.given(mean, cov)
            continue
        begin = level.sigma_max
        if settings.sigma_start is not None:
            begin = settings.sigma_start[task.level - 1] * level.std
        sigmas = karras_sigmas(task.steps, begin, end, rho(settings, task.level))
        start = level.constant if problem.up is None else None
        at_mean = settings.start_at_mean
        law = dense_chain(problem, sigmas, zeta=settings.zeta, start=start, at_mean=at_mean)
        mean, cov = law.given(mean, cov)
    return mean, cov


def rho(settings: Recipe, level: int) -> float:
    return settings.rho[level - 1] if isinstance(settings.rho, tuple) else settings.rho


@pytest.mark.parametrize("case", CASES + FROM_DATA + FROM_MEAN, ids=label)
def test_mean_of_the_law(case: Case) -> None:
    """Without noise the sampler returns the mean of its law.

    tau goes down to (0.05 / 20)^2 = 6e-6; normal equations of that condition keep 1e-16 / 6e-6
    = 2e-11 of values of order one, and three levels pass their errors on.
    """
    prior, plan, y = case.build()
    result = cascade_sample(prior, plan, y, Silence([0]))
    mean, _ = expected_law(case, prior, plan, y.flatten().numpy())
    assert np.abs(result.image.flatten().numpy() - mean).max() < 1e-9
    expected = {task.level: task.steps if task.sampled else 0 for task in plan.tasks}
    assert result.evaluations == expected
    assert result.steps_nominal == 30


@pytest.mark.parametrize(
    "case",
    [CASES[2], Case("fourier", 2, 0.05), Case("area", 2, 0.05), FROM_DATA[1], *FROM_MEAN[::2]],
    ids=label,
)
def test_law_of_many_samples(case: Case) -> None:
    """Empirical mean and covariance within five standard errors; see test_sampling_diffpir."""
    n = 2000
    prior, plan, y = case.build(draws=n)
    x = cascade_sample(prior, plan, y, NoiseSource([0])).image.reshape(n, -1).numpy()
    mean, cov = expected_law(case, prior, plan, y[0, 0].flatten().numpy())
    variance = np.diag(cov)
    assert np.abs((x.mean(0) - mean) / np.sqrt(variance / n)).max() < 5
    z = (np.cov(x.T) - cov) / np.sqrt((np.outer(variance, variance) + cov**2) / n)
    assert np.abs(z).max() < 5


@pytest.mark.parametrize("sigma_y", [0.05, 0.3])
def test_starting_at_the_data_draws_from_the_posterior(sigma_y: float) -> None:
    """One level, H = I, zeta = 1: what is left is the error of finite steps, of first order."""
    distances = []
    for steps in (100, 200):
        settings = replace(SHORT, steps=steps, start_at_data=True, zeta=1.0)
        case = Case("fourier", 1, sigma_y, levels=1, settings=settings)
        prior, plan, y = case.build()
        flat = y.flatten().numpy()
        mean, cov = expected_law(case, prior, plan, flat)
        exact, posterior = condition_on(prior.mean, prior.cov, np.eye(64), flat, sigma_y)
        deviation = np.sqrt(np.diag(posterior))
        distances.append(
            (np.abs(mean - exact) / deviation).max()
            + np.abs(np.sqrt(np.diag(cov)) / deviation - 1).max()
        )
    assert distances[1] < 0.6 * distances[0]
    assert distances[1] < 0.02


@pytest.mark.parametrize(
    ("factor", "sigma_y", "zeta", "bias", "spread"),
    [
        (4, 0.0, 0.3, 0.00, 0.92),
        (4, 0.0, 1.0, 0.00, 0.68),
        (4, 0.05, 0.3, 0.02, 0.92),
        (2, 0.05, 0.3, 0.08, 0.90),
    ],
)
def test_distance_to_the_posterior(
    factor: int, sigma_y: float, zeta: float, bias: float, spread: float
) -> None:
    """Finding, for T = 200 over three levels and one measurement; from the exact law.

    rms bias over pixels in posterior standard deviations, and spread as a share of the
    posterior's. Noise-free, each level only samples its conditional prior and has no bias; with
    noise, y's finer bands also tell about coarser ones, which a cascade leaves unused.
    """
    case = Case("fourier", factor, sigma_y, settings=replace(SHORT, steps=200, zeta=zeta))
    prior, plan, y = case.build()
    flat = y.flatten().numpy()
    mean, cov = expected_law(case, prior, plan, flat)
    exact, posterior = condition_on(prior.mean, prior.cov, dense(plan.operator), flat, sigma_y)
    distance = np.sqrt(np.mean((mean - exact) ** 2 / np.diag(posterior)))
    assert distance == pytest.approx(bias, abs=0.0051)  # two digits are quoted
    assert np.sqrt(np.trace(cov) / np.trace(posterior)) == pytest.approx(spread, abs=0.0051)


@pytest.mark.parametrize("case", [CASES[0], CASES[4], *FROM_MEAN[:3]], ids=label)
def test_law_by_unit_noise(case: Case) -> None:
    """`law_of_samples` finds the law that dense matrices give (tolerance: test_mean_of_the_law)."""
    mean, cov, prior, plan, y = law_of_samples(case)
    for found, expected in zip(
        (mean, cov), expected_law(case, prior, plan, y.flatten().numpy()), strict=True
    ):
        assert np.abs(found - expected).max() < 1e-9


FEW = {"sampler": "multistep", "eta": 1.0}
PAPER = {"zeta": 0.2, "rho": (2.0, 2.0, 7.0), "observed_zeta": 1.0}


@pytest.mark.parametrize(
    ("factor", "sigma_y", "options", "spreads"),
    [
        (4, 0.0, {**FEW, "eta": 0.0}, (0.99, 0.95, 0.94)),
        *(
            slow(*case)
            for case in [
                (4, 0.0, FEW, (1.10, 1.02, 0.99)),
                (4, 0.05, FEW, (1.09, 1.02, 0.99)),
                (2, 0.0, FEW, (1.01, 1.00, 1.00)),
                (2, 0.05, FEW, (1.06, 1.02, 1.00)),
                (4, 0.0, PAPER, (0.82, 0.89, 0.95)),
                (4, 0.05, PAPER, (0.81, 0.89, 0.96)),
                (2, 0.0, PAPER, (0.92, 0.94, 0.96)),
                (2, 0.05, PAPER, (0.79, 0.88, 0.96)),
                (2, 0.05, {**PAPER, "observed_zeta": None}, (0.67, 0.75, 0.80)),
            ]
        ),
    ],
)
def test_spread_of_the_shipped_chains(
    factor: int, sigma_y: float, options: dict, spreads: tuple[float, ...]
) -> None:
    """Shares of the posterior's spread in docs/method/sampling.md, at T = 24, 48 and 200."""
    for steps, spread in zip((24, 48, 200), spreads, strict=True):
        shipped = {"sigma_start": (5.0, 5.0, 80.0), "start_at_mean": True, "start_at_data": True}
        settings = Recipe("shipped", **{**options, **shipped, "steps": steps})
        case = Case("fourier", factor, sigma_y, settings=settings)
        _, cov, prior, plan, y = law_of_samples(case)
        flat = y.flatten().numpy()
        _, posterior = condition_on(prior.mean, prior.cov, dense(plan.operator), flat, sigma_y)
        found = np.sqrt(np.trace(cov) / np.trace(posterior))
        assert found == pytest.approx(spread, abs=0.0056)  # two digits are quoted


@pytest.mark.parametrize("name", OTHER_OPERATORS)
@pytest.mark.parametrize("sigma_y", [slow(0.0), 0.05])
def test_other_operators_against_their_law(name: str, sigma_y: float) -> None:
    """H composed with up at each level, noise sqrt(sigma_y^2 + missing^2), no band constraint."""
    operator, missing = OTHER_OPERATORS[name], [0.0, 0.03, 0.06]
    plan = plan_cascade("fourier", 3, operator, sigma_y, SHORT, missing=missing)
    prior, y = prior_and_measurement(plan.pyramid, operator, sigma_y)
    result = cascade_sample(prior, plan, y, Silence([0]))

    mean, cov = np.zeros(0), np.zeros((0, 0))
    lifts = [np.eye(144), prior.ups[0], prior.ups[0] @ prior.ups[1]]
    for i in (2, 1, 0):
        sigma = float(np.hypot(sigma_y, missing[i]))
        up = prior.ups[i] if i < 2 else None
        level = prior.levels[i]
        flat = y.flatten().numpy()
        problem = DenseLevel(level, dense(operator) @ lifts[i], flat, sigma, up)
        sigmas = karras_sigmas(10, level.sigma_max, level.sigma_min)
        start = level.constant if up is None else None
        mean, cov = dense_chain(problem, sigmas, zeta=SHORT.zeta, start=start).given(mean, cov)
    # As in test_mean_of_the_law.
    assert np.abs(result.image.flatten().numpy() - mean).max() < 1e-9
    assert result.evaluations == {1: 10, 2: 10, 3: 10}
    for source in (Silence([0]), NoiseSource([0])):
        image = cascade_sample(prior, plan, y, source).image
        assert bool(image.isfinite().all())
        if sigma_y == 0:
            assert float((operator(image) - y).abs().max()) < 1e-12


def test_whole_image_prior_is_a_cascade_of_one_level() -> None:
    """Denoising with one level and H = I: the law is that of plain DiffPIR."""
    plan = plan_cascade("fourier", 1, IdentityOperator(SHAPE), 0.1, SHORT)
    prior, y = prior_and_measurement(plan.pyramid, plan.operator, 0.1)
    result = cascade_sample(prior, plan, y, Silence([0]))
    level = prior.levels[0]
    problem = DenseLevel(level, np.eye(64), y.flatten().numpy(), 0.1, None)
    sigmas = karras_sigmas(30, level.sigma_max, level.sigma_min)
    law = dense_chain(problem, sigmas, zeta=0.3, start=level.constant)
    assert np.abs(result.image.flatten().numpy() - law.constant).max() < 1e-10
