"""Restoring in memory with the samplers that serve as baselines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mrcascade import (
    CascadePrior,
    MRCascadeError,
    Recipe,
    SeparableOperator,
    super_resolve,
)
from mrcascade.jobs import expected_evaluations
from mrcascade.jobs.memory import image_bytes
from mrcascade.restore import make_plan
from mrcascade.sampling import RECIPES
from tests.conftest import SINGLE, write_random_prior
from tests.test_restore import FLOAT_TOLERANCE, measure, phantom, restore_exact


def test_dps(prior: CascadePrior, tmp_path: Path) -> None:
    y, operator = measure(phantom(1))
    single = CascadePrior.from_pretrained(write_random_prior(tmp_path, cascade=SINGLE))
    settings = Recipe("dps", steps=9, sampler="dps")
    result = restore_exact(y, operator, single, mode=settings)
    assert result.evaluations == {1: 9}
    assert result.residual.max() < 1e-5  # the final projection
    plain = restore_exact(y, operator, single, mode=replace(settings, step_size=0.0))
    far = restore_exact(y, operator, single, mode=replace(settings, step_size=30.0))
    assert np.abs(plain.mean - far.mean).max() > 100 * FLOAT_TOLERANCE
    assert restore_exact(y, operator, single, mode="dps", steps=9).settings["step_size"] == 0.3
    assert restore_exact(y, operator, prior, mode=settings).evaluations == {1: 3, 2: 3, 3: 0}
    with pytest.raises(
        MRCascadeError,
        match=r"sampler must be one of multistep, diffpir, dps, multigrid, .*; got 'magic'",
    ):
        replace(settings, sampler="magic")


@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("mode", ["multigrid", "multigrid-pnp"])
def test_multigrid(prior: CascadePrior, tmp_path: Path, mode: str, noise: float) -> None:
    y, operator = measure(phantom(2))
    single = CascadePrior.from_pretrained(write_random_prior(tmp_path, cascade=SINGLE))
    settings = replace(RECIPES[mode], steps=21)
    result = super_resolve(y, operator, single, mode=mode, steps=21, noise=noise)
    assert result.settings["grids"] == 3
    if noise == 0:
        assert result.residual.max() < 1e-5
    expected = {1: 7, 2: 7, 3: 7 if noise else 0}
    assert result.evaluations == expected
    plan = make_plan(single, operator, noise, settings)
    assert expected_evaluations(plan) == sum(expected.values()) <= 21
    # One level, which works hardest on the finest grid.
    assert image_bytes(single, plan) == image_bytes(
        single, make_plan(single, operator, noise, replace(settings, sampler="diffpir"))
    )
    other = super_resolve(y, operator, single, mode=settings, noise=noise, seed=1)
    change = np.abs(result.mean - other.mean).max()
    assert change == 0 if mode == "multigrid-pnp" else change > 100 * FLOAT_TOLERANCE
    together = super_resolve(y, operator, single, mode=settings, noise=noise, batch_size=2)
    assert np.abs(result.mean - together.mean).max() < FLOAT_TOLERANCE
    with pytest.raises(MRCascadeError, match=r"needs a prior of one level.*this one has 3"):
        restore_exact(y, operator, prior, mode=mode)
    with pytest.raises(MRCascadeError, match=r"grid 4 would have 8x4 pixels.*needs at least 8"):
        make_plan(single, operator_of((64, 32)), 0.05, replace(settings, grids=4))


def operator_of(shape: tuple[int, int]) -> SeparableOperator:
    return SeparableOperator.from_kernel("fourier", 2, shape)


def test_multigrid_of_another_operator(tmp_path: Path) -> None:
    """3x is not made of 2x steps: its data are met at the end all the same."""
    y, operator = measure(phantom(1, 48), 3)
    single = CascadePrior.from_pretrained(write_random_prior(tmp_path, cascade=SINGLE))
    for mode in ("multigrid", "multigrid-pnp"):
        assert restore_exact(y, operator, single, mode=mode, steps=9).residual.max() < 1e-5


def test_a_deterministic_sampler_has_one_result(tmp_path: Path) -> None:
    y, operator = measure(phantom(1))
    single = CascadePrior.from_pretrained(write_random_prior(tmp_path, cascade=SINGLE))
    assert restore_exact(y, operator, single, mode="multigrid", steps=6, samples=2).std is not None
    with pytest.raises(MRCascadeError, match="mode 'multigrid-pnp' has one result"):
        restore_exact(y, operator, single, mode="multigrid-pnp", steps=6, samples=2)
