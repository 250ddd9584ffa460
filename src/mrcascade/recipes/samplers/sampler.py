"""Base class of the samplers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mrcascade.recipes.options import OptionSet

if TYPE_CHECKING:
    from torch import Tensor

#: (x, x0, sigma, following, fresh) -> x at the noise level ``following``, which is below sigma.
#: x is a state at sigma, x0 the (guided) estimate of the clean image there, fresh white noise of
#: standard deviation 1, or None where the sampler draws none. All have shape (N, C, H, W).
Step = Callable[["Tensor", "Tensor", float, float, "Tensor | None"], "Tensor"]


@dataclass(frozen=True)
class Sampler(OptionSet, ABC):
    """Base of the samplers, which know neither the network nor the data.

    Attributes:
        name: name of the sampler in recipes.
    """

    name: ClassVar[str]

    @property
    @abstractmethod
    def draws(self) -> bool:
        """Whether a step takes fresh noise."""

    @abstractmethod
    def chain(self) -> Step:
        """Return the step of a new chain, to be called once per pair of noise levels."""

    def unguided(self) -> Sampler:
        """Return the sampler of a chain without data consistency: the reverse diffusion."""
        return self
