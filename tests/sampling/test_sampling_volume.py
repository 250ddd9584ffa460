"""Volumes against the exact law of their algorithm, and against cascades of single planes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from mrcascade.operators import SeparableOperator, down_matrix, downsampler, up_matrix, upsampler
from mrcascade.operators.profile import GAUSSIAN
from mrcascade.operators.volume_pyramid import VolumePyramid
from mrcascade.sampling import (
    NoiseSource,
    Recipe,
    cascade_mean,
    cascade_sample,
    karras_sigmas,
    plan_cascade,
)
from mrcascade.sampling.volume import volume_mean, volume_sample
from mrcascade.sampling.volume_plan import VolumeCascadePlan

ZETA = 0.3
SHORT = Recipe("short", steps=20, zeta=ZETA)
DEPTH, ROWS, COLUMNS = 16, 8, 12


@dataclass
class White:
    """A level of images that are white, or of bands that are white outside the low part, which
    their coarser image does not tell. Denoiser and mean are exact, for planes of any shape."""

    std: float
    conditional: bool
    sigma_max: float = 5.0
    sigma_min: float = 0.05
    informed = False

    def condition(self, coarse: Tensor | None, error: float) -> White:
        assert (coarse is not None) == self.conditional
        return self

    def mean(self) -> Tensor:
        return torch.zeros((), dtype=torch.float64)

    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        if self.conditional:
            fine = x.shape[-2:]
            coarse = -(-fine[0] // 2), -(-fine[1] // 2)
            x = x - upsampler("fourier", fine, coarse)(downsampler("fourier", fine, coarse)(x))
        return self.std**2 / (self.std**2 + sigma**2) * x


class Given(White):
    """A level whose conditional mean was given."""

    def __init__(self, std: float, conditional: bool, mean: Tensor) -> None:
        super().__init__(std, conditional)
        self._mean = mean

    def mean(self) -> Tensor:
        return self._mean


class WhitePrior:
    def __init__(self, *deviations: float) -> None:
        last = len(deviations) - 1
        self.levels = [White(std, i < last) for i, std in enumerate(deviations)]


def volume_plan(
    along: np.ndarray,
    settings: Recipe,
    levels: int,
    noise: float = 0.0,
    shape: tuple[int, int] = (ROWS, COLUMNS),
) -> VolumeCascadePlan:
    def maker(side: int):  # type: ignore[no-untyped-def]
        operator = SeparableOperator(along, np.eye(side), "thick")
        return lambda sigma: plan_cascade(
            "fourier", levels, operator, sigma, settings, missing=lambda a, b: 0.0
        )

    return VolumeCascadePlan.of(maker(shape[0]), maker(shape[1]), noise, shape)


def low_part(n: int, m: int) -> np.ndarray:
    return up_matrix("fourier", n, m) @ down_matrix("fourier", n, m)


def seen_through(z: np.ndarray, r: np.ndarray, c: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.einsum("ai,bj,ck,nijk->nabc", z, r, c, x, optimize=True)


def variance(std: float, sigmas: tuple[float, ...], active: list[bool]) -> float:
    """Variance of a component of the result of a DiffPIR chain without data on it.

    (x, u) are its state and its estimate. An active step sets u to the shrunk x, another one keeps
    u; then x <- u + s' (sqrt(1 - zeta) (x - u) / s + sqrt(zeta) noise).
    """
    law = np.diag([sigmas[0] ** 2, 0.0])
    for k, s in enumerate(sigmas):
        if active[k]:
            m = np.array([[1, 0], [std**2 / (std**2 + s**2), 0]])
            law = m @ law @ m.T
        if k + 1 == len(sigmas):
            break
        following = sigmas[k + 1]
        carry = np.sqrt(1 - ZETA) * following / s
        m = np.array([[carry, 1 - carry], [0, 1]])
        law = m @ law @ m.T + np.diag([ZETA * following**2, 0])
    return float(law[1, 1])


def test_law_of_each_kind_of_component() -> None:
    """Slices see a quarter of the depth's frequencies, and two levels split the rest.

    A component that only one kind of planes has in its bands moves in every other step, one that
    both have in every step. Squares of N normal numbers sum to N within five of sqrt(2 N).
    """
    draws, deviations = 400, (0.3, 0.2)
    a = down_matrix("fourier", DEPTH, DEPTH // 4)
    plan = volume_plan(a, SHORT, 2)
    y = torch.rand(draws, len(a), ROWS, COLUMNS, dtype=torch.float64)
    found = volume_sample(WhitePrior(*deviations), plan, y, NoiseSource([0]), batch_size=5)
    assert found.evaluations == {1: 10, 2: 10}
    x = found.volume.numpy()
    assert np.abs(np.einsum("si,nijk->nsjk", a, x) - y.numpy()).max() < 1e-12
    x = x - np.einsum("is,nsjk->nijk", up_matrix("fourier", DEPTH, DEPTH // 4), y.numpy())

    fine, coarse = (
        karras_sigmas(10, level.sigma_max, level.sigma_min)
        for level in WhitePrior(*deviations).levels
    )
    both = variance(deviations[0], fine, [True] * 10)
    first = variance(deviations[0], fine, [True, False] * 5)
    second = variance(deviations[0], fine, [False, True] * 5)
    # up(fourier) of a white volume has 2^3 times its variance in each component that it fills.
    lowest = 8 * variance(deviations[1], coarse, [True] * 10)
    assert len({round(v / both, 2) for v in (both, first, second, lowest)}) == 4
    z_low = low_part(DEPTH, DEPTH // 2)
    middle, high = z_low - low_part(DEPTH, DEPTH // 4), np.eye(DEPTH) - z_low
    rows, columns = low_part(ROWS, ROWS // 2), low_part(COLUMNS, COLUMNS // 2)
    expected = [
        (middle, rows, columns, lowest),
        (middle, np.eye(ROWS) - rows, columns, first),
        (middle, rows, np.eye(COLUMNS) - columns, second),
        (middle, np.eye(ROWS) - rows, np.eye(COLUMNS) - columns, both),
        (high, np.eye(ROWS), np.eye(COLUMNS), both),
    ]
    for z, r, c, each in expected:
        count = draws * np.trace(z) * np.trace(r) * np.trace(c)
        part = seen_through(z, r, c, x)
        assert np.sum(part**2) / (each * count) == pytest.approx(1, abs=5 * np.sqrt(2 / count))
        mean = part.mean(0)
        size = np.sum(mean**2) / (each * count / draws**2)
        assert size == pytest.approx(1, abs=5 * np.sqrt(2 * draws / count))


def test_levels_that_slices_determine_run_no_chain() -> None:
    """Slices at half of the depth's samples fix level 2 as their rows and columns do."""
    a = down_matrix("fourier", DEPTH, DEPTH // 2)
    y = torch.rand(2, len(a), ROWS, COLUMNS, dtype=torch.float64)
    reduced = [down_matrix("fourier", n, n // 2) for n in (ROWS, COLUMNS)]
    expected = seen_through(np.eye(len(a)), *reduced, y.numpy())
    for skip, evaluations in ((True, {1: 10, 2: 0}), (False, {1: 10, 2: 10})):
        plan = volume_plan(a, SHORT.changed(skip_determined=skip), 2)
        found = volume_sample(WhitePrior(0.3, 0.2), plan, y, NoiseSource([0]), batch_size=5)
        assert found.evaluations == evaluations
        coarse = plan.pyramid.down(found.volume, 1).numpy()
        np.testing.assert_allclose(coarse, expected, atol=1e-12)


class OfPlanes(NoiseSource):
    """The noise of a volume (1, C, n, h, w), as images (1, planes, ...) of single planes."""

    def __init__(self, seed: int, axis: int, shape: tuple[int, ...]) -> None:
        super().__init__([seed])
        self.axis, self.shape = axis, shape

    def draws(self, count, shape, device="cpu", dtype=torch.float32):  # type: ignore[no-untyped-def]
        for noise in super().draws(count, (1, 1, *self.shape), device, dtype):
            yield noise[0].movedim(self.axis, 0)[:, 0][None]


PLAIN = {
    "diffpir": Recipe("plain", steps=12, zeta=0.3),
    "mean": Recipe("plain", steps=12, zeta=0.3, start_at_mean=True),
    "projection": Recipe("plain", steps=12, guidance="projection"),
    "dps": Recipe("plain", sampler="dps", steps=12, step_size=1.0),
    "multistep": Recipe("plain", sampler="multistep", steps=12, eta=0.5),
}


@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("settings", PLAIN.values(), ids=PLAIN)
def test_white_volumes_are_restored_as_their_planes_are(settings: Recipe, noise: float) -> None:
    """Without a coarser level, planes of white volumes have nothing to tell each other.

    DPS takes the norm over what it is given, here a plane and there a volume of channels: it is
    compared in a volume of one plane.
    """
    shape = (1, 1) if settings.kind == "dps" else (ROWS, COLUMNS)
    a = GAUSSIAN.matrix(DEPTH, 4)
    plan = volume_plan(a, settings, 1, noise, shape)
    y = torch.rand(1, 4, *shape, dtype=torch.float64)
    volume = volume_sample(WhitePrior(0.3), plan, y, NoiseSource([3]), batch_size=3).volume
    for kind in plan.kinds:
        source = OfPlanes(3, kind.axis, (DEPTH, *shape))
        planes = kind.planes(y)[None, :, 0]
        found = cascade_sample(WhitePrior(0.3), kind.plans[0], planes, source).image[0]
        # Sums of 16 terms in float64, a few dozen times over.
        assert float((kind.planes(volume)[:, 0] - found).abs().max()) < 1e-12


def test_mean_of_volumes_is_that_of_both_kinds_of_planes(prior) -> None:  # type: ignore[no-untyped-def]
    plan = volume_plan(GAUSSIAN.matrix(32, 8), Recipe("mean", steps=None), 3, 0.0, (32, 40))
    y = torch.rand(1, 8, 32, 40)
    found = volume_mean(prior, plan, y, batch_size=7)
    expected = torch.zeros(1, 32, 32, 40)
    for kind in plan.kinds:
        image = cascade_mean(prior, kind.plans[0], kind.planes(y)).image
        expected += image.movedim(0, kind.axis) / 2
    torch.testing.assert_close(found.volume, expected, atol=1e-5, rtol=0)
    assert found.evaluations == {1: 2, 2: 2, 3: 0}


class Turned(NoiseSource):
    """Noise of a volume whose rows are columns."""

    def draws(self, count, shape, device="cpu", dtype=torch.float32):  # type: ignore[no-untyped-def]
        turned = *shape[:-2], shape[-1], shape[-2]
        return (x.swapaxes(-1, -2) for x in super().draws(count, turned, device, dtype))


@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_rows_and_columns_are_treated_alike(prior, noise: float) -> None:  # type: ignore[no-untyped-def]
    """Turned slices, turned noise and the other kind of planes first give the turned volume."""
    settings = Recipe("t", steps=9, start_at_mean=True, orientations=4, sigma_start=(5, 5, 20))
    a = GAUSSIAN.matrix(32, 8)
    y = torch.rand(1, 8, 32, 40)
    plan = volume_plan(a, settings, 3, noise, (32, 40))
    found = volume_sample(prior, plan, y, NoiseSource([1]), batch_size=50).volume
    other = volume_plan(a, settings, 3, noise, (40, 32))
    other = replace(other, kinds=other.kinds[::-1])
    turned = volume_sample(prior, other, y.swapaxes(-1, -2), Turned([1]), batch_size=50).volume
    torch.testing.assert_close(turned.swapaxes(-1, -2), found, atol=1e-4, rtol=0)


def test_detail_moves_the_bands_of_the_volume_towards_the_mean() -> None:
    a = down_matrix("fourier", DEPTH, DEPTH // 4)
    y = torch.rand(1, len(a), ROWS, COLUMNS, dtype=torch.float64)
    prior, less = WhitePrior(0.3, 0.2), SHORT.changed(detail=(0.9, 0.6))
    plan = volume_plan(a, less, 2)
    draw = volume_sample(prior, volume_plan(a, SHORT, 2), y, NoiseSource([0])).volume
    mean = volume_mean(prior, plan, y)
    found = volume_sample(prior, plan, y, NoiseSource([0]))
    e = (draw - mean.volume).numpy()
    low = seen_through(*(low_part(n, n // 2) for n in (DEPTH, ROWS, COLUMNS)), e)
    expected = mean.volume.numpy() + 0.9 * (e - low) + 0.6 * low
    np.testing.assert_allclose(found.volume.numpy(), expected, atol=1e-12)
    error = np.einsum("si,nijk->nsjk", a, found.volume.numpy()) - y.numpy()
    assert np.abs(error).max() < 1e-12
    assert found.evaluations == {i: 10 + n for i, n in mean.evaluations.items()}


def test_a_given_mean_stands_for_that_of_the_prior() -> None:
    """With ``detail`` 0 it is the result; and its bands are what a chain's condition holds."""
    a = down_matrix("fourier", DEPTH, DEPTH // 4)
    y = torch.rand(1, len(a), ROWS, COLUMNS, dtype=torch.float64)
    plan = volume_plan(a, SHORT.changed(detail=0.0, start_at_mean=True), 2)
    other = torch.rand(1, DEPTH, ROWS, COLUMNS, dtype=torch.float64)
    other = plan.kinds[0].planes(other)
    other = plan.finest.operator.project(other, plan.kinds[0].planes(y)).movedim(0, -1)
    prior, seen = WhitePrior(0.3, 0.2), []

    class Noting(White):
        def condition(self, coarse, error, known=None, mean=None):  # type: ignore[no-untyped-def]
            seen.append(mean)
            return Given(self.std, True, mean)

    prior.levels[0] = Noting(0.3, True)
    found = volume_sample(prior, plan, y, NoiseSource([0]), mean=other, batch_size=50)
    assert float((found.volume - other).abs().max()) < 1e-12
    assert found.evaluations == {1: 10, 2: 10}
    for kind, band in zip(plan.kinds, seen, strict=False):
        planes = kind.planes(other).numpy()
        rows, columns = (low_part(n, n // 2) for n in planes.shape[-2:])
        expected = planes - rows @ planes @ columns.T
        np.testing.assert_allclose(band.numpy(), expected, atol=1e-12)


def test_coarse_planes_see_less_noise() -> None:
    """Rows and columns of y are averaged for coarse levels; the noise of a mean of two is less."""
    plan = volume_plan(GAUSSIAN.matrix(DEPTH, 4), SHORT, 2, 0.1)
    assert [plan.sigma_y for plan in plan.kinds[0].plans] == pytest.approx([0.1, 0.1 / np.sqrt(2)])


@pytest.mark.parametrize("kernel", ["fourier", "area"])
def test_pyramid_of_volumes(kernel: str) -> None:
    pyramid = VolumePyramid(kernel, (10, 8, 7), 3)
    assert pyramid.shapes == [(10, 8, 7), (5, 4, 4), (3, 2, 2)]
    x = torch.rand(2, 10, 8, 7, dtype=torch.float64)
    downs = [down_matrix(kernel, n, m) for n, m in zip((10, 8, 7), (5, 4, 4), strict=True)]
    ups = [up_matrix(kernel, n, m) for n, m in zip((10, 8, 7), (5, 4, 4), strict=True)]
    coarse = pyramid.down(x, 1)
    np.testing.assert_allclose(coarse, seen_through(*downs, x.numpy()), atol=1e-13)
    np.testing.assert_allclose(
        pyramid.up(coarse, 1), seen_through(*ups, coarse.numpy()), atol=1e-13
    )
    bands = pyramid.decompose(x)
    assert [tuple(band.shape[1:]) for band in bands] == pyramid.shapes
    np.testing.assert_allclose(pyramid.rebuild(bands), x, atol=1e-13)
