"""Multi-Grid PnP, deterministic form, against its iterates in dense matrices on Gaussian images."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from gaussian_prior import Array, shrinkage
from multigrid_cases import MISSING, DenseGrid, GridCase, GridPrior, GridProblem
from torch import Tensor

from mrcascade.errors import MRCascadeError
from mrcascade.operators import CallableOperator, SeparableOperator, squared_norm
from mrcascade.sampling import (
    NoiseSource,
    Progress,
    Recipe,
    multigrid_pnp,
    multigrid_sample,
    plan_cascade,
    reconstruct,
)

SHORT = Recipe("short", steps=32, sampler="multigrid-pnp")
LEVELS = replace(SHORT, pnp_sigma=(0.1, 2.0, 0.3), pnp_step=1.7)

CASES = [
    GridCase("fourier 4x", 0.0, SHORT, (10, 12, 0)),
    GridCase("fourier 4x", 0.0, replace(SHORT, skip_determined=False), (10, 10, 12)),
    GridCase("fourier 4x", 0.05, SHORT, (10, 10, 12)),
    GridCase("fourier 4x", 0.05, LEVELS, (10, 10, 12)),
    GridCase("fourier 4x", 0.05, replace(SHORT, pnp_step=0.5, steps=39), (13, 13, 13)),
    GridCase("fourier 2x", 0.0, SHORT, (32, 0, 0)),
    GridCase("fourier 2x", 0.05, SHORT, (10, 10, 12)),
    GridCase("area 2x", 0.05, replace(LEVELS, steps=50), (16, 16, 18)),
    GridCase("3x", 0.0, SHORT, (10, 10, 12)),
    GridCase("3x", 0.05, replace(SHORT, steps=15), (5, 5, 5)),
    GridCase("one axis", 0.05, SHORT, (10, 10, 12)),
]


@dataclass
class Dense:
    """f, D and the steps of one grid."""

    grid: DenseGrid
    sigma: float
    gamma: float
    evaluations: int = 0

    def __post_init__(self) -> None:
        self.norm = np.linalg.norm(self.grid.h, 2) ** 2  # the largest singular value, squared
        self.gain = shrinkage(self.grid.cov, self.sigma)

    def slope(self, x: Array) -> Array:
        return self.grid.h.T @ (self.grid.h @ x - self.grid.target) / self.norm

    def denoise(self, x: Array) -> Array:
        self.evaluations += 1
        return self.grid.mean + self.gain @ (x - self.grid.mean)

    def step(self, x: Array) -> Array:
        return self.denoise(x - self.gamma * self.slope(x))


def dense_grids(problem: GridProblem) -> list[Dense]:
    """sigma = sqrt(gamma) sigma_y / ||A||, at least a tenth of the images' standard deviation."""
    settings, std, result = problem.case.settings, problem.level.std, []
    for i, grid in enumerate(problem.grids):
        gamma = settings.pnp_step
        if settings.pnp_sigma is not None:
            sigma = settings.pnp_sigma[i] * std
        else:
            sigma = max(np.sqrt(gamma) * grid.sigma / np.linalg.norm(grid.h, 2), 0.1 * std)
        result.append(Dense(grid, sigma, gamma))
    return result


def expected(problem: GridProblem) -> tuple[Array, list[Dense]]:
    """The result, and what happened on each grid."""
    grids, x = dense_grids(problem), None
    for i in (2, 1, 0):
        grid, steps = grids[i].grid, problem.case.steps[i]
        if not steps:
            x = grid.target
            continue
        inverse = np.linalg.pinv(grid.h, rcond=1e-9)
        x = inverse @ grid.target if x is None else 4 * grid.down.T @ x
        for _ in range(steps):
            x = grids[i].step(x)
    finest = problem.grids[0]
    if finest.sigma == 0:
        x = x + np.linalg.pinv(finest.h, rcond=1e-9) @ (finest.target - finest.h @ x)
    return x, grids


@pytest.mark.parametrize("case", CASES, ids=str)
def test_iterates(case: GridCase) -> None:
    """Each step is a dozen sums of up to 144 terms of order one, and contracts what came before."""
    problem = case.build()
    result = multigrid_pnp(problem.prior, problem.plan, problem.y)
    x, grids = expected(problem)
    assert np.abs(result.image.flatten().numpy() - x).max() < 1e-11
    counts = [grid.evaluations for grid in grids]
    assert list(result.evaluations.values()) == counts
    assert [problem.level.seen.count(shape) for shape in problem.shapes] == counts
    assert sum(counts) == sum(case.steps) <= result.steps_nominal == case.settings.steps


@pytest.mark.parametrize("true_laws", [True, False])
@pytest.mark.parametrize(("operator", "steps"), [("fourier 4x", 1000), ("fourier 2x", 200)])
@pytest.mark.parametrize("gamma", [0.5, 1.0])
def test_fixed_point_is_the_posterior_mean(
    operator: str, steps: int, true_laws: bool, gamma: float
) -> None:
    """With noisy data and the default noise level of D, whatever the coarser grids did.

    A step multiplies the error by D (I - gamma A^T A / ||A||^2), in the inner product of D^-1 a
    symmetric matrix: n of them on the finest grid leave radius^n sqrt(cond(D)) of it.
    """
    settings = replace(SHORT, steps=3 * steps, pnp_step=gamma)
    problem = GridCase(operator, 0.05, settings, (steps,) * 3, true_laws).build()
    image = multigrid_pnp(problem.prior, problem.plan, problem.y).image.flatten().numpy()
    mean, _ = problem.posterior()
    fine = dense_grids(problem)[0]
    step = fine.gain @ (np.eye(64) - gamma * problem.h.T @ problem.h / fine.norm)
    left = np.abs(np.linalg.eigvals(step)).max() ** steps * np.sqrt(np.linalg.cond(fine.gain))
    assert left < 1e-6
    # The start is off by less than 10 over all pixels; a step rounds by 1e-15 and contracts.
    assert np.linalg.norm(image - mean) < 10 * left + 1e-12


@pytest.mark.parametrize(
    ("operator", "sigma_y", "true_laws", "distance"),
    [
        ("fourier 4x", 0.0, True, 0.217),
        ("fourier 4x", 0.0, False, 0.642),
        ("fourier 4x", 0.05, True, 0.001),
        ("fourier 4x", 0.05, False, 0.007),
        ("fourier 2x", 0.05, True, 0.000),
    ],
)
def test_distance_to_the_posterior_mean(
    operator: str, sigma_y: float, true_laws: bool, distance: float
) -> None:
    """Finding: rms distance over pixels in posterior standard deviations at T = 200.

    Noise-free data leave D's noise level at its least, with which modes of little variance are far
    from their mean after so few steps; a start from wrong coarse images costs more.
    """
    steps = (66, 66, 68) if sigma_y else (66, 68, 0)
    problem = GridCase(operator, sigma_y, replace(SHORT, steps=200), steps, true_laws).build()
    mean, cov = problem.posterior()
    error = multigrid_pnp(problem.prior, problem.plan, problem.y).image.flatten().numpy() - mean
    measured = np.sqrt(np.mean(error**2 / np.diag(cov)))
    assert measured == pytest.approx(distance, abs=0.00051)  # three digits are quoted


# ---- what the iterates do not show ----


@pytest.mark.parametrize("operator", ["fourier 4x", "fourier 2x", "area 2x", "3x", "1.5x"])
def test_noise_free_data_are_met_to_rounding(operator: str) -> None:
    problem = GridCase(operator, 0.0, SHORT, (1, 1, 1)).build()
    image = multigrid_pnp(problem.prior, problem.plan, problem.y).image
    # Sums of at most 144 terms of order one, a few times over: below 1000 units of rounding.
    assert float((problem.operator(image) - problem.y).abs().max()) < 1e-12


class Pixelwise:
    """A denoiser without any sum over a batch, so that no rounding depends on its size."""

    std, sigma_max, sigma_min = 0.2, 5.0, 0.01

    def condition(self, c, error):  # type: ignore[no-untyped-def]
        return self

    def denoise(self, x, sigma):  # type: ignore[no-untyped-def]
        return 0.1 + (x - 0.1) * self.std**2 / (self.std**2 + sigma**2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sigma_y", [0.0, 0.05])
def test_batches_and_seeds_never_change_an_image(dtype: torch.dtype, sigma_y: float) -> None:
    operator = SeparableOperator.from_kernel("fourier", 4, (16, 16))
    plan = plan_cascade("fourier", 3, operator, sigma_y, SHORT)
    y = torch.rand(5, 2, 4, 4, generator=torch.Generator()).to(dtype)
    prior = GridPrior([Pixelwise()])  # type: ignore[list-item]
    together = multigrid_pnp(prior, plan, y).image
    assert together.dtype == dtype
    order = [4, 2, 0, 1, 3]
    assert torch.equal(multigrid_pnp(prior, plan, y[order]).image, together[order])
    for n in range(5):
        assert torch.equal(multigrid_pnp(prior, plan, y[n : n + 1]).image, together[n : n + 1])
    for seed in (0, 1):
        assert torch.equal(reconstruct(prior, plan, y, NoiseSource([seed] * 5)).image, together)
    assert len({image.sum().item() for image in together}) == 5


def test_operators_given_as_functions() -> None:
    """Where the norm comes from a power iteration, to a relative error that each of the steps
    repeats on gradients of order one."""
    problem = GridCase("3x", 0.05, SHORT, (10, 10, 12)).build()
    known = problem.operator
    wrapped = CallableOperator(
        known, known.adjoint, known.in_shape, known.out_shape, tolerance=1e-12
    )
    plan = plan_cascade("fourier", 3, wrapped, 0.05, SHORT, missing=MISSING)
    image = multigrid_pnp(problem.prior, plan, problem.y).image
    x, grids = expected(problem)
    found = [squared_norm(task.data.operator, problem.y) for task in plan.tasks]
    error = max(abs(a / grid.norm - 1) for a, grid in zip(found, grids, strict=True))
    assert np.abs(image.flatten().numpy() - x).max() < 32 * error + 1e-9


def test_callback_counts_evaluations_where_they_happen() -> None:
    problem, seen = CASES[0].build(), list[Progress]()
    multigrid_pnp(problem.prior, problem.plan, problem.y, callback=seen.append)
    assert [(p.level, p.step, p.steps) for p in seen] == [
        *((2, k, 12) for k in range(12)),
        *((1, k, 10) for k in range(10)),
    ]
    assert [tuple(p.denoised.shape[-2:]) for p in seen] == problem.level.seen
    assert {p.sigma for p in seen} == {0.1 * problem.level.std}


def test_inputs_are_left_alone_and_no_graph_is_kept() -> None:
    problem = CASES[2].build()
    copy, y = problem.y.clone(), problem.y.clone().requires_grad_()
    result: Tensor = multigrid_pnp(problem.prior, problem.plan, y).image
    assert not result.requires_grad
    assert torch.equal(y, copy)


def test_errors() -> None:
    problem = CASES[2].build()
    prior, plan, y = problem.prior, problem.plan, problem.y
    with pytest.raises(MRCascadeError, match=r"expected \(images, channels, "):
        multigrid_pnp(prior, plan, y[0])
    with pytest.raises(MRCascadeError, match=r"needs a prior of one level.*this one has 3"):
        multigrid_pnp(GridPrior(prior.levels * 3), plan, y)
    with pytest.raises(MRCascadeError, match="'short' ask for multigrid-pnp, which"):
        multigrid_sample(prior, plan, y, NoiseSource([0]))
    bad = replace(SHORT, pnp_sigma=(0.1,))
    with pytest.raises(MRCascadeError, match="pnp_sigma needs one value for each of the 3"):
        plan_cascade("fourier", 3, problem.operator, 0.05, bad)
