"""The plan of a volume of thick slices: both kinds of planes that contain the slice axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.operators import SeparableOperator
from mrcascade.prior.cascade import CascadePrior
from mrcascade.recipes.traversals import Cascade, Mean
from mrcascade.restore.plan import make_plan
from mrcascade.restore.settings import resolve_settings
from mrcascade.restore.volume.thick import ThickSlices
from mrcascade.sampling import CascadePlan, Recipe
from mrcascade.sampling.volume_plan import PlanMaker, VolumeCascadePlan


@dataclass(frozen=True)
class VolumePlan:
    """Plan by which a volume of thick slices (S, h, w) is restored to (n, h, w).

    Attributes:
        thick: how the slices see the result.
        cascade: plans of the planes (slices, rows) and (slices, columns), with margins along the
            slice axis, and the pyramid of the volume.
        mean_plans: plans of the same planes for the prior's regression network for thick slices,
            which gives the conditional means; None for a prior without one.
    """

    thick: ThickSlices
    cascade: VolumeCascadePlan
    mean_plans: tuple[CascadePlan, CascadePlan] | None = None

    @classmethod
    def of(
        cls,
        prior: CascadePrior,
        thick: ThickSlices,
        shape: tuple[int, int],
        noise: float,
        settings: Recipe,
    ) -> VolumePlan:
        """Make the plan.

        Args:
            prior: prior that will restore the volume.
            thick: how the slices see the result.
            shape: (h, w) of the slices.
            noise: sigma_y as a fraction of the measurement's robust maximum, >= 0.
            settings: sampler settings, as `resolve_settings` returns them.

        Raises:
            MRCascadeError: the settings do not fit, or a grid is too small for the prior.
        """
        if not isinstance(settings.run, Mean | Cascade):
            raise MRCascadeError(
                f"mode {settings.name!r} does not restore volumes of thick slices; use 'mean',"
                " 'balanced', 'sample' or 'paper'"
            )
        along = thick.extended()

        rows, columns = (SeparableOperator(along, np.eye(n), "thick slices") for n in shape)

        def maker(operator: SeparableOperator) -> PlanMaker:
            return lambda noise: make_plan(prior, operator, noise, settings)

        cascade = VolumeCascadePlan.of(maker(rows), maker(columns), noise, shape)
        if prior.slices is None:
            return cls(thick, cascade)
        mean = settings if isinstance(settings.run, Mean) else resolve_settings(prior, "mean")
        # Both kinds of planes see each voxel, so they share the orientations.
        mean = mean.changed(orientations=max(1, mean.orientations_at(1) // 2))
        plans = [make_plan(prior.slices, planes, noise, mean) for planes in (rows, columns)]
        return cls(thick, cascade, (plans[0], plans[1]))

    @property
    def settings(self) -> Recipe:
        """The sampler's settings."""
        return self.cascade.settings

    @property
    def noise(self) -> float:
        """Standard deviation of the noise as a fraction of the robust maximum."""
        return self.cascade.finest.sigma_y

    @property
    def exact(self) -> bool:
        """Whether results meet their measurement up to rounding."""
        return self.noise == 0 and self.settings.project

    def work(self, samples: int = 1) -> int:
        """Return the number of planes to which the progress of a restoration counts.

        A plane counts each time that it passes through a network in a chain, and once for the mean.
        Planes of coarser levels count by their share of voxels.
        """
        cascade, settings = self.cascade, self.settings
        if not settings.draws:
            return cascade.mean_work
        # Without a network for thick slices, each sample that needs a mean has one of its own.
        own = 0 if settings.full_detail else samples
        means = own if self.mean_plans is None else 1
        return max(1, round(samples * cascade.chain_work + means * cascade.mean_work))
