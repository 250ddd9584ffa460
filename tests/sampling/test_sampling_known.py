"""What data know of a band, against dense matrices; means of informed Gaussian priors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from gaussian_prior import Array, condition_on, dense, image_gaussian
from torch import Tensor

from mrcascade.operators import (
    CallableOperator,
    LinearOperator,
    SeparableOperator,
    downsampler,
    expected_error,
    upsampler,
)
from mrcascade.operators.band import KnownBand
from mrcascade.operators.profile import profile_matrix
from mrcascade.operators.pyramid import LaplacianPyramid
from mrcascade.sampling import (
    CascadePlan,
    Recipe,
    cascade_mean,
    plan_cascade,
)
from mrcascade.sampling.known import turned, within
from mrcascade.sampling.level import LevelProblem, condition_error
from mrcascade.sampling.orientations import ORIENTATIONS

SHAPE = (16, 12)
MEAN = Recipe("mean", steps=None)
STD = 0.3


def thick(rows: int) -> SeparableOperator:
    return SeparableOperator(profile_matrix(SHAPE[0], rows), np.eye(SHAPE[1]), "thick")


OPERATORS: dict[str, Callable[[], SeparableOperator]] = {
    "one axis": lambda: SeparableOperator.from_kernel("fourier", (4, 1), SHAPE),
    "other axis, not whole": lambda: SeparableOperator.from_kernel("fourier", (1, 1.5), SHAPE),
    "thick slices": lambda: thick(4),
    "other kernel": lambda: SeparableOperator.from_kernel("area", 2, SHAPE),
    "both axes": lambda: SeparableOperator.from_kernel("bicubic", (4, 3), SHAPE),
    "own kernel": lambda: SeparableOperator.from_kernel("fourier", 2, SHAPE),
}


def no_error(full: LinearOperator, coarse: LinearOperator) -> float:
    return 0.0


def planned(
    operator: LinearOperator, sigma: float, kernel: str = "fourier", levels: int = 3
) -> CascadePlan:
    return plan_cascade(kernel, levels, operator, sigma, MEAN, missing=no_error)


def dense_parts(pyramid: LaplacianPyramid, level: int) -> tuple[Array, Array]:
    """P of rows and of columns, from the images of unit vectors."""
    fine, coarse = pyramid.shapes[level - 1], pyramid.shapes[level]
    both = upsampler(pyramid.kernel, fine, coarse).compose(
        downsampler(pyramid.kernel, fine, coarse)
    )
    return both.rows, both.cols


@pytest.mark.parametrize("kernel", ["fourier", "area"])
@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("sigma", [0.0, 0.1])
@pytest.mark.parametrize("name", OPERATORS)
def test_band_and_numbers_are_those_of_dense_matrices(
    name: str, sigma: float, level: int, kernel: str
) -> None:
    plan = planned(OPERATORS[name](), sigma, kernel)
    task = plan.tasks[level - 1]
    a = dense(task.data.operator)
    noise = task.view.sigma
    # The best linear estimate; the limit of no noise is the pseudo-inverse.
    inverse = (
        np.linalg.solve(a.T @ a + (noise / STD) ** 2 * np.eye(a.shape[1]), a.T)
        if noise
        else np.linalg.pinv(a, rcond=1e-9)
    )
    p_rows, p_cols = dense_parts(plan.pyramid, level)
    one_rows, one_cols = np.eye(len(p_rows)), np.eye(len(p_cols))
    parts = [
        np.kron(one_rows - p_rows, p_cols),
        np.kron(p_rows, one_cols - p_cols),
        np.kron(one_rows - p_rows, one_cols - p_cols),
    ]
    expected = [np.trace(inverse @ a @ part) / np.trace(part) for part in parts]
    numbers = task.view.numbers(STD)
    rng = np.random.default_rng(0)
    context = torch.tensor(rng.standard_normal((2, 1, *plan.pyramid.shapes[level - 1])))
    target = torch.tensor(rng.standard_normal((2, 1, *task.data.operator.out_shape)))
    known = task.view.band(context, target, STD)
    if numbers is None or known is None:
        assert numbers is None
        assert known is None
        assert np.abs(expected).max() < 1e-9
        assert name == "own kernel"
        assert kernel == "fourier"
        return
    np.testing.assert_allclose(numbers[:3], expected, atol=1e-9)
    assert numbers[3] == pytest.approx(noise / np.hypot(noise, STD))
    fine = np.eye(a.shape[1]) - np.kron(p_rows, p_cols)
    rest = target.flatten(2).numpy() - context.flatten(2).numpy() @ a.T
    band = torch.tensor(rest @ (fine @ inverse).T).reshape(context.shape)
    torch.testing.assert_close(known.band, band, atol=1e-8, rtol=1e-6)
    other = torch.tensor(rng.standard_normal(context.shape))
    left = other.flatten(2).numpy() @ (np.eye(a.shape[1]) - fine @ inverse @ a).T
    np.testing.assert_allclose(known.unknown(other).flatten(2).numpy(), left, atol=1e-8)
    whole = np.trace(inverse @ a @ fine) / np.trace(fine)
    assert task.view.share(STD) == pytest.approx(min(max(whole, 0), 1), abs=1e-9)


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("sigma", [0.0, 0.05])
def test_data_of_the_own_kernel_know_nothing_of_finer_bands(factor: int, sigma: float) -> None:
    plan = planned(SeparableOperator.from_kernel("fourier", factor, (32, 48)), sigma)
    assert plan.grid == 1 + factor // 2
    for level in range(1, plan.grid):
        view = plan.tasks[level - 1].view
        assert view.numbers(STD) is None
        assert view.share(STD) == pytest.approx(0, abs=1e-12)
    on_grid = plan.tasks[plan.grid - 1].view
    assert on_grid.share(STD) == pytest.approx(STD**2 / (STD**2 + sigma**2))
    if plan.grid < 3:
        noise = sigma / np.hypot(sigma, STD)
        expected = (*[1 - noise**2] * 3, noise)
        assert on_grid.numbers(STD) == pytest.approx(expected)


def test_operators_that_are_not_separable_tell_nothing() -> None:
    inner = OPERATORS["one axis"]()
    operator = CallableOperator(inner, inner.adjoint, SHAPE, inner.out_shape)
    plan = planned(operator, 0.0)
    for task in plan.tasks:
        assert task.view.numbers(STD) is None
        assert task.view.share(STD) is None


def test_noise_of_a_coarse_level_is_that_of_the_components_that_it_makes() -> None:
    def density(rows: Array, cols: Array) -> Array:
        return 1.0 / (0.05 + rows**2 + cols**2)

    def error(full: LinearOperator, coarse: LinearOperator) -> float:
        assert isinstance(full, SeparableOperator)
        assert isinstance(coarse, SeparableOperator)
        return expected_error(full, coarse, density)

    one_axis = plan_cascade("fourier", 3, OPERATORS["one axis"](), 0.0, MEAN, missing=error)
    # Columns finer than level 2 stand in y, but nowhere that level 2 can reach.
    assert one_axis.tasks[1].data.sigma > 0.01
    assert one_axis.tasks[1].view.sigma == 0
    assert one_axis.tasks[1].view.aliased == pytest.approx(0, abs=1e-12)
    operator = thick(8)
    sliced = plan_cascade("fourier", 3, operator, 0.02, MEAN, missing=error)
    a, h = dense(sliced.tasks[1].data.operator), dense(operator)
    down = dense(downsampler("fourier", SHAPE, sliced.pyramid.shapes[1]))
    u, s, _ = np.linalg.svd(a)
    u = u[:, : int((s > 1e-9).sum())]
    units = np.eye(down.shape[1]).reshape(-1, *SHAPE)
    fr, fc = np.meshgrid(*map(np.fft.fftfreq, SHAPE), indexing="ij")
    root = np.fft.ifft2(np.fft.fft2(units) * np.sqrt(density(fr, fc))).real
    root = root.reshape(len(units), -1)
    seen = u.T @ (h - a @ down) @ root.T
    aliased = np.sqrt((seen**2).sum() / u.shape[1])
    assert sliced.tasks[1].view.aliased == pytest.approx(aliased)
    assert sliced.tasks[1].view.sigma == pytest.approx(np.hypot(0.02, aliased))
    assert (sliced.tasks[0].view.sigma, sliced.tasks[0].view.aliased) == (0.02, 0)


def test_numbers_turn_with_the_image() -> None:
    band = torch.arange(12.0).reshape(1, 1, 3, 4)
    known = KnownBand(band, (0.1, 0.2, 0.3, 0.4), lambda m: m * torch.arange(12.0).view(3, 4))
    assert turned(None, ORIENTATIONS[0]) is None
    for turn in ORIENTATIONS:
        found = turned(known, turn)
        assert found is not None
        assert torch.equal(turn.undo(found.band), band)
        expected = (0.2, 0.1, 0.3, 0.4) if turn.transposed else known.numbers
        assert found.numbers == expected
        other = band.flip(-1) + 1
        torch.testing.assert_close(
            turn.undo(found.unknown(turn.apply(other))), known.unknown(other)
        )


def test_a_part_of_the_images_is_a_band_that_is_zero_elsewhere() -> None:
    plan = planned(OPERATORS["thick slices"](), 0.1)
    rng = np.random.default_rng(0)
    context, whole = torch.tensor(rng.standard_normal((2, 3, 1, *SHAPE)))
    target = torch.tensor(rng.standard_normal((3, 1, *plan.operator.out_shape)))
    known = plan.tasks[0].view.band(context, target, STD)
    assert within(None, ([0], slice(None), slice(None), slice(None))) is None
    inside = ([2, 0], slice(None), slice(4, 12), slice(0, 8))
    part = within(known, inside)
    assert known is not None
    assert part is not None
    assert torch.equal(part.band, known.band[inside])
    embedded = torch.zeros_like(whole)
    embedded[inside] = whole[inside]
    assert part.numbers == known.numbers
    torch.testing.assert_close(part.unknown(whole[inside]), known.unknown(embedded)[inside])


# ---- cascades of priors whose regression is exact ----


class Regression:
    """A level of the Gaussian x ~ N(mean, cov) whose branch is the exact, linear regression of the
    band on the coarser image and on what data know of it."""

    sigma_max, sigma_min, informed = 20.0, 0.002, True

    def __init__(self, mean: Array, cov: Array, band: Array, coarse: Array, known: Array) -> None:
        self.std = float(np.sqrt(np.trace(band @ cov @ band.T) / len(band)))
        self._mean, self._cov = mean, cov
        self._band, self._coarse, self._known = band, coarse, known
        self.seen: list[tuple[float, KnownBand | None]] = []

    def condition(
        self, coarse: Tensor | None, error: float, known: KnownBand | None = None
    ) -> Regression:
        assert coarse is not None
        assert known is not None
        self.seen.append((error, known))
        inputs = np.concatenate([self._coarse, self._known])
        weights = self._band @ self._cov @ inputs.T @ np.linalg.pinv(inputs @ self._cov @ inputs.T)
        given = torch.cat([coarse.flatten(2), known.band.flatten(2)], -1)[0, 0].numpy()
        band = self._band @ self._mean + weights @ (given - inputs @ self._mean)
        self._result = torch.tensor(band).reshape(coarse.shape)
        return self

    def mean(self) -> Tensor:
        return self._result

    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        raise AssertionError("a mean needs no denoiser here")


class Coarsest:
    """The coarsest level, which data of this test fix."""

    std, sigma_max, sigma_min, informed = 0.3, 20.0, 0.002, False

    def condition(self, *arguments: object) -> Coarsest:
        return self


class Prior:
    def __init__(self, *levels: object) -> None:
        self.levels = levels


@pytest.mark.parametrize("factor", [(2, 1), (1, 2), (1.6, 1)])
def test_condition_carries_all_that_the_data_know(factor: tuple[float, float]) -> None:
    """Data along one axis are the coarser image and the known part of the band. So the mean of a
    Gaussian prior whose regression uses both is the posterior mean."""
    shape = (8, 8)
    operator = SeparableOperator.from_kernel("fourier", factor, shape)
    plan = planned(operator, 0.0, levels=2)
    mean, cov = image_gaussian(shape, 4)
    h = dense(operator)
    y = h @ np.random.default_rng(5).multivariate_normal(mean, cov)
    down = dense(downsampler("fourier", shape, (4, 4)))
    up = dense(upsampler("fourier", shape, (4, 4)))
    band = np.eye(64) - up @ down
    level = Regression(mean, cov, band, up @ down, band @ np.linalg.pinv(h) @ (h - h @ up @ down))
    target = torch.tensor(y).reshape(1, 1, *operator.out_shape)
    image = cascade_mean(Prior(level, Coarsest()), plan, target).image
    expected, _ = condition_on(mean, cov, h, y, 0.0)
    np.testing.assert_allclose(image.flatten().numpy(), expected, atol=1e-7)
    ((error, known),) = level.seen
    assert error == pytest.approx(0, abs=1e-6)  # the coarser image is known
    assert known is not None
    assert float(known.band.abs().max()) > 0.01


def test_exact_data_are_met_at_every_level_that_sees_them() -> None:
    class Nothing(Coarsest):
        informed = True

        def condition(self, coarse: Tensor, error: float, known: KnownBand | None = None) -> object:
            self.shape = coarse.shape
            return self

        def mean(self) -> Tensor:
            return torch.full(self.shape, 0.1, dtype=torch.float64)

    operator = OPERATORS["one axis"]()
    plan = planned(operator, 0.0)
    truth = torch.tensor(np.random.default_rng(0).standard_normal((1, 1, *SHAPE)))
    y = operator(truth)
    image = None
    for level in (3, 2, 1):
        prior = Prior(*[Nothing() if i < 3 else Coarsest() for i in (1, 2, 3)])
        result = cascade_mean(prior, plan, y, finest=level).image
        image = result if image is None else image
    torch.testing.assert_close(operator(result), y)
    # The part of level 2 that y sees: low rows, all columns of that grid.
    problem = LevelProblem.at(
        plan, plan.tasks[1], y, plan.pyramid.down(plan.pyramid.down(truth, 1), 2)
    )
    projected = problem.image(problem.met(torch.zeros_like(problem.context)))
    seen = plan.tasks[1].data.operator
    torch.testing.assert_close(seen(projected), seen(plan.pyramid.down(truth, 1)))


@pytest.mark.parametrize("factor", [2, 4])
def test_condition_error_is_the_share_that_data_leave_open(factor: int) -> None:
    settings = replace(MEAN, condition_error=0.4)
    operator = SeparableOperator.from_kernel("fourier", factor, (32, 32))
    informed = Prior(*[type("Level", (), {"informed": i < 3, "std": STD}) for i in (1, 2, 3)])
    for sigma in (0.0, 0.1):
        plan = plan_cascade("fourier", 3, operator, sigma, settings)
        open_ = np.sqrt(sigma**2 / (sigma**2 + STD**2))
        found = [condition_error(informed, plan, level) for level in (1, 2, 3)]
        gains = 2 if factor == 2 else 1  # y on level 2's grid: level 3's noise is half of it
        coarse = (sigma / gains) / np.hypot(sigma / gains, STD)
        fine = open_ if factor == 2 else 1.0
        assert found == pytest.approx([0.4 * fine, 0.4 * coarse, 0.0], abs=1e-6)
    one_axis = plan_cascade(
        "fourier",
        3,
        SeparableOperator.from_kernel("fourier", (4, 1), (32, 32)),
        0.0,
        settings,
        missing=no_error,
    )
    # Of level 2's band, 3/4 of the grid, the low rows and high columns are known: 1/4 of it.
    assert condition_error(informed, one_axis, 1) == pytest.approx(0.4 * np.sqrt(2 / 3))


# ---- chains ----
