"""The baselines against exact answers, and the table of methods."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mrcascade.arrays.intensity import Intensity
from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.methods import METHODS, Context, choose_methods, find_method
from mrcascade.evaluation.metrics import psnr
from mrcascade.operators import KERNELS, SeparableOperator
from mrcascade.operators.baselines import bicubic, cubic_matrix
from mrcascade.prior.cascade import CascadePrior
from mrcascade.restore import Plan, Restoration, Restorer, resolve_settings


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("fine", "coarse"), [(48, 24), (48, 12), (45, 30)])
def test_cubic_interpolation_reproduces_a_parabola_in_its_place(
    kernel: str, fine: int, coarse: int
) -> None:
    """Keys's kernel with a = -1/2 is exact for quadratics (Keys 1981), away from the border, so
    every sample's place is tested: a shift by s would cost 2 s |curvature|, up to 10 here."""
    factor = fine / coarse
    centre = np.arange(coarse) * factor  # the place of the coarse samples on the fine grid
    if kernel in ("area", "bicubic"):
        centre = (np.arange(coarse) + 0.5) * factor - 0.5
    expected = (np.arange(fine) - 17.0) ** 2 + 3
    result = cubic_matrix(fine, coarse, kernel) @ ((centre - 17.0) ** 2 + 3)
    inside = slice(int(2 * factor), fine - int(2 * factor))
    # Rounding: values up to 1000, five operations.
    assert result[inside] == pytest.approx(expected[inside], abs=1e-11)


def test_cubic_interpolation_is_that_of_torch_where_edges_are_shared() -> None:
    """torch's anti-aliased bicubic has a = -1/2 and does not widen the kernel upwards; it treats
    the border (two coarse samples) differently."""
    y = np.random.default_rng(0).normal(size=(2, 12, 10))
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(y)[None], size=(24, 40), mode="bicubic", antialias=True
    )[0].numpy()
    result = bicubic(y, "area", (24, 40))
    assert result[:, 4:-4, 8:-8] == pytest.approx(expected[:, 4:-4, 8:-8], abs=1e-12)


@pytest.mark.parametrize("cycles", [1, 4])
def test_a_smooth_image_measured_by_fourier_comes_back(cycles: int) -> None:
    """Exact answer for a cosine of angle w per coarse sample at factor 2: even fine samples are
    the coarse ones, odd ones are multiplied by g(w) = (9 cos(w/2) - cos(3w/2)) / 8."""
    n = 64
    angle = 2 * np.pi * cycles * np.arange(n) / n
    image = np.cos(angle)[None, :, None] * np.ones((1, n, n)) + 2
    operator = SeparableOperator.from_kernel("fourier", 2, (n, n))
    y = operator(torch.from_numpy(image)).numpy()
    w = 4 * np.pi * cycles / n
    gain = np.where(np.arange(n) % 2 == 0, 1.0, (9 * np.cos(w / 2) - np.cos(3 * w / 2)) / 8)
    expected = (gain * np.cos(angle))[None, :, None] * np.ones((1, n, n)) + 2
    result = bicubic(y, "fourier", (n, n))
    assert result == pytest.approx(expected, abs=1e-12)
    # On the grid of shared edges the image would lie a quarter of a coarse sample off.
    careless = bicubic(y, "area", (n, n))
    assert psnr(image, result, 3.0) - psnr(image, careless, 3.0) > 4


def test_constants_keep_their_value_and_precision_its_type() -> None:
    for kernel in KERNELS:
        result = bicubic(np.full((2, 9, 10), 7, np.float32), kernel, (18, 15))
        assert result.dtype == np.float32
        assert result.shape == (2, 18, 15)
        assert result == pytest.approx(np.full(result.shape, 7.0), rel=1e-6)


def context(prior: CascadePrior | None = None, **options: object) -> Context:
    image = np.random.default_rng(3).uniform(0, 900, (2, 32, 32)).astype(np.float32)
    operator = SeparableOperator.from_kernel("fourier", 2, (32, 32))
    y = operator(torch.from_numpy(image)).numpy()
    given = {"scale": 800.0, "seed": 5, "prior": prior, "steps": 3, **options}
    return Context(y, (4, 9), operator, "fourier", **given)  # type: ignore[arg-type]


def test_zero_filling_is_the_pseudo_inverse() -> None:
    given = context()
    dense = np.kron(given.operator.rows, given.operator.cols)
    expected = given.measurement.reshape(2, -1) @ np.linalg.pinv(dense).T
    result = METHODS["zero-fill"].run(given)
    assert result.evaluations == 0
    # float32: 16 terms per axis of values up to 1000.
    assert result.images.reshape(2, -1) == pytest.approx(expected, abs=2e-3)


def test_recipes_are_those_of_a_restorer(prior: CascadePrior) -> None:
    given = context(prior)

    def restored(mode: str, steps: int | None = None, samples: int = 1) -> Restoration:
        settings = resolve_settings(prior, mode, steps, samples)
        restorer = Restorer(prior, Plan.of(prior, given.operator, 0.0, settings))
        return restorer(
            given.measurement, Intensity(800.0), samples=samples, seed=5, numbers=(4, 9)
        )

    mean, expected = METHODS["mean"].run(given), restored("mean")
    assert np.array_equal(mean.images, expected.mean)
    assert mean.evaluations == 1  # noise-free 2x needs level 1 alone
    sampled = restored("sample", 3, 2)
    given = context(prior, samples=2)
    averaged, drawn = METHODS["posterior-mean"].run(given), METHODS["sample"].run(given)
    assert np.array_equal(averaged.images, sampled.mean)
    assert averaged.evaluations == 2 * sum(sampled.evaluations.values())
    assert np.array_equal(drawn.images, sampled.sample)  # one draw, whatever K is
    assert 2 * drawn.evaluations == averaged.evaluations
    assert np.array_equal(averaged.std, sampled.std)
    assert drawn.std is None


def test_settings_after_a_name_change_the_recipe(prior: CascadePrior) -> None:
    method = find_method("paper:zeta=0.5:skip_determined=false:sigma_start=8/8/80")
    settings = method.settings(prior, 7)
    assert (settings.zeta, settings.skip_determined, settings.steps) == (0.5, False, 7)
    assert settings.sigma_start == (8.0, 8.0, 80.0)
    assert find_method("paper:consistency=cascade").settings(prior).consistency == "cascade"
    base = METHODS["paper"].run(context(prior)).images
    assert np.abs(method.run(context(prior)).images - base).max() > 1
    assert "with zeta=0.5, skip_determined=false" in method.about


def test_methods_are_chosen_by_name() -> None:
    assert list(choose_methods(["mean", "bicubic", "mean"])) == ["mean", "bicubic"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("magic", "unknown method 'magic': choose from zero-fill"),
        ("", "unknown method ''"),
        ("bicubic:zeta=1", "bicubic has no settings"),
        ("paper:magic=1", "no setting 'magic'; the settings are zeta"),
        ("mean:zeta=0.9", "zeta has no effect here; the settings are project"),
        ("paper:steps=3", "no setting 'steps'"),  # --steps is for that
        ("paper:zeta=2", "zeta must be in"),
        ("paper:zeta=much", "zeta=much is of the wrong kind"),
        ("paper:sigma_start=1/a", "wrong kind|sigma_start"),
        ("paper:consistency=magic", "consistency must be one of"),
    ],
)
def test_methods_that_are_not_there(name: str, message: str) -> None:
    with pytest.raises(MRCascadeError, match=message) as error:
        choose_methods(["mean", name])
    assert "\n" not in str(error.value)
