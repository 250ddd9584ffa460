"""DiffPIR: add noise again to the estimate (Zhu et al. 2023, algorithm 1).

DiffPIR does not sample the posterior. On a Gaussian prior, which has a closed form, its spread is
too small, and its mean is biased if the data are noisy.
``tests/sampling/test_sampling_diffpir.py`` compares this implementation with the exact affine
recursion of the algorithm and records the distance from the posterior.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mrcascade.recipes.options import share
from mrcascade.recipes.samplers.sampler import Sampler, Step

if TYPE_CHECKING:
    from torch import Tensor


class _Renoising(Sampler):
    """Base of samplers that add noise to x0 again: that of x, and a share of fresh noise."""

    zeta: float

    @property
    def draws(self) -> bool:
        return self.zeta > 0

    @abstractmethod
    def fresh_share(self, sigma: float, following: float) -> float:
        """Return the share of fresh noise, in [0, 1], in all noise of the next level."""

    def chain(self) -> Step:
        def step(
            x: Tensor, x0: Tensor, sigma: float, following: float, fresh: Tensor | None
        ) -> Tensor:
            new = self.fresh_share(sigma, following)
            moved = x0 + (following * math.sqrt(1 - new) / sigma) * (x - x0)
            return moved if fresh is None else moved + (following * math.sqrt(new)) * fresh

        return step


@dataclass(frozen=True)
class DiffPIR(_Renoising):
    """Algorithm 1 of Zhu et al. 2023 in variance-exploding form.

    ``x <- x0 + sigma_next (sqrt(1 - zeta) (x - x0) / sigma + sqrt(zeta) noise)``

    Attributes:
        zeta: share of fresh noise in each step, in [0, 1]; at 0 the chain draws none.
    """

    name: ClassVar = "diffpir"
    zeta: float = share(0.3)

    def fresh_share(self, sigma: float, following: float) -> float:
        return self.zeta

    def unguided(self) -> Sampler:
        return ReverseDiffusion(self.zeta)


@dataclass(frozen=True)
class ReverseDiffusion(_Renoising):
    """Reverse diffusion with a share of its fresh noise (Song et al. 2021, DDIM, eq. 16).

    Attributes:
        zeta: share in [0, 1] of the fresh noise of a full step, which is
            1 - (sigma_next / sigma)^2 of all noise. `DiffPIR` takes a share of all noise.
    """

    name: ClassVar = "reverse-diffusion"
    zeta: float = share(1.0)

    def fresh_share(self, sigma: float, following: float) -> float:
        return self.zeta * (1 - (following / sigma) ** 2)
