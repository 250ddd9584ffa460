"""The conditional mean against the posterior mean of Gaussian images."""

import math

import numpy as np
import pytest
import torch
from gaussian_prior import (
    GaussianPrior,
    condition_on,
    dense,
    image_gaussian,
    shrinkage,
    stationary_gaussian,
)

from mrcascade.errors import MRCascadeError
from mrcascade.operators import KERNELS, CallableOperator, SeparableOperator
from mrcascade.operators.pyramid import LaplacianPyramid
from mrcascade.sampling import (
    CascadeResult,
    NoiseSource,
    Progress,
    Recipe,
    cascade_mean,
    plan_cascade,
)
from mrcascade.sampling.comparison import noise_gain
from mrcascade.sampling.mean import band_gain

SHAPE = (8, 8)
MEAN = Recipe("mean", steps=None)


def setup(kernel: str, factor: int, sigma_y: float, *, stationary: bool = False, levels: int = 3):  # type: ignore[no-untyped-def]
    mean, cov = stationary_gaussian(SHAPE) if stationary else image_gaussian(SHAPE, 2)
    prior = GaussianPrior(mean, cov, LaplacianPyramid(kernel, SHAPE, levels))
    operator = SeparableOperator.from_kernel(kernel, factor, SHAPE)
    rng = np.random.default_rng(3)
    x = rng.multivariate_normal(mean, cov, size=2)
    y = x @ dense(operator).T
    y += sigma_y * rng.standard_normal(y.shape)
    expected = [condition_on(mean, cov, dense(operator), one, sigma_y)[0] for one in y]
    y_tensor = torch.tensor(y).reshape(2, 1, *operator.out_shape)
    return prior, operator, y_tensor, torch.tensor(np.array(expected)).reshape(2, 1, *SHAPE)


def distance(result: CascadeResult, expected: torch.Tensor) -> float:
    return float((result.image - expected).abs().max())


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    ("factor", "evaluations"), [(2, {1: 1, 2: 0, 3: 0}), (4, {1: 1, 2: 1, 3: 0})]
)
@pytest.mark.parametrize("consistency", ["measurement", "cascade"])
def test_noise_free_mean_is_the_posterior_mean(
    kernel: str, factor: int, evaluations: dict[int, int], consistency: str
) -> None:
    """y fixes the level on its grid; means of finer bands are linear in it, hence exact.

    Two dense solutions with covariances of condition number about 1e3 to 1e5: 1e-16 * 1e5 = 1e-11.
    """
    prior, operator, y, expected = setup(kernel, factor, 0.0)
    settings = Recipe("mean", steps=None, consistency=consistency)  # type: ignore[arg-type]
    plan = plan_cascade(kernel, 3, operator, 0.0, settings)
    result = cascade_mean(prior, plan, y)
    assert distance(result, expected) < 1e-10
    assert result.evaluations == evaluations
    assert float((operator(result.image) - y).abs().max()) < 1e-12


@pytest.mark.parametrize("factor", [1, 2, 4])
@pytest.mark.parametrize("sigma_y", [0.02, 0.3])
def test_noisy_mean_is_the_posterior_mean_for_independent_bands(
    factor: int, sigma_y: float
) -> None:
    """Fourier bands of stationary images are independent, so nothing is lost from band to band.

    It holds only with the noise level per degree of freedom of a band (see ``band_gain``).
    Solutions of systems of condition number below 1e4: rounding below 1e-12.
    """
    prior, operator, y, expected = setup("fourier", factor, sigma_y, stationary=True)
    plan = plan_cascade("fourier", 3, operator, sigma_y, MEAN)
    result = cascade_mean(prior, plan, y)
    assert distance(result, expected) < 1e-10
    assert result.evaluations == {1: 1, 2: 1, 3: 1}


def test_noisy_mean_of_dependent_bands_level_by_level() -> None:
    """Its own formula for 2x, written out: level 3 from down(y), level 2 from y's band, level 1."""
    sigma_y = 0.05
    prior, operator, y, expected = setup("fourier", 2, sigma_y)
    plan = plan_cascade("fourier", 3, operator, sigma_y, MEAN)
    down = dense(SeparableOperator.from_kernel("fourier", 2, (4, 4)))
    up = prior.ups[1]
    flat = y.flatten(1).numpy().T
    level3, level2, level1 = prior.levels[2], prior.levels[1], prior.levels[0]
    m = level3.constant[:, None]
    g3 = m + shrinkage(level3.cov, sigma_y / 2) @ (down @ flat - m)
    m = level2.constant[:, None] + level2.slope @ up @ g3
    g2 = m + shrinkage(level2.cov, sigma_y) @ (flat - up @ down @ flat - m) + up @ g3
    c = prior.ups[0] @ g2
    g1 = level1.constant[:, None] + level1.slope @ c + c
    result = cascade_mean(prior, plan, y)
    assert distance(result, torch.tensor(g1.T).reshape(2, 1, *SHAPE)) < 1e-10
    # Finer bands of y also tell about coarser ones here, which the cascade leaves unused.
    assert distance(result, expected) > 1e-4


def test_more_levels_finer_than_the_measurement() -> None:
    """4x with two levels: the coarsest level starts from the minimum-norm image of y."""
    prior, operator, y, _ = setup("fourier", 4, 0.0, levels=2)
    plan = plan_cascade("fourier", 2, operator, 0.0, MEAN)
    result = cascade_mean(prior, plan, y)
    h2 = SeparableOperator.from_kernel("fourier", 2, (4, 4))
    c = plan.pyramid.up(h2.pinv(y), 1)
    expected = c + prior.levels[0].condition(c, 0.0).mean()
    assert distance(result, expected) < 1e-12  # a few dozen products of order one
    assert result.evaluations == {1: 1, 2: 0}
    noisy = plan_cascade("fourier", 2, operator, 0.1, MEAN)
    assert cascade_mean(prior, noisy, y).evaluations == {1: 1, 2: 1}


@pytest.mark.parametrize("sigma_y", [0.0, 0.05])
@pytest.mark.parametrize("wrapped", [False, True])
def test_another_kind_of_operator(sigma_y: float, wrapped: bool) -> None:
    """Mean, then data step with tau = sigma_i^2 / std_i^2, written out with dense matrices."""
    prior, _, _, _ = setup("fourier", 2, 0.0, levels=2)
    inner = SeparableOperator.from_kernel("area", (2, 1), SHAPE)
    operator = (
        CallableOperator(inner, inner.adjoint, SHAPE, inner.out_shape, tolerance=1e-13)
        if wrapped
        else inner
    )
    y = torch.randn(2, 1, 4, 8, dtype=torch.float64, generator=torch.Generator())
    plan = plan_cascade("fourier", 2, operator, sigma_y, MEAN, missing=[0.0, 0.02])
    result = cascade_mean(prior, plan, y)
    assert result.evaluations == {1: 1, 2: int(sigma_y > 0)}

    h, down = dense(inner), dense(SeparableOperator.from_kernel("fourier", 2, SHAPE))
    flat = y.flatten(1).numpy().T
    look = down @ np.linalg.pinv(h)
    g2 = look @ flat
    if sigma_y > 0:
        gain = np.mean(np.sum(look**2, axis=1))
        if wrapped:  # a function has no matrix: the gain is that of one white image
            probe = NoiseSource([0]).randn((1, 1, 4, 8), dtype=torch.float64).flatten().numpy()
            gain = np.mean((look @ probe) ** 2)
        noise = sigma_y * np.sqrt(gain)
        m = prior.levels[1].constant[:, None]
        g2 = m + shrinkage(prior.levels[1].cov, noise) @ (g2 - m)
    level1 = prior.levels[0]
    c = prior.ups[0] @ g2
    v = level1.constant[:, None] + level1.slope @ c + c
    tau = (sigma_y / level1.std) ** 2
    if tau > 0:
        expected = np.linalg.solve(h.T @ h + tau * np.eye(64), h.T @ flat + tau * v)
    else:
        expected = v + np.linalg.pinv(h) @ (flat - h @ v)
    # Conjugate gradients end at 1e-13 of the gradient; these matrices have condition below 1e2.
    assert distance(result, torch.tensor(expected.T).reshape(2, 1, *SHAPE)) < 1e-10
    if sigma_y == 0:
        assert float((inner(result.image) - y).abs().max()) < (1e-10 if wrapped else 1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
def test_band_noise_by_monte_carlo(kernel: str) -> None:
    """sqrt((N - M) / N) band_gain is the standard deviation per sample of n - up(down(n)).

    The mean square of n draws has relative standard deviation sqrt(2 ||R||_F^2 / n) / trace(R)
    with R = (I - U D)(I - U D)^T; five of them.
    """
    pyramid = LaplacianPyramid(kernel, (8, 6), 2)
    n = 4_000
    noise = torch.randn(n, 1, 8, 6, dtype=torch.float64, generator=torch.Generator())
    measured = float((noise - pyramid.up(pyramid.down(noise, 1), 1)).square().mean())
    unit = torch.eye(48, dtype=torch.float64).reshape(48, 1, 8, 6)
    q = (unit - pyramid.up(pyramid.down(unit, 1), 1)).reshape(48, 48).numpy().T
    r = q @ q.T
    bound = 5 * math.sqrt(2 * np.sum(r**2) / n) / np.trace(r)
    assert abs(measured / (band_gain(pyramid, 1) ** 2 * 36 / 48) - 1) < bound
    if kernel == "fourier":
        assert band_gain(pyramid, 1) == pytest.approx(1.0, rel=1e-13)


def test_noise_gain_is_the_rms_of_the_rows() -> None:
    operator = SeparableOperator(np.array([[3.0, 4.0], [0.0, 1.0]]), np.array([[2.0, 0.0]]))
    assert noise_gain(operator) == pytest.approx(math.sqrt((25 + 1) / 2 * 4), rel=1e-15)


def test_noisy_bands_on_the_data_s_grid_are_denoised_at_informed_levels_too() -> None:
    """Their U-Nets denoise; their branches, which know of coarser data, are not asked."""
    prior, operator, y, _ = setup("fourier", 2, 0.1, stationary=True)

    class Informed:
        informed = True

        def __init__(self, level):  # type: ignore[no-untyped-def]
            self.level, self.std = level, level.std
            self.sigma_max, self.sigma_min = level.sigma_max, level.sigma_min

        def condition(self, c, error, known=None):  # type: ignore[no-untyped-def]
            assert known is None
            return self.level.condition(c, error)

    plan = plan_cascade("fourier", 3, operator, 0.1, MEAN)
    plain = cascade_mean(prior, plan, y)
    prior.levels = [*map(Informed, prior.levels[:2]), prior.levels[2]]
    assert plan.tasks[1].view.numbers(prior.levels[1].std) is not None
    assert torch.equal(cascade_mean(prior, plan, y).image, plain.image)


def test_condition_error_is_told_where_the_coarser_band_was_guessed() -> None:
    prior, operator, y, _ = setup("fourier", 4, 0.1)
    seen: list[tuple[bool, float]] = []

    class Watched:
        def __init__(self, level):  # type: ignore[no-untyped-def]
            self.level, self.std = level, level.std
            self.sigma_max, self.sigma_min = level.sigma_max, level.sigma_min
            self.informed = False

        def condition(self, c, error):  # type: ignore[no-untyped-def]
            seen.append((c is None, error))
            return self.level.condition(c, error)

    prior.levels = [Watched(level) for level in prior.levels]
    settings = Recipe("mean", steps=None, condition_error=0.25)
    cascade_mean(prior, plan_cascade("fourier", 3, operator, 0.1, settings), y)
    # y lies on the grid of level 3, so level 2 is the first band that is guessed.
    assert seen == [(True, 0.0), (False, 0.0), (False, 0.25)]


def test_callback_and_errors() -> None:
    prior, operator, y, _ = setup("fourier", 4, 0.0)
    plan = plan_cascade("fourier", 3, operator, 0.0, MEAN)
    seen: list[Progress] = []
    cascade_mean(prior, plan, y, callback=seen.append)
    assert [(p.level, p.step, p.steps) for p in seen] == [(2, 0, 1), (1, 0, 1)]
    with pytest.raises(MRCascadeError, match=r"expected \(images, channels, "):
        cascade_mean(prior, plan, y[:, :, :1])
    prior.levels.pop()
    with pytest.raises(MRCascadeError, match="the plan is for 3 levels and the prior has 2"):
        cascade_mean(prior, plan, y)
