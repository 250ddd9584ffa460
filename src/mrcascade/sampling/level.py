"""One level of a cascade with its coarser image fixed, for samples and means."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from mrcascade.operators.band import KnownBand
from mrcascade.sampling.known import turned
from mrcascade.sampling.orientations import ORIENTATIONS, Orientation
from mrcascade.sampling.plan import CascadePlan, LevelTask

#: Most that finer bands may add to the data of a conditional level for `uses_data`: standard
#: deviation over that of the level's band.
MOST_ALIASED = 0.05


class BandDenoiser(Protocol):
    """A level of the prior with its condition fixed, in image units."""

    def denoise(self, x: Tensor, sigma: float, /) -> Tensor:
        """Return E[band | band + sigma noise = x, condition], (N, C, H, W)."""

    def mean(self) -> Tensor:
        """Conditional mean of the band; its shape broadcasts to (N, C, H, W)."""


class BandPrior(Protocol):
    """Interface of one level of the prior, in image units."""

    @property
    def std(self) -> float:
        """Standard deviation of the band."""

    @property
    def sigma_max(self) -> float:
        """Largest noise level that the denoiser was trained for."""

    @property
    def sigma_min(self) -> float:
        """Smallest noise level that the denoiser was trained for."""

    @property
    def informed(self) -> bool:
        """Whether the level is conditioned on the data's knowledge about the band."""

    def condition(
        self,
        coarse: Tensor | None,
        error: float,
        /,
        known: KnownBand | None = None,
        mean: Tensor | None = None,
    ) -> BandDenoiser:
        """Fix the condition.

        Args:
            coarse: up(coarser image), (N, C, H, W); None at the coarsest level.
            error: share of the next coarser band that the image lacks, in [0, 1).
            known: knowledge of the data about the band, for informed levels; None for nothing.
            mean: conditional mean of the band, if it is known already.
        """


class Prior(Protocol):
    """Interface of a prior for samplers."""

    @property
    def levels(self) -> Sequence[BandPrior]:
        """The levels, finest first."""


def condition_turned(
    level: BandPrior,
    context: Tensor | None,
    error: float,
    turn: Orientation,
    known: KnownBand | None = None,
    mean: Tensor | None = None,
) -> BandDenoiser:
    """Fix the condition of a level, with the image in another orientation.

    ``mean`` is the conditional mean in the first orientation, if it is known already.
    """
    context = None if context is None else turn.apply(context)
    given: dict[str, Any] = {}
    if known is not None:
        given["known"] = turned(known, turn)
    if mean is not None:
        given["mean"] = turn.apply(mean)
    return level.condition(context, error, **given)


def uses_data(prior: Prior, plan: CascadePlan, level: int) -> bool:
    """Return whether a level is conditioned on what the data know of its band.

    That is so for informed levels, unless finer bands alias into the data of a conditional level,
    as with ``area`` and ``bicubic``. The coarser level's estimate has then taken up a part of the
    finer band, so that the data seem to say less of that band than they do. In training the coarser
    image is free of it. ``MOST_ALIASED`` separates the measurements that gain from such a condition
    from those that lose, on validation slices (``benchmarks/informed_mean.py``).
    """
    if level == plan.pyramid.levels or not prior.levels[level - 1].informed:
        return False
    conditional = zip(plan.tasks[:-1], prior.levels[:-1], strict=True)
    return all(task.view.aliased <= MOST_ALIASED * band.std for task, band in conditional)


def condition_error(prior: Prior, plan: CascadePlan, level: int) -> float:
    """Return the error level of a level's condition.

    For levels that use the data (`uses_data`) it is the settings' ``condition_error``, reduced by
    the share of the coarser band that the data know. For other levels it is
    ``CascadePlan.condition_error``.
    """
    if not uses_data(prior, plan, level):
        return plan.condition_error(level)
    share = plan.tasks[level].view.share(prior.levels[level].std)
    if share is None:
        return plan.condition_error(level)
    return plan.settings.levels.condition_error * math.sqrt(1 - share)


class ChainDenoiser:
    """Denoiser of one chain: a level with its condition fixed.

    Its evaluations cycle through the first ``orientations`` of ``ORIENTATIONS``, all with the
    conditional mean of the first: its branch costs as much as several evaluations. ``calls`` counts
    the evaluations, and ``informed`` is True if the condition holds knowledge of the data. Other
    arguments are those of ``BandPrior.condition``.
    """

    def __init__(
        self,
        level: BandPrior,
        context: Tensor | None,
        error: float,
        orientations: int,
        known: KnownBand | None = None,
    ) -> None:
        self._turns = ORIENTATIONS[:orientations]
        first = condition_turned(level, context, error, self._turns[0], known)
        mean = None if context is None else first.mean()
        others = (condition_turned(level, context, error, t, known, mean) for t in self._turns[1:])
        self._conditioned = [first, *others]
        self.informed = known is not None
        self.calls = 0

    def mean(self) -> Tensor:
        """Conditional mean of the band in the first orientation."""
        return self._conditioned[0].mean()

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        index = self.calls % len(self._turns)
        turn, conditioned = self._turns[index], self._conditioned[index]
        self.calls += 1
        return turn.undo(conditioned.denoise(turn.apply(x), sigma))


@dataclass(frozen=True)
class CascadeResult:
    """A reconstruction and its cost.

    Attributes:
        image: (N, C, H, W), image units.
        evaluations: level (or grid) -> actual number of network evaluations.
        steps_nominal: T of the settings; steps of skipped levels are included.
    """

    image: Tensor
    evaluations: dict[int, int]
    steps_nominal: int


@dataclass(frozen=True)
class LevelProblem:
    """Inverse problem of a level: find the band x_(i) given c = up(coarser image) and the data.

    Attributes:
        plan: plan of the cascade.
        task: task of this level.
        target: data of the level, (N, C, *task.data.operator.out_shape).
        context: c, (N, C, H_i, W_i); None at the coarsest level, where the band is the image.
    """

    plan: CascadePlan
    task: LevelTask
    target: Tensor
    context: Tensor | None

    @classmethod
    def at(
        cls, plan: CascadePlan, task: LevelTask, y: Tensor, coarser: Tensor | None
    ) -> "LevelProblem":
        """Return the problem of a level, given y and the image of the next coarser level."""
        context = None if coarser is None else plan.pyramid.up(coarser, task.level)
        return cls(plan, task, task.data.target(y, coarser), context)

    @property
    def observed(self) -> bool:
        """Whether the target is the image itself, with white noise if the data are noisy."""
        return self.plan.grid is not None and self.task.level >= self.plan.grid

    def known(self, prior: Prior) -> KnownBand | None:
        """Return the knowledge of the data about the band.

        Returns None if there is none, and for levels that are not conditioned on it (`uses_data`).
        """
        number = self.task.level
        if self.context is None or not uses_data(prior, self.plan, number):
            return None
        return self.task.view.band(self.context, self.target, prior.levels[number - 1].std)

    def image(self, band: Tensor) -> Tensor:
        """Return the image u = x_(i) + c."""
        return band if self.context is None else band + self.context

    def band(self, image: Tensor) -> Tensor:
        """Return the band x_(i) = u - c."""
        return image if self.context is None else image - self.context

    def constrain(self, band: Tensor) -> Tensor:
        """Return the closest band with down(x_(i)) = 0, if the plan imposes that."""
        if self.context is None or not self.plan.band_constraint:
            return band
        pyramid, level = self.plan.pyramid, self.task.level
        return band - pyramid.up(pyramid.down(band, level), level)

    def met(self, band: Tensor) -> Tensor:
        """Return the closest band that meets exact data.

        An estimate that was conditioned on the data needs no other data step.
        """
        if self.task.view.sigma == 0 and self.plan.settings.project:
            band = self.band(self.task.data.operator.project(self.image(band), self.target))
        return self.constrain(band)

    def finish(self, band: Tensor) -> Tensor:
        """Return the image at this level.

        The band is constrained. Then the image is projected onto exact data, unless the settings
        turn that off.
        """
        image = self.image(self.constrain(band))
        data = self.task.data
        exact = data.sigma == 0 and self.plan.settings.project
        return data.operator.project(image, self.target) if exact else image
