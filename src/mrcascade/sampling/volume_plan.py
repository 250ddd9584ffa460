"""Plan of a volume of thick slices: two kinds of planes through the slice axis, on each level."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from mrcascade.operators import SeparableOperator
from mrcascade.operators.kernels import down_matrix
from mrcascade.operators.volume_pyramid import VolumePyramid
from mrcascade.recipes.recipe import Recipe
from mrcascade.recipes.traversals import Cascade
from mrcascade.sampling.comparison import noise_gain
from mrcascade.sampling.plan import CascadePlan, LevelTask

#: noise -> plan of the planes of one kind, for that standard deviation of the noise in y.
PlanMaker = Callable[[float], CascadePlan]


@dataclass(frozen=True)
class PlaneKind:
    """One kind of planes of volumes (..., n, h, w): (slices, rows) or (slices, columns).

    Attributes:
        axis: the axis that counts the planes, -1 or -2.
        plans: plan of each level's planes, finest first. They differ by the noise of their data.
        reductions: what brings y (..., S, h, w) to the level's grid along ``axis``, finest first.
    """

    axis: int
    plans: tuple[CascadePlan, ...]
    reductions: tuple[SeparableOperator | None, ...]

    @classmethod
    def of(cls, axis: int, make: PlanMaker, noise: float, shape: tuple[int, int]) -> PlaneKind:
        """Make the plans of the planes that ``axis`` counts.

        Args:
            axis: -1 or -2.
            make: maker of the plans.
            noise: standard deviation of the noise in y.
            shape: (h, w).
        """
        first = make(noise)
        plans = [first]
        reductions: list[SeparableOperator | None] = [None]
        pyramid = first.pyramid
        matrix = np.eye(shape[axis])
        for _ in range(1, pyramid.levels):
            n = len(matrix)
            matrix = down_matrix(pyramid.kernel, n, -(-n // pyramid.step)) @ matrix
            pair = [np.eye(n) for n in shape]
            pair[axis] = matrix
            reduction = SeparableOperator(pair[0], pair[1], "grid of a coarser level")
            plans.append(make(noise * noise_gain(reduction)))
            reductions.append(reduction)
        return cls(axis, tuple(plans), tuple(reductions))

    def planes(self, volume: Tensor) -> Tensor:
        """Return the planes (N, C, n, m) of a volume (C, n, h, w), a view of it."""
        return volume.movedim(self.axis, 0)

    def data(self, y: Tensor, level: int) -> Tensor:
        """Return the data of a level's planes, (N, C, ...), for y (C, S, h, w)."""
        reduction = self.reductions[level - 1]
        planes = self.planes(y if reduction is None else reduction(y))
        return self.task(level).data.target(planes, None)

    def task(self, level: int) -> LevelTask:
        """Return the task of a level's planes.

        The noise of its data is that of the components that the level sees (`BandView.sigma`). The
        plan's own value also counts components that only finer levels see, of which y that is
        compared with planes has many.
        """
        task = self.plans[level - 1].tasks[level - 1]
        return replace(task, data=replace(task.data, sigma=task.view.sigma))


@dataclass(frozen=True)
class VolumeCascadePlan:
    """What a recipe does with a volume of thick slices.

    Attributes:
        kinds: planes (slices, rows) and planes (slices, columns).
        pyramid: pyramid of the volume.
    """

    kinds: tuple[PlaneKind, PlaneKind]
    pyramid: VolumePyramid

    @classmethod
    def of(
        cls, rows: PlanMaker, columns: PlanMaker, noise: float, shape: tuple[int, int]
    ) -> VolumeCascadePlan:
        """Make the plan of volumes (n, h, w).

        Args:
            rows, columns: makers of the plans of planes (slices, rows) and (slices, columns).
            noise: standard deviation of the noise in y.
            shape: (h, w).
        """
        kinds = (
            PlaneKind.of(-1, rows, noise, shape),
            PlaneKind.of(-2, columns, noise, shape),
        )
        pyramid = kinds[0].plans[0].pyramid
        whole = pyramid.shapes[0][0], *shape
        return cls(kinds, VolumePyramid(pyramid.kernel, whole, pyramid.levels, pyramid.step))

    @property
    def finest(self) -> CascadePlan:
        """Plan of the finest level's planes (slices, rows)."""
        return self.kinds[0].plans[0]

    @property
    def settings(self) -> Recipe:
        """The recipe."""
        return self.finest.settings

    @property
    def sampled(self) -> list[int]:
        """Levels that run a chain, coarsest first.

        A level with no more samples along the slice axis than there are noise-free slices runs
        none, unless the settings ask for one (``skip_determined``).
        """
        schedule, plan = self.settings.schedule, self.finest
        levels = range(self.pyramid.levels, 0, -1)
        if schedule is None or plan.sigma_y > 0 or not schedule.skip_determined:
            return list(levels)
        return [i for i in levels if self.pyramid.shapes[i - 1][0] > plan.operator.out_shape[0]]

    def determined(self, y: Tensor, level: int) -> Tensor:
        """Return the smallest volume that explains y (C, S, h, w), on the grid of a level."""
        kind = self.kinds[0]
        return self.at_level(self.finest.operator.pinv(kind.planes(y)).movedim(0, kind.axis), level)

    def at_level(self, volume: Tensor, level: int) -> Tensor:
        """Return a volume (C, n, h, w) on the grid of a level."""
        for finer in range(1, level):
            volume = self.pyramid.down(volume, finer)
        return volume

    def passes(self, level: int) -> Iterator[PlaneKind]:
        """Yield the kinds of planes that pass through a level's network, in order.

        They alternate from step to step. Both kinds come first where the chain starts at the
        conditional mean.
        """
        run = self.settings.run
        if level not in self.sampled:
            return
        if isinstance(run, Cascade) and run.start_at_mean and level < self.pyramid.levels:
            yield from self.kinds
        for step in range(self.finest.tasks[level - 1].steps):
            yield self.kinds[step % 2]

    def work(self, level: int, kind: PlaneKind) -> float:
        """Return the work of one pass of a kind's planes, in planes of the finest level."""
        voxels, finest = (np.prod(self.pyramid.shapes[i]) for i in (level - 1, 0))
        return float(voxels / finest * self.pyramid.shapes[0][kind.axis])

    @property
    def mean_work(self) -> int:
        """Work of the mean, in planes of the finest level."""
        return sum(self.pyramid.shapes[0][1:])

    @property
    def chain_work(self) -> float:
        """Work of the chains of a sample, in planes of the finest level; 0 for the mean."""
        levels = range(1, self.pyramid.levels + 1)
        return sum(self.work(i, kind) for i in levels for kind in self.passes(i))
