"""Levels that take part in a plan, with operator, noise level and number of steps."""

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from gaussian_prior import dense

from mrcascade.errors import MRCascadeError
from mrcascade.operators import (
    KERNELS,
    CallableOperator,
    IdentityOperator,
    LinearOperator,
    SeparableOperator,
    downsampler,
    upsampler,
)
from mrcascade.sampling import CascadePlan, Recipe, measurement_level, plan_cascade

SHAPE = (16, 16)
PAPER = Recipe("paper", steps=200)


def plan(
    factor: int | tuple[int, int],
    sigma_y: float,
    settings: Recipe = PAPER,
    *,
    kernel: str = "fourier",
    measured: str | None = None,
    levels: int = 3,
    **options: object,
) -> CascadePlan:
    operator = SeparableOperator.from_kernel(measured or kernel, factor, SHAPE)
    return plan_cascade(kernel, levels, operator, sigma_y, settings, **options)  # type: ignore[arg-type]


def steps(p: CascadePlan) -> list[int]:
    return [task.steps for task in p.tasks]


def sampled(p: CascadePlan) -> list[int]:
    return [task.level for task in p.tasks if task.sampled]


# ---- who takes part, and the steps ----


@pytest.mark.parametrize(
    ("factor", "sigma_y", "levels", "changes", "expected_steps", "expected_sampled"),
    [
        (4, 0.0, 3, {}, [66, 68, 66], [1, 2]),
        (4, 0.0, 3, {"skip_determined": False}, [66, 66, 68], [1, 2, 3]),
        (4, 0.0, 3, {"step_shares": (0.5, 1.5, 1.0)}, [33, 101, 66], [1, 2]),
        (4, 0.0, 3, {"step_shares": (0.5, 1.0)}, [40, 80, 80], [1, 2]),
        (4, 0.1, 3, {"step_shares": (0.5, 1.5, 1.0)}, [33, 100, 67], [1, 2, 3]),
        (2, 0.0, 3, {"step_shares": (0.5, 1.5, 1.0)}, [200, 0, 0], [1]),
        (4, 0.1, 3, {}, [66, 66, 68], [1, 2, 3]),
        (2, 0.0, 3, {}, [200, 0, 0], [1]),
        (2, 0.0, 3, {"skip_determined": False}, [200, 0, 0], [1]),
        (2, 0.1, 3, {}, [66, 66, 68], [1, 2, 3]),
        (2, 0.0, 2, {}, [100, 100], [1]),
        (4, 0.0, 2, {}, [100, 100], [1, 2]),
        (2, 0.0, 1, {}, [200], [1]),
        (1, 0.1, 3, {}, [66, 66, 68], [1, 2, 3]),
    ],
)
def test_steps(
    factor: int,
    sigma_y: float,
    levels: int,
    changes: dict[str, Any],
    expected_steps: list[int],
    expected_sampled: list[int],
) -> None:
    p = plan(factor, sigma_y, replace(PAPER, **changes), levels=levels)
    assert steps(p) == expected_steps
    assert sampled(p) == expected_sampled
    assert p.steps_nominal == 200


@pytest.mark.parametrize("wrong", [0.0, -1.0, [], [1.0, math.inf], (1.0, math.nan)])
def test_step_shares_out_of_range(wrong: object) -> None:
    with pytest.raises(MRCascadeError, match="settings 'paper': step_shares must be > 0"):
        replace(PAPER, step_shares=wrong)


def test_another_kind_of_operator_uses_all_levels() -> None:
    p = plan(2, 0.0, measured="area", missing=[0.0, 0.01, 0.05])
    assert steps(p) == [66, 66, 68]
    assert sampled(p) == [1, 2, 3]
    assert p.grid is None


def test_mean_has_one_step_for_each_level_that_takes_part() -> None:
    mean = Recipe("mean", steps=None)
    assert plan(4, 0.0, mean).steps_nominal == 3
    assert steps(plan(4, 0.0, mean)) == [1, 1, 1]
    assert plan(2, 0.0, mean).steps_nominal == 1


# ---- operators and noise levels ----


def same(operator: LinearOperator, matrix: np.ndarray) -> bool:
    """Products of a few matrices with entries of order one: a few hundred units of rounding."""
    return bool(np.abs(dense(operator) - matrix).max() < 1e-13)


@pytest.mark.parametrize("kernel", KERNELS)
def test_same_kernel_operators(kernel: str) -> None:
    p = plan(4, 0.1, kernel=kernel)
    h2 = [SeparableOperator.from_kernel(kernel, 2, s) for s in ((16, 16), (8, 8))]
    assert p.grid == 3
    assert same(p.tasks[0].data.operator, dense(h2[1]) @ dense(h2[0]))
    assert same(p.tasks[1].data.operator, dense(h2[1]))
    assert same(p.tasks[2].data.operator, np.eye(16))
    assert [task.data.sigma for task in p.tasks] == [0.1, 0.1, 0.1]


@pytest.mark.parametrize("kernel", KERNELS)
def test_levels_coarser_than_y_see_it_reduced(kernel: str) -> None:
    p = plan(2, 0.1, kernel=kernel)
    y = torch.randn(2, 1, 8, 8, dtype=torch.float64, generator=torch.Generator())
    assert p.tasks[1].data.target(y, None) is y
    down = SeparableOperator.from_kernel(kernel, 2, (8, 8))
    # Two evaluations of the same sums of a few dozen terms of order one.
    assert float((p.tasks[2].data.target(y, None) - down(y)).abs().max()) < 1e-13
    assert same(p.tasks[2].data.operator, np.eye(16))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("shape", [(16, 16), (14, 10)])
def test_noise_at_coarser_levels_by_monte_carlo(kernel: str, shape: tuple[int, int]) -> None:
    """rms of reduced noise. With n draws of m samples of variance s^2 and correlations through
    R = D D^T, the mean square has relative variance 2 ||R||_F^2 / (n trace(R)^2): five sigmas.
    """
    p = plan_cascade(kernel, 3, IdentityOperator(shape), 0.3, PAPER)
    n = 4_000
    noise = 0.3 * torch.randn(n, 1, *shape, dtype=torch.float64, generator=torch.Generator())
    for task in p.tasks[1:]:
        assert task.data.reduce is not None
        d = dense(task.data.reduce)
        r = d @ d.T
        ratio = float(task.data.reduce(noise).square().mean()) / task.data.sigma**2
        assert abs(ratio - 1) < 5 * math.sqrt(2 * np.sum(r**2) / n) / np.trace(r)
    if kernel == "fourier" and shape == (16, 16):
        # D D^T = 1/4 I for each 2x step: exactly half the standard deviation.
        assert [t.data.sigma for t in p.tasks] == pytest.approx([0.3, 0.15, 0.075], rel=1e-14)


@pytest.mark.parametrize("kernel", ["fourier", "area"])
def test_cascade_consistency_is_one_h2_at_each_level(kernel: str) -> None:
    p = plan(4, 0.1, replace(PAPER, consistency="cascade"), kernel=kernel)
    y, coarser = torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 8, 8)
    for task, shape in zip(p.tasks[:2], ((16, 16), (8, 8)), strict=True):
        assert same(task.data.operator, dense(SeparableOperator.from_kernel(kernel, 2, shape)))
        assert task.data.sigma == 0
        assert task.data.target(y, coarser) is coarser
    assert same(p.tasks[2].data.operator, np.eye(16))
    assert p.tasks[2].data.sigma == 0.1
    assert p.tasks[2].data.target(y, None) is y


def test_cascade_consistency_beyond_the_coarsest_level() -> None:
    """4x with two levels: the coarsest level compares with y, 2x, level 1 with level 2."""
    p = plan(4, 0.1, replace(PAPER, consistency="cascade"), levels=2)
    assert [task.data.against for task in p.tasks] == ["coarser", "measurement"]
    assert p.tasks[1].data.operator.out_shape == (4, 4)
    assert [task.data.sigma for task in p.tasks] == [0.0, 0.1]


def test_composed_operators_and_their_errors() -> None:
    operator = SeparableOperator.from_kernel("area", (2, 1), SHAPE)
    p = plan_cascade("fourier", 3, operator, 0.3, PAPER, missing=[0.0, 0.4, 0.0])
    up1, up2 = upsampler("fourier", (16, 16), (8, 8)), upsampler("fourier", (8, 8), (4, 4))
    h = dense(operator)
    assert p.tasks[0].data.operator is operator
    assert same(p.tasks[1].data.operator, h @ dense(up1))
    assert same(p.tasks[2].data.operator, h @ dense(up1) @ dense(up2))
    assert [t.data.sigma for t in p.tasks] == pytest.approx([0.3, 0.5, 0.3], rel=1e-15)


def test_errors_of_ignored_bands_from_a_function() -> None:
    """The function gets H and H up...up down...down, the operator that a coarser level sees."""
    operator = SeparableOperator.from_kernel("area", 2, SHAPE)
    seen = []

    def missing(a: SeparableOperator, b: SeparableOperator) -> float:
        assert a is operator
        seen.append(b)
        return 0.1 * len(seen)

    p = plan_cascade("bicubic", 3, operator, 0.0, PAPER, missing=missing)
    assert [t.data.sigma for t in p.tasks] == [0.0, 0.1, 0.2]
    product = dense(operator)
    round_trip = np.eye(256)
    ups, downs = np.eye(256), np.eye(256)
    for (fine, coarse), b in zip(pairwise(p.pyramid.shapes), seen, strict=True):
        ups = ups @ dense(upsampler("bicubic", fine, coarse))
        downs = dense(downsampler("bicubic", fine, coarse)) @ downs
        round_trip = ups @ downs
        assert same(b, product @ round_trip)


def test_callable_operators_are_composed() -> None:
    inner = SeparableOperator.from_kernel("area", 2, SHAPE)
    operator = CallableOperator(
        inner, inner.adjoint, SHAPE, (8, 8), tolerance=1e-9, max_iterations=50, mixed_dims=1
    )
    p = plan_cascade("fourier", 2, operator, 0.0, PAPER, missing=[0.0, 0.1])
    composed = p.tasks[1].data.operator
    assert isinstance(composed, CallableOperator)
    assert (composed.tolerance, composed.max_iterations, composed.mixed_dims) == (1e-9, 50, 1)
    expected = dense(inner) @ dense(upsampler("fourier", SHAPE, (8, 8)))
    assert same(composed, expected)
    unit = torch.eye(64, dtype=torch.float64).reshape(64, 1, 8, 8)
    adjoint = composed.adjoint(unit).reshape(64, -1).numpy()
    assert np.abs(adjoint - expected).max() < 1e-13  # the same sums once more


# ---- recognising the prior's kernel ----


@pytest.mark.parametrize("kernel", KERNELS)
def test_measurement_level(kernel: str) -> None:
    for k in range(4):
        assert (
            measurement_level(SeparableOperator.from_kernel(kernel, 2**k, SHAPE), kernel) == k + 1
        )
    for factor, shape in (((2, 1), SHAPE), ((4, 2), SHAPE), (3, (12, 12)), (1.5, (12, 12))):
        operator = SeparableOperator.from_kernel(kernel, factor, shape)
        assert measurement_level(operator, kernel) is None
    fourfold = SeparableOperator.from_kernel(kernel, 4, SHAPE)
    assert measurement_level(fourfold, kernel, step=4) == 2
    assert measurement_level(SeparableOperator.from_kernel(kernel, 2, SHAPE), kernel, 4) is None
    names = list(KERNELS)
    other = names[(names.index(kernel) + 1) % len(names)]
    assert measurement_level(SeparableOperator.from_kernel(other, 2, SHAPE), kernel) is None


def test_operators_that_are_not_the_kernels_own() -> None:
    taller = SeparableOperator(np.ones((32, 16)), np.ones((32, 16)))
    assert measurement_level(taller, "fourier") is None
    inner = SeparableOperator.from_kernel("fourier", 2, SHAPE)
    wrapped = CallableOperator(inner, inner.adjoint, SHAPE, (8, 8))
    assert measurement_level(wrapped, "fourier") is None


# ---- the band constraint ----


def test_band_constraint_is_imposed_where_it_agrees_with_the_data() -> None:
    assert plan(4, 0.0).band_constraint
    assert plan(4, 0.1).band_constraint
    assert not plan(4, 0.0, kernel="area").band_constraint
    assert not plan(2, 0.0, measured="area", missing=[0, 1, 1]).band_constraint
    assert not plan(4, 0.0, replace(PAPER, band_constraint=False)).band_constraint
    for kwargs in ({"kernel": "area"}, {"measured": "area", "missing": [0, 1, 1]}):
        with pytest.raises(MRCascadeError, match="band constraint needs"):
            plan(2, 0.0, replace(PAPER, band_constraint=True), **kwargs)  # type: ignore[arg-type]


def test_band_constraint_on_odd_grids() -> None:
    operator = SeparableOperator.from_kernel("fourier", 2, (14, 10))  # then 7x5, 4x3
    assert plan_cascade("fourier", 3, operator, 0.0, PAPER).band_constraint


# ---- errors ----


def test_errors() -> None:
    with pytest.raises(MRCascadeError, match="consistency 'cascade' needs"):
        plan(2, 0.0, replace(PAPER, consistency="cascade"), measured="area", missing=[0, 1, 1])
    with pytest.raises(MRCascadeError, match="give the error that each level makes"):
        plan(2, 0.0, measured="area")
    for missing in ([0.0, 1.0], [0.1, 0.1, 0.1], [0.0, -1.0, 0.0], [0.0, float("nan"), 0.0]):
        with pytest.raises(MRCascadeError, match="must be 3 numbers >= 0"):
            plan(2, 0.0, measured="area", missing=missing)
    for sigma_y in (-0.1, float("nan"), float("inf")):
        with pytest.raises(MRCascadeError, match="noise level of the measurement"):
            plan(2, sigma_y)
    with pytest.raises(MRCascadeError, match="sigma_start needs one value for each of the 3"):
        plan(2, 0.0, replace(PAPER, sigma_start=(1.0, 2.0)))
    with pytest.raises(MRCascadeError, match="nothing to do"):
        plan(1, 0.0)
    with pytest.raises(MRCascadeError, match="2 steps cannot be split over 3"):
        plan(4, 0.0, replace(PAPER, steps=2))
