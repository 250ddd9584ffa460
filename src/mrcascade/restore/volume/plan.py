"""The plan of a volume of thick slices: both kinds of planes that contain the slice axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.operators import SeparableOperator
from mrcascade.prior.cascade import CascadePrior
from mrcascade.restore.plan import Plan
from mrcascade.restore.volume.thick import ThickSlices
from mrcascade.sampling import Recipe


@dataclass(frozen=True)
class VolumePlan:
    """Plan by which a volume of thick slices (S, h, w) is restored to (n, h, w).

    Attributes:
        thick: how the slices see the result.
        planes: plans of the planes (slices, rows) and (slices, columns).
    """

    thick: ThickSlices
    planes: tuple[Plan, Plan]

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
        if settings.draws:
            raise MRCascadeError(
                f"mode {settings.name!r} draws each plane by itself, so that neighbouring planes"
                " would not agree; use mode 'mean' for thick slices"
            )
        along = thick.extended()
        operators = (SeparableOperator(along, np.eye(n), "thick slices") for n in shape)
        rows, columns = (Plan.of(prior, one, noise, settings) for one in operators)
        return cls(thick, (rows, columns))

    @property
    def settings(self) -> Recipe:
        """The sampler's settings."""
        return self.planes[0].settings

    @property
    def noise(self) -> float:
        """Standard deviation of the noise as a fraction of the robust maximum."""
        return self.planes[0].noise

    @property
    def exact(self) -> bool:
        """Whether results meet their measurement up to rounding."""
        return self.planes[0].exact

    def work(self, samples: int = 1) -> int:
        """Return the number of planes to which the progress of a restoration counts.

        A mean restores each of the ``h + w`` planes once.
        """
        return sum(plan.operator.in_shape[1] for plan in self.planes)
