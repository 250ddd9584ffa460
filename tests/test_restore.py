"""Restoring in memory: exact data, seeds, batches, moments, errors."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mrcascade import (
    CascadePrior,
    MRCascadeError,
    Recipe,
    SeparableOperator,
    super_resolve,
)
from mrcascade.arrays.intensity import Intensity, robust_maximum
from mrcascade.jobs import expected_evaluations
from mrcascade.operators import CallableOperator
from mrcascade.restore import Plan, Restorer, make_plan, relative_residual, resolve_settings
from mrcascade.sampling import RECIPES, Progress
from tests.conftest import write_random_prior
from tests.quick import slow

# Outputs of a network on other batch sizes differ by the rounding of float32 sums; a chain of few
# steps amplifies that by less than this, relative to intensities of order one.
FLOAT_TOLERANCE = 1e-4
SHORT = Recipe("short", steps=9)
restore_exact = partial(super_resolve, noise=0.0)


def phantom(slices: int = 3, side: int = 64) -> np.ndarray:
    rng = np.random.default_rng(3)
    grid = np.linspace(-1, 1, side)
    disc = (grid[:, None] ** 2 + grid[None] ** 2 < 0.7).astype(np.float32)
    return np.stack(
        [disc * (1 + 0.2 * rng.normal(size=(side, side))) for _ in range(slices)]
    ).astype(np.float32)


def measure(x: np.ndarray, factor: float | tuple = 4, kernel: str = "fourier"):
    operator = SeparableOperator.from_kernel(kernel, factor, x.shape[-2:])
    return operator(torch.from_numpy(x)).numpy(), operator


@pytest.mark.parametrize("mode", ["mean", SHORT, replace(SHORT, consistency="cascade")])
@pytest.mark.parametrize("factor", [2, 4])
def test_noise_free_measurement_is_met(prior: CascadePrior, mode, factor: int) -> None:
    y, operator = measure(phantom(), factor)
    result = restore_exact(y, operator, prior, mode=mode)
    assert result.residual.max() < 1e-5
    assert relative_residual(result.mean, y, operator).max() < 1e-5
    assert result.mean.shape == (3, 64, 64)
    assert result.mean.dtype == np.float32


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_an_empty_slice_has_no_residual(prior: CascadePrior, noise: float) -> None:
    y, operator = measure(phantom())
    y[1] = 0
    residual = super_resolve(y, operator, prior, noise=noise).residual
    assert np.isnan(residual).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("factor", "kernel"),
    [
        (2, "area"),
        (4, "bicubic"),
        (2, "gaussian"),
        (3, "fourier"),
        ((2, 1), "fourier"),
        (1.5, "area"),
    ],
)
@pytest.mark.parametrize("mode", ["mean", SHORT])
def test_foreign_operators_are_met_too(prior: CascadePrior, factor, kernel: str, mode) -> None:
    y, operator = measure(phantom(1, 96), factor, kernel)
    result = restore_exact(y, operator, prior, mode=mode)
    assert result.residual.max() < 1e-5


@pytest.mark.parametrize("mode", ["mean", SHORT])
def test_an_operator_given_as_functions(prior: CascadePrior, mode) -> None:
    """Motion along the diagonal and decimation: not separable."""

    def forward(x: Tensor) -> Tensor:
        return ((x + torch.roll(x, (1, 1), (-2, -1))) / 2)[..., ::2, ::2]

    def adjoint(y: Tensor) -> Tensor:
        x = y.new_zeros((*y.shape[:-2], 64, 64))
        x[..., ::2, ::2] = y / 2
        return x + torch.roll(x, (-1, -1), (-2, -1))

    operator = CallableOperator(forward, adjoint, (64, 64), (32, 32))
    y = operator(torch.from_numpy(phantom(1))).numpy()
    assert restore_exact(y, operator, prior, mode=mode).residual.max() < 1e-5


def test_seed_decides_and_batches_do_not(prior: CascadePrior) -> None:
    y, operator = measure(phantom(3))
    runs = {
        size: restore_exact(y, operator, prior, mode=SHORT, samples=2, seed=0, batch_size=size)
        for size in (1, 4)
    }
    assert np.abs(runs[1].mean - runs[4].mean).max() < FLOAT_TOLERANCE
    assert np.abs(runs[1].std - runs[4].std).max() < FLOAT_TOLERANCE
    again = restore_exact(y, operator, prior, mode=SHORT, samples=2, seed=0, batch_size=1)
    np.testing.assert_array_equal(again.mean, runs[1].mean)
    other = restore_exact(y, operator, prior, mode=SHORT, samples=2, seed=1)
    assert np.abs(other.sample - runs[1].sample).max() > 100 * FLOAT_TOLERANCE


def test_slices_alone_or_in_any_order_give_the_same(prior: CascadePrior) -> None:
    y, operator = measure(phantom(3))
    intensity = Intensity.of(y)
    whole = restore_exact(y, operator, prior, mode=SHORT, intensity=intensity)
    restorer = Restorer(prior, Plan.of(prior, operator, 0.0, SHORT))
    for index in (2, 0, 1):
        alone = restorer(y[index], intensity, numbers=[index])
        np.testing.assert_allclose(alone.mean, whole.mean[index], atol=FLOAT_TOLERANCE)
        assert alone.mean.shape == (64, 64)


def test_moments_are_those_of_the_samples(prior: CascadePrior) -> None:
    y, operator = measure(phantom(2))
    result = restore_exact(y, operator, prior, mode=SHORT, samples=3, seed=5)
    singles = []
    for k in range(3):
        # Sample k of a slice is the last of k + 1 samples: recovered from two running means.
        upto = restore_exact(y, operator, prior, mode=SHORT, samples=k + 1, seed=5).mean
        singles.append((k + 1) * upto.astype(np.float64) - sum(singles, np.zeros_like(upto)))
    np.testing.assert_allclose(result.sample, singles[0], atol=1e-6)
    np.testing.assert_allclose(result.mean, np.mean(singles, 0), atol=1e-5)
    np.testing.assert_allclose(result.std, np.std(singles, 0, ddof=1), atol=1e-5)
    wide = restore_exact(y, operator, prior, mode=replace(SHORT, spread=1.5), samples=3, seed=5)
    np.testing.assert_allclose(wide.std, 1.5 * result.std, rtol=1e-6)
    assert np.array_equal(wide.mean, result.mean)


def test_scale_comes_from_the_measurement_and_is_undone(prior: CascadePrior) -> None:
    y, operator = measure(phantom(1))
    one = restore_exact(y, operator, prior)
    many = restore_exact(1000 * y, operator, prior)
    np.testing.assert_allclose(many.mean, 1000 * one.mean, rtol=1e-4, atol=1000 * 1e-5)
    assert one.settings["scale"] == pytest.approx(robust_maximum(y))


def test_determined_level_is_skipped_and_reported(prior: CascadePrior) -> None:
    y, operator = measure(phantom(1))
    skipped = restore_exact(y, operator, prior, mode=SHORT)
    assert skipped.evaluations == {1: 3, 2: 3, 3: 0}
    assert skipped.settings["steps_nominal"] == 9
    letter = restore_exact(y, operator, prior, mode=replace(SHORT, skip_determined=False))
    assert letter.evaluations == {1: 3, 2: 3, 3: 3}
    two, operator = measure(phantom(1), 2)
    assert restore_exact(two, operator, prior, mode=SHORT).evaluations == {1: 9, 2: 0, 3: 0}


def test_noise_lets_the_result_leave_the_data(prior: CascadePrior) -> None:
    y, operator = measure(phantom(1))
    assert super_resolve(y, operator, prior, noise=0.05).residual.max() > 1e-3
    assert super_resolve(y, operator, prior, noise=0.05, mode=SHORT).residual.max() > 1e-3


def test_complex_images_need_a_complex_prior(prior: CascadePrior, tmp_path: Path) -> None:
    x = phantom(2) * np.exp(1j * np.linspace(0, 3, 64)).astype(np.complex64)
    y, operator = measure(x)
    with pytest.raises(
        MRCascadeError, match="models magnitude images and the measurement is complex"
    ):
        restore_exact(y, operator, prior)
    two = CascadePrior.from_pretrained(write_random_prior(tmp_path / "two", channels=2))
    result = restore_exact(y, operator, two, mode=SHORT, samples=2)
    assert result.mean.dtype == np.complex64
    assert result.residual.max() < 1e-5
    assert result.std.dtype == np.float32
    with pytest.raises(MRCascadeError, match="has no phase: use a magnitude prior, such as"):
        restore_exact(np.abs(y), operator, two)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "best"}, "unknown mode 'best': choose one of mean, balanced, sample, paper"),
        (
            {"mode": "best:zeta=1"},
            "unknown mode 'best': choose one of mean, balanced, sample, paper",
        ),
        (
            {"mode": "paper:magic=1"},
            "mode 'paper:magic=1': no setting 'magic'; the settings are zeta",
        ),
        ({"mode": "paper:zeta=much"}, "mode 'paper:zeta=much': zeta=much is of the wrong kind"),
        ({"mode": "paper:zeta=true"}, "zeta=true is of the wrong kind"),
        ({"mode": "paper:rho=7/true"}, "rho=7/true is of the wrong kind"),
        ({"mode": "paper:sigma_min=true/1/1"}, "sigma_min=true/1/1 is of the wrong kind"),
        ({"mode": "mean:condition_error=false"}, "condition_error=false is of the wrong kind"),
        ({"mode": "mean:orientations=true"}, "orientations=true is of the wrong kind"),
        ({"mode": "sample:observed_zeta=true"}, "observed_zeta=true is of the wrong kind"),
        ({"mode": "multigrid-pnp:pnp_step=true"}, "pnp_step=true is of the wrong kind"),
        ({"mode": "paper:project=1"}, "project must be true or false; got 1"),
        ({"mode": "mean:orientations=3"}, "orientations must be 1, 2, 4 or 8; got 3"),
        ({"mode": "paper:project=False"}, "project must be true or false; got 'False'"),
        ({"mode": "paper:band_constraint=off"}, "band_constraint must be true, false or null"),
        (
            {"mode": "multigrid-pnp:grids=1.5"},
            "grids must be a whole number",
        ),
        ({"mode": "paper:rho=0.001"}, "rho must be 0.1 or more; got 0.001"),
        ({"mode": "mean", "steps": 5}, "drop --steps"),
        ({"mode": "mean", "samples": 2}, "'mean' has one result; for 2 samples use mode 'sample'"),
        ({"mode": "mean:zeta=0.9"}, "zeta has no effect here; the settings are project, consist"),
        ({"mode": "paper:step_size=3"}, "step_size has no effect here; the settings are zeta, lam"),
        ({"mode": "paper:grids=2"}, "grids has no effect here; the settings are zeta, lam"),
        ({"mode": "paper:sampler=dps"}, "no setting 'sampler'"),
        ({"samples": 0, "mode": "paper"}, "1 or more"),
        ({"batch_size": 0}, "1 or more"),
    ],
)
def test_settings_that_do_not_fit(prior: CascadePrior, arguments: dict, message: str) -> None:
    y, operator = measure(phantom(1))
    with pytest.raises(MRCascadeError, match=message):
        restore_exact(y, operator, prior, **arguments)


def test_measurements_that_do_not_fit(prior: CascadePrior) -> None:
    y, operator = measure(phantom(1))
    with pytest.raises(MRCascadeError, match=r"expected \(slices, 16, 16\), got \(1, 15, 16\)"):
        restore_exact(y[:, :-1], operator, prior)
    with pytest.raises(MRCascadeError, match="zero almost everywhere"):
        restore_exact(np.zeros_like(y), operator, prior)
    y, operator = measure(phantom(1), 8)
    with pytest.raises(MRCascadeError, match="factor 8 is larger than prior 'random' can do"):
        restore_exact(y, operator, prior)
    y, operator = measure(phantom(1, 16), 2)
    with pytest.raises(MRCascadeError, match="needs at least 32 pixels per side"):
        restore_exact(y, operator, prior)


def test_arguments_that_are_none(prior: CascadePrior) -> None:
    y, operator = measure(phantom())
    with pytest.raises(MRCascadeError, match="operator 4: give a measurement operator, such as"):
        super_resolve(y, 4, prior)
    for kind in ([1.0], torch.zeros(4, 4)):
        with pytest.raises(MRCascadeError, match=r"expected a NumPy array, got (list|Tensor)"):
            super_resolve(kind, operator, prior)
    for wrong in (y[0, 0], y[None], y[:0]):
        with pytest.raises(MRCascadeError, match=r"expected \(h, w\) or \(slices, h, w\), got"):
            super_resolve(wrong, operator, prior)
    with pytest.raises(MRCascadeError, match="expected numbers, got values of <U1"):
        super_resolve(np.full(y.shape, "a"), operator, prior)
    y[1, 2, 3] = np.nan
    with pytest.raises(MRCascadeError, match="the measurement holds 1 NaN or infinite pixel; "):
        super_resolve(y, operator, prior)


def test_an_image_of_integers_is_not_rounded(prior: CascadePrior) -> None:
    """Their steps are fine here; the result between 0 and 1 that they are restored as is not."""
    y, operator = measure(phantom(1), 2)
    counts = (1000 * np.abs(y)).astype(np.uint16)
    result = restore_exact(counts, operator, prior)
    exact = restore_exact(counts.astype(np.float32), operator, prior)
    assert result.mean.dtype == np.float32
    np.testing.assert_array_equal(result.mean, exact.mean)
    assert result.residual.max() < 1e-5


@pytest.mark.parametrize("values", [{"zetta": 0.2}, {"zeta": "0.2"}])
def test_wrong_settings_in_a_prior(prior: CascadePrior, values: dict) -> None:
    wrong = replace(prior, sampling={"paper": values})
    with pytest.raises(MRCascadeError, match=r"'sampling' in its prior\.json has a setting of"):
        resolve_settings(wrong, "paper")
    assert resolve_settings(wrong, "mean") == RECIPES["mean"]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("noise", [slow(0.0), 0.05])
def test_mean_over_orientations(tmp_path: Path, noise: float, channels: int) -> None:
    """With all eight, the result for the transposed measurement is the transposed result."""
    prior = CascadePrior.from_pretrained(write_random_prior(tmp_path, channels))
    image = phantom(1, side=64)[0]
    if channels == 2:
        image = image * np.exp(1j * np.linspace(0, 3, 64)).astype(np.complex64)
    y, operator = measure(image)
    settings = Recipe("all", steps=None, orientations=8)

    def restored(measurement: np.ndarray, mode: Recipe) -> np.ndarray:
        return super_resolve(measurement, operator, prior, mode=mode, noise=noise).mean

    turned = np.ascontiguousarray(y.T)
    assert np.abs(restored(turned, settings) - restored(y, settings).T).max() < FLOAT_TOLERANCE
    one = replace(settings, orientations=1)
    assert np.abs(restored(turned, one) - restored(y, one).T).max() > 10 * FLOAT_TOLERANCE


def test_settings_after_a_mode_change_it(prior: CascadePrior) -> None:
    """Those that are not named stay as the prior has them."""
    tuned = replace(prior, sampling={"paper": {"zeta": 0.2, "orientations": 4}})
    settings = resolve_settings(tuned, "paper:zeta=0.7:sigma_start=8/8/80", 9)
    assert settings == replace(
        RECIPES["paper"], zeta=0.7, sigma_start=(8, 8, 80), orientations=4, steps=9
    )
    y, operator = measure(phantom(1))
    assert restore_exact(y, operator, prior, mode="mean:orientations=2").evaluations[1] == 2


def test_each_orientation_counts_as_evaluation(prior: CascadePrior) -> None:
    y, operator = measure(phantom(1))
    seen: list[tuple[int, int, int]] = []
    settings = Recipe("four", steps=None, orientations=4)
    result = restore_exact(
        y,
        operator,
        prior,
        mode=settings,
        callback=lambda event: seen.append((event.level, event.step, event.steps)),
    )
    assert result.evaluations == {1: 4, 2: 4, 3: 0}
    assert seen == [(level, step, 4) for level in (2, 1) for step in range(4)]
    for wrong in (3, (1, 3), ()):
        message = re.escape(f"orientations must be 1, 2, 4 or 8; got {wrong}")
        with pytest.raises(MRCascadeError, match=message):
            replace(settings, orientations=wrong)


def test_a_level_may_have_orientations_of_its_own(prior: CascadePrior) -> None:
    """The last number holds for all coarser levels; JSON's list is a tuple, and "2/8" numbers."""
    tuned = replace(prior, sampling={"mean": {"orientations": [2, 8]}})
    settings = resolve_settings(tuned, "mean")
    assert settings == resolve_settings(prior, "mean:orientations=2/8")
    assert [settings.orientations_at(level) for level in (1, 2, 3, 4)] == [2, 8, 8, 8]
    y, operator = measure(phantom(1))
    result = restore_exact(y, operator, tuned)
    assert result.evaluations == {1: 2, 2: 8, 3: 0}
    plan = make_plan(tuned, operator, 0.0, settings)
    assert expected_evaluations(plan) == 10


def test_between_mean_and_sample(prior: CascadePrior) -> None:
    """One image, which meets the data; its spread would not be the posterior's, so it has none."""
    y, operator = measure(phantom(1))
    calls: list[Progress] = []
    result = restore_exact(y, operator, prior, mode="balanced", steps=6, callback=calls.append)
    for mode, means in (("balanced", {1: 0, 2: 1}), ("balanced:detail=0", {1: 1, 2: 1})):
        made = restore_exact(y, operator, prior, mode=mode, steps=6).evaluations
        assert made == {1: 2 + means[1], 2: 2 + means[2], 3: 0}
        settings = resolve_settings(prior, mode, 6)
        plan = make_plan(prior, operator, 0.0, settings)
        assert expected_evaluations(plan) == sum(made.values())
    assert len(calls) == sum(result.evaluations.values())
    drawn = restore_exact(y, operator, prior, mode="balanced:detail=1", steps=6)
    assert result.residual.max() < 1e-5
    assert result.settings["detail"] == (1.0, 0.6)
    assert not np.array_equal(result.mean, drawn.mean)
    for mode in ("balanced", "paper:detail=0.9"):
        with pytest.raises(MRCascadeError, match="for 2 samples use mode 'sample'"):
            restore_exact(y, operator, prior, mode=mode, steps=6, samples=2)
    both = restore_exact(y, operator, prior, mode="balanced:detail=1", steps=6, samples=2)
    assert both.std is not None
