"""One level of a cascade with its coarser image fixed, shared by samples and means."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from mrcascade.sampling.orientations import ORIENTATIONS, Orientation
from mrcascade.sampling.plan import CascadePlan, LevelTask


class BandDenoiser(Protocol):
    """A level of the prior with its condition fixed, as samplers see it; image units."""

    def denoise(self, x: Tensor, sigma: float, /) -> Tensor:
        """E[band | band + sigma noise = x, condition], (N, C, H, W)."""

    def mean(self) -> Tensor:
        """Conditional mean of the band, anything that broadcasts to (N, C, H, W)."""


class BandPrior(Protocol):
    """One level of the prior, as samplers see it; image units throughout."""

    @property
    def std(self) -> float:
        """Standard deviation of the band."""

    @property
    def sigma_max(self) -> float:
        """Largest noise level that the denoiser knows."""

    @property
    def sigma_min(self) -> float:
        """Smallest noise level that the denoiser knows."""

    def condition(self, coarse: Tensor | None, error: float, /) -> BandDenoiser:
        """Fix up(coarser image), (N, C, H, W), or None at the coarsest level.

        ``error`` is the share of the next coarser band, in [0, 1), that the image lacks.
        """


class Prior(Protocol):
    """What a cascade needs of a prior."""

    @property
    def levels(self) -> Sequence[BandPrior]:
        """One entry per level, finest first."""


def condition_turned(
    level: BandPrior, context: Tensor | None, error: float, turn: Orientation
) -> BandDenoiser:
    """Fix the condition of a level that sees the image in another orientation."""
    return level.condition(None if context is None else turn.apply(context), error)


class ChainDenoiser:
    """The denoiser of one chain: a level with its condition fixed, which sees the image in the
    first ``orientations`` of ``ORIENTATIONS`` in turn. ``calls`` counts its evaluations.

    Arguments but the last as ``BandPrior.condition``.
    """

    def __init__(
        self, level: BandPrior, context: Tensor | None, error: float, orientations: int
    ) -> None:
        self._turns = ORIENTATIONS[:orientations]
        self._conditioned = [condition_turned(level, context, error, t) for t in self._turns]
        self.calls = 0

    def mean(self) -> Tensor:
        """Conditional mean of the band, as the first orientation has it."""
        return self._conditioned[0].mean()

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        index = self.calls % len(self._turns)
        turn, conditioned = self._turns[index], self._conditioned[index]
        self.calls += 1
        return turn.undo(conditioned.denoise(turn.apply(x), sigma))


@dataclass(frozen=True)
class CascadeResult:
    """A reconstruction and what it cost.

    Attributes:
        image: (N, C, H, W), image units.
        evaluations: network evaluations really made at each level, or on each grid.
        steps_nominal: T of the settings, which skipped levels do not use up.
    """

    image: Tensor
    evaluations: dict[int, int]
    steps_nominal: int


@dataclass(frozen=True)
class LevelProblem:
    """Find the band x_(i) given c = up(coarser image) and the level's share of the data.

    Attributes:
        plan: of the cascade.
        task: of this level.
        target: what the level compares with, (N, C, *task.data.operator.out_shape).
        context: c, (N, C, H_i, W_i); None at the coarsest level, whose band is the image.
    """

    plan: CascadePlan
    task: LevelTask
    target: Tensor
    context: Tensor | None

    @classmethod
    def at(
        cls, plan: CascadePlan, task: LevelTask, y: Tensor, coarser: Tensor | None
    ) -> "LevelProblem":
        """The problem of a level, given y and the image rebuilt at the next coarser one."""
        context = None if coarser is None else plan.pyramid.up(coarser, task.level)
        return cls(plan, task, task.data.target(y, coarser), context)

    @property
    def observed(self) -> bool:
        """Whether the target is the image itself, with white noise where the data are noisy."""
        return self.plan.grid is not None and self.task.level >= self.plan.grid

    def image(self, band: Tensor) -> Tensor:
        """u = x_(i) + c."""
        return band if self.context is None else band + self.context

    def band(self, image: Tensor) -> Tensor:
        """x_(i) = u - c."""
        return image if self.context is None else image - self.context

    def constrain(self, band: Tensor) -> Tensor:
        """The closest band with down(x_(i)) = 0, where the plan asks for that."""
        if self.context is None or not self.plan.band_constraint:
            return band
        pyramid, level = self.plan.pyramid, self.task.level
        return band - pyramid.up(pyramid.down(band, level), level)

    def finish(self, band: Tensor) -> Tensor:
        """The image rebuilt at this level: constrained, then projected onto exact data (unless
        the settings leave that out)."""
        image = self.image(self.constrain(band))
        data = self.task.data
        exact = data.sigma == 0 and self.plan.settings.project
        return data.operator.project(image, self.target) if exact else image
