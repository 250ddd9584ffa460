"""The ancestral sampler of the unconditional diffusion (Ho et al. 2020), which DPS guides."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mrcascade.recipes.samplers.sampler import Sampler, Step

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Ancestral(Sampler):
    """Step of DDPM (Ho et al. 2020, eq. 7) in variance-exploding form.

    ``x <- x0 + k (x - x0) + s_next sqrt(1 - k) noise`` with ``k = (s_next / s)^2``

    With the guidance `Gradient` it is DPS (Chung et al. 2022, algorithm 1). The gradient is that of
    a norm, so DPS is no affine recursion on a Gaussian prior.
    ``tests/sampling/test_sampling_dps.py`` checks it step by step, and records its distance from
    the posterior.
    """

    name: ClassVar = "dps"

    @property
    def draws(self) -> bool:
        return True

    def chain(self) -> Step:
        def step(
            x: Tensor, x0: Tensor, sigma: float, following: float, fresh: Tensor | None
        ) -> Tensor:
            assert fresh is not None  # as ``draws`` says
            keep = (following / sigma) ** 2
            return x0 + keep * (x - x0) + following * math.sqrt(1 - keep) * fresh

        return step
