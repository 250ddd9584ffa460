"""Guarantees of a cascade: exact data, batch invariance, schedule, starts, no clipping."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from cascade_cases import (
    CASES,
    OTHER_OPERATORS,
    SHAPE,
    SHORT,
    Case,
    Silence,
    label,
    prior_and_measurement,
)
from gaussian_prior import (
    GaussianPrior,
    image_gaussian,
)
from torch import Tensor

from mrcascade.errors import MRCascadeError
from mrcascade.operators import (
    CallableOperator,
    SeparableOperator,
)
from mrcascade.sampling import (
    NoiseSource,
    Progress,
    Recipe,
    cascade_mean,
    cascade_sample,
    karras_sigmas,
    level_sigmas,
    plan_cascade,
)

# ---- data consistency ----


@pytest.mark.parametrize("case", [c for c in CASES if c.sigma_y == 0], ids=label)
@pytest.mark.parametrize("floor", [0.0, 0.01])
def test_noise_free_data_are_met_to_rounding(case: Case, floor: float) -> None:
    case = replace(case, settings=replace(case.settings, noise_floor=floor))
    prior, plan, y = case.build(draws=3)
    image = cascade_sample(prior, plan, y, NoiseSource([0])).image
    # Sums of at most 64 terms of order one, a few times over: below 1000 units of rounding.
    assert float((plan.operator(image) - y).abs().max()) < 1e-12
    assert bool(image.isfinite().all())


def test_operators_given_as_functions() -> None:
    operator = OTHER_OPERATORS["area"]
    wrapped = CallableOperator(
        operator, operator.adjoint, operator.in_shape, operator.out_shape, tolerance=1e-12
    )
    missing = [0.0, 0.03, 0.06]
    images = []
    for h in (operator, wrapped):
        plan = plan_cascade("fourier", 3, h, 0.05, SHORT, missing=missing)
        prior, y = prior_and_measurement(plan.pyramid, operator, 0.05)
        images.append(cascade_sample(prior, plan, y, NoiseSource([0])).image)
    # Gradients end at 1e-12 of the first; tau down to 6e-6 turns that into 2e-7 at worst at the
    # first, very noisy steps, which later ones contract.
    assert float((images[0] - images[1]).abs().max()) < 1e-6


# ---- the band constraint ----


@pytest.mark.parametrize("sigma_y", [0.0, 0.05])
@pytest.mark.parametrize("sampler", ["sample", "mean"])
def test_finer_levels_never_alter_coarser_ones(sigma_y: float, sampler: str) -> None:
    """down(level-1 image) is the level-2 image: record what level 1 was conditioned on."""
    prior, plan, y = Case("fourier", 4, sigma_y).build()
    seen: list[Tensor] = []
    prior.levels[0] = Watched(prior.levels[0], conditions=seen)
    if sampler == "sample":
        image = cascade_sample(prior, plan, y, NoiseSource([0])).image
    else:
        image = cascade_mean(prior, plan, y).image
    coarse = plan.pyramid.down(image, 1)
    assert float((plan.pyramid.up(coarse, 1) - seen[0]).abs().max()) < 1e-13  # sums of 64 terms


# ---- reproducibility ----


class Watched:
    """A level that records the conditions and the inputs it sees."""

    def __init__(self, level, conditions=None, inputs=None):  # type: ignore[no-untyped-def]
        self.level, self.std = level, level.std
        self.sigma_max, self.sigma_min = level.sigma_max, level.sigma_min
        self.informed = False
        self.conditions = [] if conditions is None else conditions
        self.inputs = [] if inputs is None else inputs

    def condition(self, c, error):  # type: ignore[no-untyped-def]
        self.conditions.append(c)
        self.conditioned = self.level.condition(c, error)
        return self

    def mean(self):  # type: ignore[no-untyped-def]
        return self.conditioned.mean()

    def denoise(self, x, sigma):  # type: ignore[no-untyped-def]
        self.inputs.append(x)
        return self.conditioned.denoise(x, sigma)


class Pixelwise:
    """A level without any sum over a batch, so that no rounding depends on its size."""

    std, sigma_max, sigma_min = 0.2, 5.0, 0.01
    informed = False

    def condition(self, c, error):  # type: ignore[no-untyped-def]
        self.offset = 0.1 if c is None else 0.1 * c
        return self

    def mean(self):  # type: ignore[no-untyped-def]
        return torch.as_tensor(self.offset)

    def denoise(self, x, sigma):  # type: ignore[no-untyped-def]
        return self.offset + (x - self.offset) * self.std**2 / (self.std**2 + sigma**2)


class PixelwisePrior:
    def __init__(self, levels: int) -> None:
        self.levels = [Pixelwise() for _ in range(levels)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sigma_y", [0.0, 0.05])
def test_batch_size_and_order_never_change_an_image(dtype: torch.dtype, sigma_y: float) -> None:
    operator = SeparableOperator.from_kernel("fourier", 4, (16, 16))
    plan = plan_cascade("fourier", 3, operator, sigma_y, SHORT)
    y = torch.rand(5, 2, 4, 4, generator=torch.Generator()).to(dtype)
    seeds, prior = [3, 0, 8, 1, 7], PixelwisePrior(3)
    together = cascade_sample(prior, plan, y, NoiseSource(seeds)).image
    assert together.dtype == dtype
    order = [4, 2, 0, 1, 3]
    shuffled = cascade_sample(prior, plan, y[order], NoiseSource([seeds[n] for n in order])).image
    assert torch.equal(shuffled, together[order])
    for n, seed in enumerate(seeds):
        alone = cascade_sample(prior, plan, y[n : n + 1], NoiseSource([seed])).image
        assert torch.equal(alone, together[n : n + 1])


def test_calls_are_repeatable_and_leave_no_state() -> None:
    prior, plan, y = Case("fourier", 4, 0.05).build()
    copy = y.clone()
    first = cascade_sample(prior, plan, y, NoiseSource([0])).image
    other = Case("fourier", 2, 0.0, settings=replace(SHORT, steps=9, zeta=1.0)).build()
    cascade_sample(*other, NoiseSource([5]))
    assert torch.equal(cascade_sample(prior, plan, y, NoiseSource([0])).image, first)
    assert not torch.equal(cascade_sample(prior, plan, y, NoiseSource([1])).image, first)
    assert torch.equal(y, copy)


def test_no_graph_is_kept() -> None:
    prior, plan, y = Case("fourier", 4, 0.05).build()
    result = cascade_sample(prior, plan, y.clone().requires_grad_(), NoiseSource([0]))
    assert not result.image.requires_grad


def test_without_the_constraint_imperfect_bands_alter_coarser_images() -> None:
    """A denoiser that keeps down(x_(i)) = 0 by itself needs no constraint; this one does not."""
    operator = SeparableOperator.from_kernel("fourier", 4, (16, 16))
    y = torch.rand(1, 1, 4, 4, dtype=torch.float64, generator=torch.Generator())
    images = []
    for choice in (None, False):
        settings = replace(SHORT, band_constraint=choice)
        plan = plan_cascade("fourier", 3, operator, 0.05, settings)
        images.append(cascade_sample(PixelwisePrior(3), plan, y, NoiseSource([0])).image)
    low = [plan.pyramid.down(plan.pyramid.down(image, 1), 2) for image in images]
    assert float((low[0] - low[1]).abs().max()) > 1e-2


# ---- start, schedule, callbacks ----


def test_starts() -> None:
    """The coarsest level starts at its mean image, not nearly black; bands start at zero."""
    for at_mean in (False, True):
        settings = replace(SHORT, start_at_mean=at_mean)
        prior, plan, y = Case("fourier", 4, 0.05, settings=settings).build()
        prior.levels = [Watched(level) for level in prior.levels]
        cascade_sample(prior, plan, y, Silence([0]))
        first = [level.inputs[0] for level in prior.levels]
        constant = torch.tensor(prior.levels[2].level.constant).reshape(1, 1, 2, 2)
        assert torch.equal(first[2], constant)
        assert float(first[2].mean()) > 0.3  # the images' mean is 0.4
        for level, start in zip(prior.levels[:2], first[:2], strict=True):
            assert torch.equal(start, level.mean() if at_mean else torch.zeros_like(start))


def test_schedule_in_units_of_the_band() -> None:
    starts, ends, curves = (5.0, 6.0, 7.0), (0.1, 0.2, 0.3), (2.0, 3.0, 3.0)
    settings = replace(SHORT, sigma_start=starts, sigma_min=ends, rho=(2.0, 3.0))
    prior, plan, y = Case("fourier", 4, 0.05, settings=settings).build()
    for i, (level, task) in enumerate(zip(prior.levels, plan.tasks, strict=True)):
        expected = karras_sigmas(10, starts[i] * level.std, ends[i] * level.std, curves[i])
        assert level_sigmas(level, settings.run.noise_levels, task) == pytest.approx(
            expected, rel=1e-14
        )
    seen: list[Progress] = []
    cascade_sample(prior, plan, y, NoiseSource([0]), callback=seen.append)
    assert [(p.level, p.step, p.steps) for p in seen] == [
        (level, k, 10) for level in (3, 2, 1) for k in range(10)
    ]
    start = level_sigmas(prior.levels[2], settings.run.noise_levels, plan.tasks[2])[0]
    assert seen[0].sigma == start
    assert seen[0].denoised.shape == (1, 1, 2, 2)


def test_skipping_a_determined_level_is_exact() -> None:
    """On or off, level 2 is conditioned on the same image: y itself."""
    for skip in (True, False):
        settings = replace(SHORT, skip_determined=skip)
        prior, plan, y = Case("fourier", 4, 0.0, settings=settings).build()
        conditions: list[Tensor] = []
        prior.levels[1] = Watched(prior.levels[1], conditions=conditions)
        seen: list[Progress] = []
        result = cascade_sample(prior, plan, y, NoiseSource([0]), callback=seen.append)
        assert result.evaluations == {1: 10, 2: 10, 3: 0 if skip else 10}
        assert len(seen) == sum(result.evaluations.values())
        # The projection onto y is v + (y - v), one rounding of order one.
        assert float((conditions[0] - plan.pyramid.up(y, 2)).abs().max()) < 1e-14


@pytest.mark.parametrize("change", [{"noise_floor": 0.01}, {"sampler": "dps"}])
def test_without_the_final_projection(change: dict) -> None:
    """The plain chain of the publications: its result is the last denoised image, which meets
    noise-free data only as far as the denoiser lets it."""
    settings = Recipe("short", steps=30, **change)
    prior, plan, y = Case("fourier", 4, 0.0, levels=1, settings=settings).build()
    plain = replace(plan, settings=replace(settings, project=False))
    seen: list[Progress] = []
    projected = cascade_sample(prior, plan, y, NoiseSource([0]))
    result = cascade_sample(prior, plain, y, NoiseSource([0]), callback=seen.append)
    assert torch.equal(result.image, seen[-1].denoised)
    assert float((plan.operator(result.image) - y).abs().max()) > 1e-4
    assert torch.equal(plan.operator.project(result.image, y), projected.image)


# ---- signed and complex data ----


def test_nothing_is_clamped() -> None:
    """With a prior of mean zero the noise-free sampler is linear, far outside [-1, 1] as well."""
    operator = SeparableOperator.from_kernel("fourier", 4, SHAPE)
    plan = plan_cascade("fourier", 3, operator, 0.05, SHORT)
    _, cov = image_gaussian(SHAPE, 4)
    prior = GaussianPrior(np.zeros(64), cov, plan.pyramid)
    y = torch.randn(1, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    one = cascade_sample(prior, plan, y, Silence([0])).image
    many = cascade_sample(prior, plan, -50 * y, Silence([0])).image
    assert float(many.abs().max()) > 10
    # Linear up to rounding: 1e-11 of the size, as in test_mean_of_the_law.
    assert float((many + 50 * one).abs().max()) < 1e-11 * 50


def test_channels_are_real_and_imaginary_parts_side_by_side() -> None:
    """A complex image is two channels, each of which is treated as a real image would be."""
    prior, plan, y = Case("fourier", 4, 0.0).build()
    both = torch.cat([y, -0.5 * y], 1)
    together = cascade_sample(prior, plan, both, Silence([0])).image
    assert together.shape == (1, 2, *SHAPE)
    for channel in range(2):
        alone = cascade_sample(prior, plan, both[:, channel : channel + 1], Silence([0])).image
        # The same sums in another order of evaluation.
        assert float((together[:, channel : channel + 1] - alone).abs().max()) < 1e-12
    noisy = cascade_sample(prior, plan, both, NoiseSource([0])).image
    assert float((plan.operator(noisy) - both).abs().max()) < 1e-12
    assert not torch.equal(noisy[:, 0], noisy[:, 1])


# ---- errors ----


def test_errors() -> None:
    prior, plan, y = Case("fourier", 4, 0.05).build()
    with pytest.raises(MRCascadeError, match="1 images need one seed each; got 2"):
        cascade_sample(prior, plan, y, NoiseSource([0, 1]))
    with pytest.raises(MRCascadeError, match=r"expected \(images, channels, "):
        cascade_sample(prior, plan, y[0], NoiseSource([0]))
    mean = plan_cascade("fourier", 3, plan.operator, 0.05, Recipe("mean", steps=None))
    with pytest.raises(MRCascadeError, match="'mean' ask for mean, which"):
        cascade_sample(prior, mean, y, NoiseSource([0]))
    prior.levels.pop()
    with pytest.raises(MRCascadeError, match="the plan is for 3 levels and the prior has 2"):
        cascade_sample(prior, plan, y, NoiseSource([0]))
