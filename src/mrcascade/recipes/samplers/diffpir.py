"""DiffPIR: add noise again to the estimate (Zhu et al. 2023, algorithm 1).

DiffPIR does not sample the posterior. On a Gaussian prior, which has a closed form, its spread is
too small, and its mean is biased if the data are noisy.
``tests/sampling/test_sampling_diffpir.py`` compares this implementation with the exact affine
recursion of the algorithm and records the distance from the posterior.
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
class DiffPIR(Sampler):
    """Algorithm 1 of Zhu et al. 2023 in variance-exploding form.

    ``x <- x0 + sigma_next (sqrt(1 - zeta) (x - x0) / sigma + sqrt(zeta) noise)``

    Attributes:
        zeta: share of fresh noise in each step, in [0, 1]; at 0 the chain draws none.
    """

    name: ClassVar = "diffpir"
    zeta: float = share(0.3)

    @property
    def draws(self) -> bool:
        return self.zeta > 0

    def chain(self) -> Step:
        def step(
            x: Tensor, x0: Tensor, sigma: float, following: float, fresh: Tensor | None
        ) -> Tensor:
            return renoised(x, x0, sigma, following, fresh, self.zeta)

        return step

    def unguided(self) -> Sampler:
        return ReverseDiffusion(self.zeta)


@dataclass(frozen=True)
class ReverseDiffusion(Sampler):
    """Reverse diffusion with a share of its fresh noise (Song et al. 2021, DDIM, eq. 16).

    Attributes:
        zeta: share in [0, 1] of the fresh noise of a full step, which is
            1 - (sigma_next / sigma)^2 of all noise. `DiffPIR` takes a share of all noise.
    """

    name: ClassVar = "reverse-diffusion"
    zeta: float = share(1.0)

    @property
    def draws(self) -> bool:
        return self.zeta > 0

    def chain(self) -> Step:
        def step(
            x: Tensor, x0: Tensor, sigma: float, following: float, fresh: Tensor | None
        ) -> Tensor:
            zeta = self.zeta * (1 - (following / sigma) ** 2)
            return renoised(x, x0, sigma, following, fresh, zeta)

        return step


def renoised(
    x: Tensor, x0: Tensor, sigma: float, following: float, fresh: Tensor | None, zeta: float
) -> Tensor:
    """Return x0 with the noise of the next level: from x, with a share ``zeta`` of fresh noise."""
    moved = x0 + (following * math.sqrt(1 - zeta) / sigma) * (x - x0)
    return moved if fresh is None else moved + (following * math.sqrt(zeta)) * fresh
