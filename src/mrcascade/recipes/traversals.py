"""In which order a reconstruction goes through levels or grids, and what runs on each of them.

``kind`` of a traversal is what recipes call it, under the flat name ``sampler``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mrcascade.recipes.guidance import Guidance, Proximal
from mrcascade.recipes.options import (
    Levels,
    NoiseLevels,
    Observed,
    OptionSet,
    Schedule,
    above_zero,
    count,
    option,
    orientations,
    positive_numbers,
    share,
    switch,
)
from mrcascade.recipes.samplers.diffpir import DiffPIR
from mrcascade.recipes.samplers.sampler import Sampler

_MOST_GRIDS = 32  # each is half as large as the one before


@dataclass(frozen=True)
class Mean(OptionSet):
    """The conditional mean of each level, from coarse to fine; nothing is random.

    Attributes:
        orientations: of the image in which the networks see it, 1, 2, 4 or 8 (see
            ``sampling.orientations``), or one number for each level, as ``step_shares``. The mean
            is averaged over them, each at the cost of one.
        project: end each level that has exact data with the projection onto them.
    """

    levels: Levels = field(default=Levels())
    orientations: int | tuple[int, ...] = orientations()
    project: bool = switch(True)

    @property
    def kind(self) -> str:
        return "mean"


@dataclass(frozen=True)
class Chains(OptionSet):
    """What traversals with a chain per level or grid have in common.

    Attributes:
        sampler: how a chain gets from one noise level to the next.
        guidance: data consistency of the estimates on the way.
        orientations: of the image in which the networks see it, as `Mean` has them. A chain takes
            them in turn, one per evaluation, so that what the network does differently in each
            cancels as the chain goes on.
        project: end each level that has exact data with the projection onto them. Published
            posterior samplers do not.
        spread: factor on the standard deviation over samples, > 0: skill over spread on
            validation data, where samples of a trained prior vary less than they err.
    """

    sampler: Sampler = field(default=DiffPIR())
    guidance: Guidance = field(default=Proximal())
    schedule: Schedule = field(default=Schedule())
    noise_levels: NoiseLevels = field(default=NoiseLevels())
    orientations: int | tuple[int, ...] = orientations()
    project: bool = switch(True)
    spread: float = above_zero(1.0)


@dataclass(frozen=True)
class Cascade(Chains):
    """A chain per level of a cascade, from coarse to fine (Thaker et al., section 3.3).

    Attributes:
        observed: None for a sampler that always begins at noise.
        start_at_mean: start conditional levels at their conditional mean rather than at zero.
        detail: share of its deviation from the conditional mean that each band of a sample keeps,
            in [0, 1], or one share for each level, as ``step_shares``. 1 is the sample, 0 the
            mean (see ``sampling.keep_detail``).
    """

    levels: Levels = field(default=Levels())
    observed: Observed | None = field(default=Observed())
    start_at_mean: bool = switch(False)
    detail: float | tuple[float, ...] = share(1.0, by_level=True)

    @property
    def kind(self) -> str:
        return self.sampler.name


@dataclass(frozen=True)
class Multigrid(Chains):
    """A chain per grid for a prior of one level; grids count as levels in values per level.

    Attributes:
        grids: G, 1 or more; each is half as large per axis.
    """

    grids: int = count(3, 1, _MOST_GRIDS)

    @property
    def kind(self) -> str:
        return "multigrid"


@dataclass(frozen=True)
class MultigridPnP(OptionSet):
    """Plug-and-play steps on each grid, for a prior of one level; nothing is random.

    Attributes:
        grids, project: as `Multigrid` has them.
        pnp_sigma: noise level of the denoiser on each grid, finest first, in units of the
            standard deviation of the prior's images; None: see ``sampling.multigrid_pnp``.
        pnp_step: gamma, in (0, 2), in units of 1 / ||H P_i||^2.
    """

    schedule: Schedule = field(default=Schedule())
    grids: int = count(3, 1, _MOST_GRIDS)
    project: bool = switch(True)
    pnp_sigma: tuple[float, ...] | None = positive_numbers()
    pnp_step: float = option(1.0, "in (0, 2)", lambda value: 0 < value < 2)

    @property
    def kind(self) -> str:
        return "multigrid-pnp"


Traversal = Mean | Cascade | Multigrid | MultigridPnP
