"""Effect of every option: each is changed, for each traversal, sampler and guidance."""

from __future__ import annotations

import doctest
import itertools
import json
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from tests.conftest import SINGLE, write_random_prior

from mrcascade import CascadePrior, MRCascadeError, SeparableOperator
from mrcascade.recipes import recipe as recipe_module
from mrcascade.recipes.guidance import GUIDANCE
from mrcascade.recipes.options import flat, share
from mrcascade.recipes.recipe import KINDS, RECIPES, Recipe
from mrcascade.recipes.samplers.sampler import Sampler, Step
from mrcascade.recipes.settings import parse_changes
from mrcascade.recipes.traversals import Cascade, Chains, Mean
from mrcascade.restore import Restoration, super_resolve

#: Another value for every option that is not a number of steps.
CHANGES: dict[str, Any] = {
    "step_size": 3.0,
    "zeta": 0.8,
    "lam": 4.0,
    "noise_floor": 0.2,
    "project": False,
    "sigma_start": (3.0, 4.0, 5.0),
    "sigma_min": (0.3, 0.2, 0.1),
    "start_at_mean": True,
    "start_at_data": True,
    "observed_zeta": 0.9,
    "rho": (2.0, 3.0),
    "consistency": "cascade",
    "skip_determined": False,
    "step_shares": (2.0, 1.0),
    "band_constraint": False,
    "condition_error": 0.5,
    "orientations": 2,
    "detail": 0.5,
    "spread": 1.5,
    "grids": 2,
    "pnp_sigma": (0.3, 0.4, 0.5),
    "pnp_step": 0.5,
    "eta": 0.5,
}
#: Recipes with different options: those of the modes, and each sampler with each guidance.
BASES: dict[str, Recipe] = {"mean": Recipe("base", steps=None)}
for kind, run in KINDS.items():
    if isinstance(run, Chains):
        BASES |= {
            f"{kind}, {name}": Recipe("base", sampler=kind, guidance=name, steps=12)
            for name in GUIDANCE
        }
    elif not isinstance(run, Mean):
        BASES[kind] = Recipe("base", sampler=kind, steps=12)
#: What an option's effect needs besides: constrained bands leave the projection little to do,
#: exact data steps and little noise at the end nothing. The usual start has too much noise for its
#: centre to matter, and large steps of a gradient forget where they started.
NEEDS: dict[str, dict[str, Any]] = {
    "consistency": {"band_constraint": False},
    "project": {"band_constraint": False, "noise_floor": 0.2, "sigma_min": (0.3, 0.2, 0.1)},
    "observed_zeta": {"start_at_data": True},
    "start_at_mean": {"sigma_start": (0.3, 0.3, 0.3)},
    "skip_determined": {"pnp_step": 0.1},
}
#: (factor, noise) of measurements with the prior's kernel.
PROBLEMS = [(4, 0.0), (4, 0.05), (2, 0.05)]
# Far more than the rounding of float32 sums makes of intensities of order one.
BEYOND_ROUNDING = 1e-3


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> CascadePrior:
    folder = write_random_prior(tmp_path_factory.mktemp("single"), cascade=SINGLE)
    return CascadePrior.from_pretrained(folder)


def restored(
    prior: CascadePrior, recipe: Recipe, problem: tuple[int, float], samples: int = 1
) -> Restoration:
    factor, noise = problem
    image = np.random.default_rng(3).uniform(0, 1, (32, 32)).astype(np.float32)
    operator = SeparableOperator.from_kernel("fourier", factor, image.shape)
    y = operator(torch.from_numpy(image)).numpy()
    return super_resolve(y, operator, prior, noise=noise, mode=recipe, samples=samples)


def largest_change(one: Restoration, other: Restoration) -> float:
    pairs = [(one.mean, other.mean), (one.sample, other.sample)]
    if one.std is not None and other.std is not None:
        pairs.append((one.std, other.std))
    return max(float(np.abs(a - b).max()) for a, b in pairs)


def test_every_option_is_changed() -> None:
    parts = (*KINDS.values(), *GUIDANCE.values())
    names = [list(flat(part)) for part in parts]
    assert all(len(set(each)) == len(each) for each in names)
    assert set(itertools.chain(*names)) - {"steps"} == set(CHANGES)
    for part in parts:
        assert all(CHANGES[k] != v for k, v in flat(part).items() if k != "steps")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("base", "name"),
    [(b, n) for b, recipe in BASES.items() for n in recipe.tunable if n != "guidance"],
)
def test_an_option_with_an_effect_changes_the_result(
    prior: CascadePrior, single: CascadePrior, base: str, name: str
) -> None:
    """For one of the measurements at least."""
    recipe, samples = BASES[base], 2 if name == "spread" else 1
    needs = {k: v for k, v in NEEDS.get(name, {}).items() if k in recipe.tunable}
    one = recipe.changed(**needs)
    other = one.changed(**{name: CHANGES[name]})
    assert other.record(samples)[name] == CHANGES[name]
    of_grids = single if recipe.grids is not None else prior

    def change(problem: tuple[int, float]) -> float:
        return largest_change(*(restored(of_grids, r, problem, samples) for r in (one, other)))

    assert any(change(problem) > BEYOND_ROUNDING for problem in PROBLEMS)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [k for k, run in KINDS.items() if isinstance(run, Chains)])
def test_every_guidance_gives_another_result(
    prior: CascadePrior, single: CascadePrior, kind: str
) -> None:
    """With every sampler: noisy data, so that an exact projection differs from a proximal step."""
    of_grids = prior if isinstance(KINDS[kind], Cascade) else single
    results = [
        restored(of_grids, BASES[f"{kind}, {name}"].changed(project=False), (4, 0.05))
        for name in GUIDANCE
    ]
    for one, other in itertools.combinations(results, 2):
        assert largest_change(one, other) > BEYOND_ROUNDING


@pytest.mark.parametrize("base", BASES)
def test_options_without_effect_are_no_part_of_what_runs(base: str) -> None:
    recipe = BASES[base]
    names = sorted(CHANGES.keys() - set(recipe.tunable))
    assert names
    assert not set(names) & set(flat(recipe.run))
    assert not set(names) & set(recipe.record(2))
    for name in names:
        effect = f"{name} has no effect"
        with pytest.raises(MRCascadeError, match=f"settings 'base': {effect} on .* are "):
            recipe.changed(**{name: CHANGES[name]})
        with pytest.raises(MRCascadeError, match=f"^here: {effect} here; the settings are"):
            parse_changes("here", recipe, [f"{name}=1"])
        with pytest.raises(AttributeError, match=f"no option '{name}'"):
            getattr(recipe, name) if name not in ("grids", "spread") else recipe.__getattr__(name)


@dataclass(frozen=True)
class Resting(Sampler):
    """Leaves the estimate without noise."""

    name: ClassVar = "resting"
    draws: ClassVar = False  # type: ignore[assignment]
    weight: float = share(1.0)

    def chain(self) -> Step:
        return lambda x, x0, sigma, following, fresh: self.weight * x0


def test_a_sampler_that_no_table_has(prior: CascadePrior) -> None:
    recipe = Recipe("own", Cascade(sampler=Resting(), observed=None), steps=6, weight=0.5)
    assert recipe.run.sampler == Resting(0.5)
    assert {"weight", "lam"} <= set(recipe.tunable)
    record = recipe.record(1)
    assert (record["sampler"], record["weight"], record["guidance"]) == ("resting", 0.5, "proximal")
    assert repr(recipe).startswith("Recipe('own', Cascade(sampler=Resting(weight=0.5), ")
    result = restored(prior, recipe, (4, 0.0))
    assert result.residual.max() < 1e-5
    assert result.settings["sampler"] == "resting"


def test_the_spread_counts_for_several_samples_only() -> None:
    recipe = Recipe("x", spread=1.35)
    assert "spread" not in recipe.record(1)
    assert recipe.record(2)["spread"] == 1.35


@pytest.mark.parametrize("base", BASES)
def test_a_record_gives_the_recipe_back(base: str) -> None:
    recipe = BASES[base]
    changed = recipe.changed(**{k: v for k, v in CHANGES.items() if k in recipe.tunable})
    for each in (recipe, changed):
        assert Recipe(**json.loads(json.dumps(each.record(2)))) == each
        assert eval(repr(each)) == each  # the call that makes it


def test_records_are_those_of_earlier_versions() -> None:
    """Names, values and order, which `sr --resume` compares and files hold."""
    chain = {"project": True, "sigma_start": None, "sigma_min": None}
    middle = {"rho": 7.0, "consistency": "measurement", "skip_determined": True}
    middle |= {"step_shares": 1.0, "redistribute": False, "band_constraint": None}
    middle |= {"condition_error": 0.0, "orientations": 1, "detail": 1.0}
    expected = {"name": "dps", "steps": 200, "sampler": "dps", "step_size": 0.3}
    expected |= chain | {"start_at_mean": False} | middle
    assert list(RECIPES["dps"].record(1).items()) == list(expected.items())
    expected = {"name": "paper", "steps": 200, "sampler": "diffpir"}
    expected |= {"zeta": 0.3, "lam": 1.0, "noise_floor": 0.0} | chain | {"start_at_mean": False}
    expected |= {"start_at_data": False, "observed_zeta": None} | middle | {"spread": 1.0}
    assert list(RECIPES["paper"].record(2).items()) == list(expected.items())
    expected = {"name": "multigrid-pnp", "steps": 200, "sampler": "multigrid-pnp"}
    expected |= {"project": True, "skip_determined": True, "step_shares": 1.0}
    expected |= {"redistribute": False, "grids": 3, "pnp_sigma": None, "pnp_step": 1.0}
    expected["pnp_corrections"] = 0
    assert list(RECIPES["multigrid-pnp"].record(2).items()) == list(expected.items())


def test_options_of_earlier_versions_are_read_at_the_value_that_is_left() -> None:
    paper = RECIPES["paper"]
    assert paper.changed(redistribute=False) == paper
    with pytest.raises(MRCascadeError, match="'paper': redistribute is always false in this"):
        paper.changed(redistribute=True)
    grids = RECIPES["multigrid-pnp"]
    assert grids.changed(pnp_corrections=0) == grids
    with pytest.raises(MRCascadeError, match="pnp_corrections is always 0 in this version"):
        grids.changed(pnp_corrections=2)


def test_examples_in_docstrings() -> None:
    failed, run = doctest.testmod(recipe_module, optionflags=doctest.ELLIPSIS)
    assert (failed, run > 0) == (0, True)


def test_another_guidance_brings_its_own_options() -> None:
    gradient = RECIPES["paper"].changed(lam=3.0, zeta=0.1).changed(guidance="gradient")
    assert (gradient.zeta, gradient.step_size) == (0.1, 0.3)
    assert gradient.record(1)["guidance"] == "gradient"
    assert "lam" not in gradient.record(1)
    assert gradient.gradients
    changes = ["step_size=3", "guidance=gradient"]  # in any order
    assert parse_changes("here", RECIPES["paper"], changes) == {
        "step_size": 3,
        "guidance": "gradient",
    }
    with pytest.raises(MRCascadeError, match=r"guidance must be one of proximal, projection, "):
        RECIPES["paper"].changed(guidance="magic")
    with pytest.raises(MRCascadeError, match=r"here: guidance=\[1\] is of the wrong kind"):
        parse_changes("here", RECIPES["paper"], ["guidance=[1]"])
    with pytest.raises(MRCascadeError, match="here: guidance has no effect here"):
        parse_changes("here", RECIPES["mean"], ["guidance=none"])
    with pytest.raises(
        MRCascadeError, match="settings 'x': sampler must be one of multistep, diffpir, dps"
    ):
        Recipe("x", sampler="magic")
    with pytest.raises(MRCascadeError, match="sampler has no effect on the posterior mean"):
        Recipe("x", sampler="dps", steps=None)
    with pytest.raises(MRCascadeError, match="settings 'x': there is no setting 'magic'"):
        Recipe("x", magic=1)
