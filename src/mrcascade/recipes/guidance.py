"""Options of data consistency, which guides a denoiser's estimates towards the measurement.

``sampling.guidance`` computes each kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mrcascade.recipes.options import OptionSet, above_zero, not_negative


@dataclass(frozen=True)
class Guidance(OptionSet):
    """Base of the kinds of data consistency.

    Attributes:
        name: name of the kind in recipes.
    """

    name: ClassVar[str]


@dataclass(frozen=True)
class Proximal(Guidance):
    """Proximal step of the estimate towards the data (Zhu et al. 2023, eq. 12a).

    Attributes:
        lam: lambda of the step, > 0, in consistent units (see ``sampling.proximal_step``).
        noise_floor: floor of sigma_y in the step, in image units. At 0 noise-free data are met
            exactly in each step.
    """

    name: ClassVar = "proximal"
    lam: float = above_zero(1.0)
    noise_floor: float = not_negative(0.0)


@dataclass(frozen=True)
class Projection(Guidance):
    """Projection of the estimate onto all images that fit y exactly, even where y is noisy."""

    name: ClassVar = "projection"


@dataclass(frozen=True)
class Gradient(Guidance):
    """Step of the chain against the gradient of ``||y - H x0(x)||`` (Chung et al. 2022).

    Attributes:
        step_size: step size of DPS, >= 0.
    """

    name: ClassVar = "gradient"
    step_size: float = not_negative(0.3)


@dataclass(frozen=True)
class Unguided(Guidance):
    """The denoiser's own estimate; data enter only at the end of a level (``project``)."""

    name: ClassVar = "none"


#: The kinds of data consistency by name, with their defaults.
GUIDANCE: dict[str, Guidance] = {
    kind.name: kind for kind in (Proximal(), Projection(), Gradient(), Unguided())
}
