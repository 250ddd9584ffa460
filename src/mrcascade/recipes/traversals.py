"""Traversals: the order of the levels or grids of a reconstruction, and the sampler on each.

``kind`` of a traversal is its name in recipes, the value of the flat option ``sampler``.
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
        orientations: number of orientations of the image over which the mean is averaged, 1, 2, 4
            or 8 (see ``sampling.orientations``), or one number per level as for ``step_shares``.
            Each costs as much as the first.
        project: end each level that has exact data with the projection onto them.
    """

    levels: Levels = field(default=Levels())
    orientations: int | tuple[int, ...] = orientations()
    project: bool = switch(True)

    @property
    def kind(self) -> str:
        """Name of the traversal in recipes."""
        return "mean"


@dataclass(frozen=True)
class Chains(OptionSet):
    """Base of the traversals with a chain per level or grid.

    Attributes:
        sampler: step from one noise level of a chain to the next.
        guidance: data consistency of the estimates on the way.
        orientations: number of orientations of the image, as in `Mean`. A chain takes them in turn,
            one per evaluation, so that differences of the network between them cancel along the
            chain.
        project: end each level that has exact data with the projection onto them. Published
            posterior samplers do not.
        spread: factor on the standard deviation over samples, > 0: the ratio of error to spread on
            validation data. It is above 1 where samples of a prior vary less than they err.
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
        observed: treatment of noisy data; None for a sampler that always begins at noise.
        start_at_mean: start conditional levels at their conditional mean rather than at zero.
        detail: share of its deviation from the conditional mean that each band of a sample keeps,
            in [0, 1], or one share per level as for ``step_shares``. 1 is the sample, 0 the mean
            (see ``sampling.keep_detail``).
    """

    levels: Levels = field(default=Levels())
    observed: Observed | None = field(default=Observed())
    start_at_mean: bool = switch(False)
    detail: float | tuple[float, ...] = share(1.0, by_level=True)

    @property
    def kind(self) -> str:
        """Name of the traversal in recipes."""
        return self.sampler.name


@dataclass(frozen=True)
class Multigrid(Chains):
    """A chain per grid for a prior of one level; values per level apply to the grids.

    Attributes:
        grids: G, 1 or more; each is half as large per axis as the one before.
    """

    grids: int = count(3, 1, _MOST_GRIDS)

    @property
    def kind(self) -> str:
        """Name of the traversal in recipes."""
        return "multigrid"


@dataclass(frozen=True)
class MultigridPnP(OptionSet):
    """Plug-and-play steps on each grid, for a prior of one level; nothing is random.

    Attributes:
        grids, project: as in `Multigrid`.
        pnp_sigma: noise level of the denoiser on each grid, finest first, in units of the
            standard deviation of the prior's images; None: see ``sampling.multigrid_pnp``.
        pnp_step: gamma, in (0, 2), in units of 1 / ||H P_i||^2.
    """

    schedule: Schedule = field(default=Schedule())
    grids: int = count(3, 1, _MOST_GRIDS)
    project: bool = switch(True)
    pnp_sigma: tuple[float, ...] | None = positive_numbers()
    pnp_step: float = option(1.0, "in (0, 2)", lambda value: 0 < value < 2, numeric=True)

    @property
    def kind(self) -> str:
        """Name of the traversal in recipes."""
        return "multigrid-pnp"


Traversal = Mean | Cascade | Multigrid | MultigridPnP
