"""Chains of levels whose condition holds what data know of the band."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mrcascade.operators import SeparableOperator
from mrcascade.operators.band import KnownBand
from mrcascade.sampling import NoiseSource, Progress, Recipe, cascade_sample, plan_cascade
from mrcascade.sampling.level import MOST_ALIASED

SHAPE = (16, 12)
ONE_AXIS = SeparableOperator.from_kernel("fourier", (4, 1), SHAPE)
OWN_KERNEL = SeparableOperator.from_kernel("fourier", 2, SHAPE)


class Prior:
    def __init__(self, *levels: object) -> None:
        self.levels = levels


class Constant:
    """A level whose denoiser returns the same band whatever it sees."""

    std, sigma_max, sigma_min = 0.3, 5.0, 0.01

    def __init__(self, informed: bool) -> None:
        self.informed = informed
        self.seen: list[KnownBand | None] = []

    def condition(
        self, coarse: Tensor | None, error: float, known: KnownBand | None = None
    ) -> Constant:
        self.seen.append(known)
        return self

    def mean(self) -> Tensor:
        return torch.tensor(0.0, dtype=torch.float64)

    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        return 0 * x + 0.1  # DPS asks for a gradient


def chain(
    operator: SeparableOperator, sigma: float, aliased: float = 0.0, **settings: object
) -> tuple[list[Constant], list[Progress], Tensor, Tensor]:
    """Levels, what a callback saw at level 1, the measurement and the result."""
    recipe = Recipe("short", steps=9, **settings)
    plan = plan_cascade("fourier", 3, operator, sigma, recipe, missing=lambda full, coarse: aliased)
    levels = [Constant(informed=i < 3) for i in (1, 2, 3)]
    y = operator(torch.tensor(np.random.default_rng(0).standard_normal((1, 1, *SHAPE))))
    seen: list[Progress] = []
    result = cascade_sample(Prior(*levels), plan, y, NoiseSource([0]), callback=seen.append)
    return levels, [p for p in seen if p.level == 1], y, result.image


def test_chains_of_informed_levels_do_not_count_the_data_twice() -> None:
    levels, seen, _, _ = chain(ONE_AXIS, 0.1)
    assert [level.seen[0] is not None for level in levels] == [True, True, False]
    assert len(seen) == 3
    for progress in seen:  # the denoiser's estimate, whatever y says
        torch.testing.assert_close(progress.denoised, torch.full_like(progress.denoised, 0.1))


@pytest.mark.parametrize(("share", "known"), [(0.99, True), (1.01, False)])
def test_bands_that_alias_into_coarser_data_are_not_known(share: float, known: bool) -> None:
    """The estimate of the coarser level has taken up a part of them."""
    levels, _, _, _ = chain(ONE_AXIS, 0.1, share * MOST_ALIASED * Constant.std)
    assert [level.seen[0] is not None for level in levels] == [known, known, False]


def test_chains_of_informed_levels_meet_exact_data() -> None:
    operator = ONE_AXIS
    _, seen, y, image = chain(operator, 0.0)
    torch.testing.assert_close(operator(image), y)
    assert float((seen[0].denoised - 0.1).abs().max()) > 0.1


@pytest.mark.parametrize("sampler", ["diffpir", "dps"])
def test_chains_that_use_data_themselves_have_no_other(sampler: str) -> None:
    """Data on a level's grid are a state of its chain, or a term of each of its steps; DPS follows
    their gradient."""
    operator = OWN_KERNEL if sampler == "diffpir" else ONE_AXIS
    levels, _, _, _ = chain(operator, 0.1, sampler=sampler)
    assert all(level.seen and level.seen[0] is None for level in levels)
