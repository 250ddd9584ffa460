"""DPM-Solver++ 2M: a second-order multistep sampler, deterministic or not (Lu et al. 2022).

It solves the probability-flow ODE, or the reverse SDE, of any denoiser. Without data consistency
it draws from the prior. ``tests/sampling/test_sampling_multistep.py`` compares it with the exact
solutions on Gaussian priors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mrcascade.recipes.options import share
from mrcascade.recipes.samplers.sampler import Sampler, Step

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Multistep(Sampler):
    """Algorithm 2 and equation 18 of Lu et al. 2022, "DPM-Solver++", in variance-exploding form.

    h = ln(s / s_next) is the step, h_before the step before it, and d the estimate extrapolated to
    the middle of the step:

    ``d = x0 + h / (2 h_before) (x0 - x0_before)``
    ``x <- d + (s_next / s)^(1 + eta) (x - d) + s_next sqrt(1 - (s_next / s)^(2 eta)) noise``

    The first step of a chain takes d = x0.

    Attributes:
        eta: share of fresh noise, in [0, 1]. 0 solves the ODE and draws none; 1 solves the SDE. A
            value between solves a diffusion of the same marginals with that share of the SDE's
            rate.
    """

    name: ClassVar = "multistep"
    eta: float = share(1.0)

    @property
    def draws(self) -> bool:
        return self.eta > 0

    def chain(self) -> Step:
        before: tuple[Tensor, float] | None = None

        def step(
            x: Tensor, x0: Tensor, sigma: float, following: float, fresh: Tensor | None
        ) -> Tensor:
            nonlocal before
            h = math.log(sigma / following)
            middle = x0
            if before is not None:
                x0_before, h_before = before
                middle = x0 + (h / (2 * h_before)) * (x0 - x0_before)
            before = x0, h
            ratio = following / sigma
            moved = middle + ratio ** (1 + self.eta) * (x - middle)
            if fresh is None:
                return moved
            return moved + following * math.sqrt(1 - ratio ** (2 * self.eta)) * fresh

        return step
