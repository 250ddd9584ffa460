"""Options of data consistency, which guides the estimates of a denoiser towards the measurement.

What each kind computes stands in ``sampling.guidance``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mrcascade.recipes.options import OptionSet, above_zero, not_negative


@dataclass(frozen=True)
class Guidance(OptionSet):
    """Base of the kinds of data consistency; ``name`` is what recipes call one."""

    name: ClassVar[str]


@dataclass(frozen=True)
class Proximal(Guidance):
    """The estimate after a proximal step towards the data (Zhu et al. 2023, eq. 12a).

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
    """The estimate projected onto all data that agree with y, whatever its noise."""

    name: ClassVar = "projection"


@dataclass(frozen=True)
class Gradient(Guidance):
    """A step of the chain against the gradient of ``||y - H x0(x)||`` (Chung et al. 2022).

    Attributes:
        step_size: of DPS, >= 0.
    """

    name: ClassVar = "gradient"
    step_size: float = not_negative(0.3)


@dataclass(frozen=True)
class Unguided(Guidance):
    """The denoiser's own estimate; the data count at the end of a level alone (``project``)."""

    name: ClassVar = "none"


#: The kinds of data consistency, with their defaults, by name.
GUIDANCE: dict[str, Guidance] = {
    kind.name: kind for kind in (Proximal(), Projection(), Gradient(), Unguided())
}
