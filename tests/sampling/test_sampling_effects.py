"""Which settings have an effect: each of them changed, for each kind of reconstruction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from tests.conftest import SINGLE, write_random_prior

from mrcascade import CascadePrior, MRCascadeError, SamplerSettings, SeparableOperator
from mrcascade.recipes.effects import EFFECTS
from mrcascade.restore import Restoration, super_resolve

#: Another value for every setting that is not a number of steps.
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
    "redistribute": True,
    "band_constraint": False,
    "condition_error": 0.5,
    "orientations": 2,
    "detail": 0.5,
    "spread": 1.5,
    "grids": 2,
    "pnp_sigma": (0.3, 0.4, 0.5),
    "pnp_step": 0.5,
    "pnp_corrections": 0,
}
BASES: dict[str, dict[str, Any]] = {
    "mean": {"steps": None},
    **{name: {"steps": 12, "sampler": name} for name in ("diffpir", "dps", "multigrid")},
    "multigrid-pnp": {"steps": 21, "sampler": "multigrid-pnp"},  # room for coarse corrections
}
#: What a setting's effect needs besides: constrained bands leave the projection little to do,
#: exact data steps nothing, and the usual start has too much noise for its centre to matter.
NEEDS: dict[str, dict[str, Any]] = {
    "consistency": {"band_constraint": False},
    "project": {"band_constraint": False, "noise_floor": 0.2},
    "observed_zeta": {"start_at_data": True},
    "start_at_mean": {"sigma_start": (0.3, 0.3, 0.3)},
}
#: (factor, noise) of measurements with the prior's kernel.
PROBLEMS = [(4, 0.0), (4, 0.05), (2, 0.05)]
#: Settings that these samplers cannot run with: there is nothing to compare.
IMPOSSIBLE = {
    ("dps", "start_at_data"),
    ("multigrid", "consistency"),
    ("multigrid-pnp", "consistency"),
}
# Far more than the rounding of float32 sums makes of intensities of order one.
BEYOND_ROUNDING = 1e-3


@pytest.fixture(scope="module")
def priors(tmp_path_factory: pytest.TempPathFactory, prior: CascadePrior) -> dict[str, Any]:
    folder = write_random_prior(tmp_path_factory.mktemp("single"), cascade=SINGLE)
    single = CascadePrior.from_pretrained(folder)
    return {k: single if k.startswith("multigrid") else prior for k in EFFECTS}


def restored(
    prior: CascadePrior, settings: SamplerSettings, problem: tuple[int, float], samples: int
) -> Restoration:
    factor, noise = problem
    image = np.random.default_rng(3).uniform(0, 1, (32, 32)).astype(np.float32)
    operator = SeparableOperator.from_kernel("fourier", factor, image.shape)
    y = operator(torch.from_numpy(image)).numpy()
    return super_resolve(y, operator, prior, noise=noise, mode=settings, samples=samples)


@pytest.fixture(scope="module")
def unchanged(priors: dict[str, Any]) -> Callable[..., Restoration]:
    """What the base of a kind gives, computed once."""

    @cache
    def result(kind: str, problem: tuple[int, float], samples: int) -> Restoration:
        return restored(priors[kind], SamplerSettings("base", **BASES[kind]), problem, samples)

    return result


def forced(settings: SamplerSettings, field: str) -> SamplerSettings:
    """The settings with a change that their constructor refuses."""
    changed = SamplerSettings(**{f.name: getattr(settings, f.name) for f in fields(settings)})
    object.__setattr__(changed, field, CHANGES[field])
    return changed


def largest_change(one: Restoration, other: Restoration) -> float:
    pairs = [(one.mean, other.mean), (one.sample, other.sample)]
    if one.std is not None and other.std is not None:
        pairs.append((one.std, other.std))
    return max(float(np.abs(a - b).max()) for a, b in pairs)


def test_every_setting_is_changed() -> None:
    names = {f.name for f in fields(SamplerSettings)} - {"name", "steps", "sampler"}
    assert set(CHANGES) == names
    assert set().union(*EFFECTS.values()) == names  # none without effect anywhere
    defaults = SamplerSettings("x")
    assert all(getattr(defaults, field) != value for field, value in CHANGES.items())


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "field"), [(k, f) for k in EFFECTS for f in sorted(EFFECTS[k])])
def test_a_setting_with_an_effect_changes_the_result(
    priors: dict[str, Any], kind: str, field: str
) -> None:
    """For one of the measurements at least."""
    samples = 2 if field == "spread" else 1
    needs = {k: v for k, v in NEEDS.get(field, {}).items() if k in EFFECTS[kind]}
    base = SamplerSettings("base", **BASES[kind], **needs)
    changed = SamplerSettings("changed", **BASES[kind], **needs, **{field: CHANGES[field]})
    assert changed.record(samples)[field] == CHANGES[field]

    def change(problem: tuple[int, float]) -> float:
        one, other = (restored(priors[kind], s, problem, samples) for s in (base, changed))
        return largest_change(one, other)

    assert any(change(problem) > BEYOND_ROUNDING for problem in PROBLEMS)


@pytest.mark.parametrize(
    ("kind", "field"), [(k, f) for k in EFFECTS for f in CHANGES if f not in EFFECTS[k]]
)
def test_any_other_is_refused_and_would_change_nothing(
    priors: dict[str, Any], unchanged: Callable[..., Restoration], kind: str, field: str
) -> None:
    base = SamplerSettings("base", **BASES[kind])
    with pytest.raises(MRCascadeError, match=f"settings 'x': {field} has no effect on .* are "):
        SamplerSettings("x", **BASES[kind], **{field: CHANGES[field]})
    assert field not in base.record(1)
    if (kind, field) in IMPOSSIBLE:
        return
    samples = 2 if field == "spread" and base.draws else 1
    for problem in PROBLEMS:
        other = restored(priors[kind], forced(base, field), problem, samples)
        assert largest_change(unchanged(kind, problem, samples), other) == 0


def test_the_spread_counts_for_several_samples_only() -> None:
    settings = SamplerSettings("x", spread=1.35)
    assert "spread" not in settings.record(1)
    assert settings.record(2)["spread"] == 1.35


def test_a_record_gives_the_settings_back() -> None:
    for kind, base in BASES.items():
        one = {k: v for k, v in CHANGES.items() if k in EFFECTS[kind]}
        settings = SamplerSettings(kind, **base, **one)
        assert SamplerSettings(**settings.record(2)) == settings
