"""Multi-Grid PnP, diffusion form, against the exact law of its own recursion on Gaussian images."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from cascade_cases import Silence
from gaussian_prior import Array, shrinkage
from multigrid_cases import START, GridCase, GridPrior, GridProblem

from mrcascade.errors import MRCascadeError
from mrcascade.operators import SeparableOperator
from mrcascade.sampling import (
    NoiseSource,
    Progress,
    Recipe,
    cascade_sample,
    karras_sigmas,
    multigrid_pnp,
    multigrid_sample,
    plan_cascade,
    reconstruct,
)

SHORT = Recipe("short", steps=32, sampler="multigrid")
PNP = {"sampler": "multigrid-pnp"}
LEVELS = replace(SHORT, sigma_start=(0.5, 3.0, 30.0), sigma_min=(0.02, 0.03, 0.04))

# Noise-free 4x: y fixes the third grid, whose share of T nobody gets. Noise-free 2x: the first
# grid has all of T. Whatever T leaves over goes to the coarsest grid that is sampled.
CASES = [
    GridCase("fourier 4x", 0.0, SHORT, (10, 12, 0)),
    GridCase("fourier 4x", 0.0, replace(SHORT, skip_determined=False), (10, 10, 12)),
    GridCase("fourier 4x", 0.05, SHORT, (10, 10, 12)),
    GridCase("fourier 4x", 0.05, LEVELS, (10, 10, 12)),
    GridCase("fourier 2x", 0.0, SHORT, (32, 0, 0)),
    GridCase("fourier 2x", 0.05, replace(SHORT, zeta=1.0), (10, 10, 12)),
    GridCase("area 2x", 0.05, replace(SHORT, lam=4.0), (10, 10, 12)),
    GridCase("3x", 0.0, SHORT, (10, 10, 12)),
    GridCase("3x", 0.05, SHORT, (10, 10, 12)),
    GridCase("one axis", 0.05, SHORT, (10, 10, 12)),
]


def noise_levels(problem: GridProblem, i: int) -> tuple[float, ...]:
    """Of grid i + 1: from the prior's largest level on the coarsest sampled grid, from one
    standard deviation of the prior on the finer ones, unless the settings say otherwise."""
    case, level = problem.case, problem.level
    coarsest = max(k for k, steps in enumerate(case.steps) if steps)
    start = level.sigma_max if i == coarsest else level.std
    end = level.sigma_min
    if case.settings.sigma_start is not None and case.settings.sigma_min is not None:
        start, end = (
            level.std * s[i] for s in (case.settings.sigma_start, case.settings.sigma_min)
        )
    return karras_sigmas(case.steps[i], start, end)


def expected_law(problem: GridProblem) -> tuple[Array, Array]:
    """Mean and covariance of the result: algorithm 1 of Zhu et al. 2023 on each grid."""
    settings = problem.case.settings
    mean, cov = np.zeros(0), np.zeros((0, 0))
    for i in (2, 1, 0):
        grid = problem.grids[i]
        n = len(grid.cov)
        if not grid.sampled:
            mean, cov = grid.target, np.zeros((n, n))
            continue
        sigmas = noise_levels(problem, i)
        if len(mean):
            mean, cov = grid.up @ mean, grid.up @ cov @ grid.up.T
        else:
            mean, cov = np.full(n, START), np.zeros((n, n))
        cov = cov + sigmas[0] ** 2 * np.eye(n)
        for s, following in pairwise(sigmas):
            keep, shift = towards_data(grid, settings.lam * (grid.sigma / s) ** 2)
            gain = shrinkage(grid.cov, s)
            carry = following * np.sqrt(1 - settings.zeta) / s
            step = (1 - carry) * keep @ gain + carry * np.eye(n)
            constant = keep @ (grid.mean - gain @ grid.mean) + shift
            mean = step @ mean + (1 - carry) * constant
            cov = step @ cov @ step.T + settings.zeta * following**2 * np.eye(n)
        gain = shrinkage(grid.cov, sigmas[-1])
        mean, cov = grid.mean + gain @ (mean - grid.mean), gain @ cov @ gain.T
        if grid.sigma == 0:
            keep, shift = towards_data(grid, 0.0)
            mean, cov = keep @ mean + shift, keep @ cov @ keep.T
    return mean, cov


def towards_data(grid, tau: float) -> tuple[Array, Array]:  # type: ignore[no-untyped-def]
    """(M, c): argmin_u ||target - h u||^2 + tau ||u - v||^2 = M v + c."""
    if tau == 0:
        inverse = np.linalg.pinv(grid.h, rcond=1e-9)
    else:
        normal = grid.h.T @ grid.h + tau * np.eye(grid.h.shape[1])
        inverse = np.linalg.solve(normal, grid.h.T)
    return np.eye(grid.h.shape[1]) - inverse @ grid.h, inverse @ grid.target


@pytest.mark.parametrize("case", CASES, ids=str)
def test_mean_of_the_law(case: GridCase) -> None:
    """Without noise the sampler returns the mean of its law.

    tau goes down to (0.05 / 20)^2 = 6e-6; normal equations of that condition keep 1e-16 / 6e-6
    = 2e-11 of values of order one, and three grids pass their errors on.
    """
    problem = case.build()
    result = multigrid_sample(problem.prior, problem.plan, problem.y, Silence([0]))
    mean, _ = expected_law(problem)
    assert np.abs(result.image.flatten().numpy() - mean).max() < 1e-9
    assert result.evaluations == dict(enumerate(case.steps, start=1))
    assert result.steps_nominal == 32
    counted = [problem.level.seen.count(shape) for shape in problem.shapes]
    assert counted == list(case.steps)


@pytest.mark.parametrize("case", [CASES[0], CASES[2], CASES[5], CASES[8]], ids=str)
def test_law_of_many_samples(case: GridCase) -> None:
    """Empirical mean and covariance within five standard errors; see test_sampling_diffpir."""
    n = 2000
    problem = case.build()
    y = problem.y.expand(1, n, *problem.operator.out_shape)  # samples are channels of one image
    x = multigrid_sample(problem.prior, problem.plan, y, NoiseSource([0])).image
    x = x.reshape(n, -1).numpy()
    mean, cov = expected_law(problem)
    variance = np.diag(cov)
    assert np.abs((x.mean(0) - mean) / np.sqrt(variance / n)).max() < 5
    z = (np.cov(x.T) - cov) / np.sqrt((np.outer(variance, variance) + cov**2) / n)
    assert np.abs(z).max() < 5
    # The same bounds tell the posterior apart: the test can fail.
    posterior, _ = problem.posterior()
    assert np.abs((x.mean(0) - posterior) / np.sqrt(variance / n)).max() > 5


@pytest.mark.parametrize(
    ("operator", "sigma_y", "true_laws", "bias", "spread"),
    [
        ("fourier 4x", 0.0, True, 0.24, 0.90),
        ("fourier 4x", 0.05, True, 0.18, 0.87),
        ("fourier 2x", 0.05, True, 0.16, 0.95),
        ("fourier 4x", 0.0, False, 0.46, 0.77),
        ("fourier 4x", 0.05, False, 0.43, 0.78),
        ("fourier 2x", 0.05, False, 0.16, 0.95),
    ],
)
def test_distance_to_the_posterior(
    operator: str, sigma_y: float, true_laws: bool, bias: float, spread: float
) -> None:
    """Finding, for T = 200 and one measurement; from the exact law. See test_sampling_cascade_law
    for bias and spread, which a cascade has at 0.00 to 0.08 and 0.90 to 0.92.

    The noise of a restart hides what a coarser grid got wrong only in part. That grid is wrong
    with the true law of coarser images too, as no prolonged image has the band that is missing;
    with a denoiser that knows other images (``true_laws`` False) much more so at 4x, where the
    coarser grids decide more than y does. At 2x y tells them nearly all.
    """
    steps = (66, 66, 68) if sigma_y else (66, 68, 0)
    settings = replace(SHORT, steps=200)
    problem = GridCase(operator, sigma_y, settings, steps, true_laws).build()
    mean, cov = expected_law(problem)
    exact, posterior = problem.posterior()
    distance = np.sqrt(np.mean((mean - exact) ** 2 / np.diag(posterior)))
    share = np.sqrt(np.trace(cov) / np.trace(posterior))
    # Two digits are quoted.
    assert (distance, share) == pytest.approx((bias, spread), abs=0.0051)


# ---- what the law does not show ----


def test_one_grid_is_single_scale_diffpir() -> None:
    operator = SeparableOperator.from_kernel("fourier", 4, (8, 8))
    problem = CASES[2].build()
    settings = replace(SHORT, grids=1)
    plan = plan_cascade("fourier", 1, operator, 0.05, settings)
    image = multigrid_sample(problem.prior, plan, problem.y, NoiseSource([7])).image
    single = replace(plan, settings=replace(SHORT, sampler="diffpir"))
    assert torch.equal(
        image, cascade_sample(problem.prior, single, problem.y, NoiseSource([7])).image
    )


@pytest.mark.parametrize("operator", ["fourier 4x", "fourier 2x", "area 2x", "3x", "1.5x"])
@pytest.mark.parametrize("floor", [0.0, 0.01])
def test_noise_free_data_are_met_to_rounding(operator: str, floor: float) -> None:
    settings = replace(SHORT, noise_floor=floor)
    # The steps only tell the dense recursion, which is not used here, what to skip.
    problem = GridCase(operator, 0.0, settings, (1, 1, 1)).build()
    y = problem.y.expand(1, 3, *problem.operator.out_shape)
    image = multigrid_sample(problem.prior, problem.plan, y, NoiseSource([0])).image
    # Sums of at most 144 terms of order one, a few times over: below 1000 units of rounding.
    assert float((problem.operator(image) - y).abs().max()) < 1e-12


class Pixelwise:
    """A denoiser without any sum over a batch, so that no rounding depends on its size."""

    std, sigma_max, sigma_min = 0.2, 5.0, 0.01
    informed = False

    def condition(self, c, error):  # type: ignore[no-untyped-def]
        return self

    def mean(self):  # type: ignore[no-untyped-def]
        return torch.tensor(0.1)

    def denoise(self, x, sigma):  # type: ignore[no-untyped-def]
        return 0.1 + (x - 0.1) * self.std**2 / (self.std**2 + sigma**2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sigma_y", [0.0, 0.05])
def test_batch_size_and_order_never_change_an_image(dtype: torch.dtype, sigma_y: float) -> None:
    operator = SeparableOperator.from_kernel("fourier", 4, (16, 16))
    plan = plan_cascade("fourier", 3, operator, sigma_y, SHORT)
    y = torch.rand(5, 2, 4, 4, generator=torch.Generator()).to(dtype)
    seeds, prior = [3, 0, 8, 1, 7], GridPrior([Pixelwise()])  # type: ignore[list-item]
    together = multigrid_sample(prior, plan, y, NoiseSource(seeds)).image
    assert together.dtype == dtype
    order = [4, 2, 0, 1, 3]
    some = NoiseSource([seeds[n] for n in order])
    assert torch.equal(multigrid_sample(prior, plan, y[order], some).image, together[order])
    for n, seed in enumerate(seeds):
        alone = multigrid_sample(prior, plan, y[n : n + 1], NoiseSource([seed])).image
        assert torch.equal(alone, together[n : n + 1])
    assert len({image.sum().item() for image in together}) == 5


@pytest.mark.parametrize("project", [True, False])
def test_callback(project: bool) -> None:
    problem, seen = CASES[0].build(), []
    plan = replace(problem.plan, settings=replace(problem.plan.settings, project=project))
    result = reconstruct(problem.prior, plan, problem.y, NoiseSource([0]), callback=seen.append)
    assert [(p.level, p.step, p.steps) for p in seen] == [
        *((2, k, 12) for k in range(12)),
        *((1, k, 10) for k in range(10)),
    ]
    assert all(isinstance(p, Progress) for p in seen)
    # The finest grid has no chain after it: only the projection follows.
    last = seen[-1].denoised
    if project:
        last = problem.operator.project(last, problem.y)
    assert torch.equal(result.image, last)


# ---- errors ----


def test_errors() -> None:
    problem = CASES[2].build()
    prior, plan, y = problem.prior, problem.plan, problem.y
    with pytest.raises(MRCascadeError, match="1 images need one seed each; got 2"):
        multigrid_sample(prior, plan, y, NoiseSource([0, 1]))
    with pytest.raises(MRCascadeError, match=r"expected \(images, channels, "):
        multigrid_sample(prior, plan, y[0], NoiseSource([0]))
    with pytest.raises(MRCascadeError, match=r"needs a prior of one level.*this one has 2"):
        multigrid_sample(GridPrior(prior.levels * 2), plan, y, NoiseSource([0]))
    with pytest.raises(MRCascadeError, match="'short' ask for multigrid, which"):
        multigrid_pnp(prior, plan, y)
    with pytest.raises(MRCascadeError, match="'short' ask for multigrid, which"):
        cascade_sample(GridPrior(prior.levels * 3), plan, y, NoiseSource([0]))
    bad = replace(SHORT, sigma_start=(1.0,))
    with pytest.raises(MRCascadeError, match="sigma_start needs one value for each of the 3"):
        plan_cascade("fourier", 3, problem.operator, 0.05, bad)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"grids": 0}, "grids must be a whole number from 1 to 32; got 0"),
        ({"consistency": "cascade"}, "consistency has no effect on sampler 'multigrid'"),
        ({"band_constraint": True}, "band_constraint has no effect on sampler 'multigrid'"),
        (
            {"sampler": "multigrid-pnp", "orientations": 2},
            "orientations has no effect on sampler 'multigrid-pnp'",
        ),
        ({**PNP, "pnp_sigma": (0.1, 0.0)}, "pnp_sigma must be positive numbers"),
        ({**PNP, "pnp_step": 2.0}, r"pnp_step must be in \(0, 2\); got 2.0"),
        ({**PNP, "pnp_step": 0.0}, r"pnp_step must be in \(0, 2\); got 0.0"),
        ({**PNP, "pnp_step": float("nan")}, r"pnp_step must be in \(0, 2\); got nan"),
    ],
)
def test_bad_settings(change: dict, reason: str) -> None:
    with pytest.raises(MRCascadeError, match=reason):
        replace(SHORT, **change)
