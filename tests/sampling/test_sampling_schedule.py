"""Noise schedules, the split of steps over levels, and settings."""

import itertools
import json
from typing import Any

import pytest

from mrcascade.errors import MRCascadeError
from mrcascade.sampling import RECIPES, Recipe, karras_sigmas, split_steps


def test_karras_against_its_formula() -> None:
    sigmas = karras_sigmas(5, 80.0, 0.02, rho=7.0)
    expected = [(80 ** (1 / 7) + k / 4 * (0.02 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for k in range(5)]
    # Roots and powers of 7 lose a few units of rounding each.
    assert sigmas == pytest.approx(expected, rel=1e-13)
    assert (sigmas[0], sigmas[-1]) == (80.0, 0.02)
    # rho = 1 is a straight line.
    assert karras_sigmas(3, 3.0, 1.0, rho=1.0) == pytest.approx((3.0, 2.0, 1.0), rel=1e-15)


@pytest.mark.parametrize("steps", [2, 3, 67, 200])
def test_karras_falls_strictly(steps: int) -> None:
    sigmas = karras_sigmas(steps, 20.0, 0.002)
    assert len(sigmas) == steps
    assert all(a > b for a, b in itertools.pairwise(sigmas))


def test_karras_of_one_step() -> None:
    assert karras_sigmas(1, 20.0, 0.002) == (20.0,)


@pytest.mark.parametrize(
    "arguments", [(0, 2.0, 1.0), (5, 1.0, 1.0), (5, 1.0, 2.0), (5, 1.0, 0.0), (5, 2.0, 1.0, 0.0)]
)
def test_karras_errors(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(MRCascadeError):
        karras_sigmas(*arguments)


def test_remainder_goes_to_the_coarsest_sampled_level() -> None:
    assert split_steps(200, [1, 2, 3]) == {1: 66, 2: 66, 3: 68}
    assert split_steps(200, [1, 2, 3], [1, 2]) == {1: 66, 2: 68, 3: 66}
    assert split_steps(200, [1, 2], [1, 2]) == {1: 100, 2: 100}
    assert split_steps(3, [1, 2, 3]) == {1: 1, 2: 1, 3: 1}


def test_shares_of_the_steps() -> None:
    shares = {1: 0.5, 2: 1.5, 3: 1.0}
    assert split_steps(200, [1, 2, 3], [1, 2], shares) == {1: 33, 2: 101, 3: 66}
    assert split_steps(200, [1, 2, 3], None, shares) == {1: 33, 2: 100, 3: 67}
    assert split_steps(200, [1], None, shares) == {1: 200}
    # In floating point 9 * 0.6 / (0.6 + 0.2 + 0.1) is below 6.
    assert split_steps(9, [1, 2, 3], None, {1: 0.6, 2: 0.2, 3: 0.1}) == {1: 6, 2: 2, 3: 1}


def test_split_errors() -> None:
    with pytest.raises(MRCascadeError, match="2 steps cannot be split over 3 levels"):
        split_steps(2, [1, 2, 3])
    with pytest.raises(MRCascadeError, match="10 steps cannot be split over 2 levels"):
        split_steps(10, [1, 2], None, {1: 0.01, 2: 1.0})


def test_settings_survive_json() -> None:
    settings = Recipe("x", steps=7, sigma_start=(5.0, 3.0), sigma_min=(0.1, 0.2))
    assert Recipe(**json.loads(json.dumps(settings.record(2)))) == settings
    for name, recipe in RECIPES.items():
        assert recipe.name == name
        assert Recipe(**json.loads(json.dumps(recipe.record(2)))) == recipe


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("zeta", -0.01),
        ("zeta", 1.01),
        ("zeta", float("nan")),
        ("steps", 0),
        ("lam", 0.0),
        ("noise_floor", -1.0),
        ("sigma_start", (1.0, 0.0)),
        ("sigma_min", (float("nan"),)),
        ("rho", 0.0),
        ("consistency", "both"),
        ("condition_error", 1.0),
    ],
)
def test_settings_out_of_range_are_named(field: str, value: Any) -> None:
    with pytest.raises(MRCascadeError, match=f"settings 'x': {field} must be"):
        Recipe("x", **{field: value})


def test_start_at_data_is_a_setting_of_diffpir() -> None:
    assert Recipe("x", start_at_data=True).start_at_data
    with pytest.raises(MRCascadeError, match="start_at_data has no effect on sampler 'dps'"):
        Recipe("x", sampler="dps", start_at_data=True)
