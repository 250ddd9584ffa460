"""Volumes of thick slices: samples and means with a prior of planes.

The prior knows the planes (slices, rows) and (slices, columns). A sample has one chain per level
for the whole volume. From step to step the planes are taken in turn from the two kinds, so that
each plane sees, as its coarser image, what its crossing planes found. As slices are measured along
one axis, the data term of a volume is the sum of those of its planes, of either kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from mrcascade.operators.band import KnownBand
from mrcascade.recipes.guidance import Proximal
from mrcascade.recipes.traversals import Cascade
from mrcascade.sampling.cascade import level_sigmas
from mrcascade.sampling.chain import run_chain
from mrcascade.sampling.detail import with_detail
from mrcascade.sampling.guidance import GuidedEstimate, guide, guide_informed
from mrcascade.sampling.inputs import check_levels, traversal
from mrcascade.sampling.level import (
    BandDenoiser,
    LevelProblem,
    Prior,
    condition_error,
    condition_turned,
)
from mrcascade.sampling.mean import cascade_mean
from mrcascade.sampling.noise import NoiseSource
from mrcascade.sampling.orientations import ORIENTATIONS, Orientation
from mrcascade.sampling.plan import CascadePlan, LevelTask
from mrcascade.sampling.volume_plan import PlaneKind, VolumeCascadePlan

#: Called with the work that is done since the last call, in planes of the finest level.
Worked = Callable[[float], None]


class VolumeResult(NamedTuple):
    """A volume and its cost.

    Attributes:
        volume: (C, n, h, w), image units.
        evaluations: level -> network evaluations; in one, all planes of one kind pass through.
    """

    volume: Tensor
    evaluations: dict[int, int]


_NOT_TURNED = ORIENTATIONS[0]


@torch.no_grad()
def volume_sample(
    prior: Prior,
    plan: VolumeCascadePlan,
    y: Tensor,
    noise: NoiseSource,
    *,
    mean: Tensor | None = None,
    batch_size: int = 1,
    worked: Worked = lambda work: None,
) -> VolumeResult:
    """Draw a volume, with one chain per level from coarse to fine.

    A level begins with the coarser volume, brought up and moved towards its data. Step k takes the
    planes of one kind. Their coarser image is the low part P u = up(down(u)) of the present
    estimate u; the network estimates the band from x - P u, where x is the noisy volume; a data
    step follows. Then the sampler moves the whole volume to the next noise level. Components that
    only the other kind has in its bands rest for that step. Noise-free data are met exactly at
    level 1.

    Coarse levels with no more samples along the slice axis than there are noise-free slices are
    taken from the smallest volume that explains y, as the coarsest is by `cascade_mean`. With
    ``detail`` below 1 the bands of the volume are moved towards the mean, as in `keep_detail`.

    A given ``mean`` is that mean. Its bands then take the place of the outputs of the regression
    branches, which do not run.

    Args:
        prior: prior with the plan's number of levels.
        plan: plan of a recipe that traverses a cascade.
        y: (C, S, h, w), image units.
        noise: one generator.
        mean: conditional mean of the volume, (C, n, h, w); None for that of the prior.
        batch_size: number of planes that pass through a network together.
        worked: called after each batch.

    Returns:
        The volume and its cost.

    Raises:
        MRCascadeError: prior and plan do not fit together.
    """
    run = traversal(plan.finest, Cascade)
    check_levels(prior, plan.finest)
    evaluations = dict.fromkeys(range(1, plan.pyramid.levels + 1), 0)
    last = max(plan.sampled, default=0)
    volume = plan.determined(y, last + 1) if last < plan.pyramid.levels else None
    for number in plan.sampled:
        own = None if mean is None else plan.at_level(mean, number)
        level = _VolumeLevel(prior, plan, run, y, number, own, batch_size, worked)
        volume = level.restored(volume, noise)
        evaluations[number] = level.steps
    assert volume is not None  # a plan has at least one level
    if plan.settings.full_detail:
        return VolumeResult(volume, evaluations)
    if mean is None:
        found = volume_mean(prior, plan, y, batch_size=batch_size, worked=worked)
        mean = found.volume
        evaluations = {i: n + found.evaluations[i] for i, n in evaluations.items()}
    volume = with_detail(plan.pyramid, mean, volume, plan.settings)
    if plan.finest.sigma_y == 0 and plan.settings.project:
        kind = plan.kinds[0]
        volume = _towards_data(volume, kind, kind.task(1), kind.data(y, 1), 0.0, batch_size)
    return VolumeResult(volume, evaluations)


@torch.no_grad()
def volume_mean(
    prior: Prior,
    plan: VolumeCascadePlan,
    y: Tensor,
    *,
    plans: tuple[CascadePlan, CascadePlan] | None = None,
    batch_size: int = 1,
    worked: Worked = lambda work: None,
) -> VolumeResult:
    """Return the mean of the conditional means of both kinds of planes.

    Arguments are those of `volume_sample`, and ``plans`` of the planes (slices, rows) and (slices,
    columns) for another prior than that of ``plan``.
    """
    if plans is None:
        plans = plan.kinds[0].plans[0], plan.kinds[1].plans[0]
    total = y.new_zeros((y.shape[0], *plan.pyramid.shapes[0]))
    evaluations: dict[int, int] = {}
    for kind, of_planes in zip(plan.kinds, plans, strict=True):
        data, planes = kind.planes(y), kind.planes(total)
        for part in _batches(len(data), batch_size):
            found = cascade_mean(prior, of_planes, data[part].contiguous())
            planes[part] += found.image / len(plan.kinds)
            evaluations = {i: len(plan.kinds) * n for i, n in found.evaluations.items()}
            worked(len(found.image))
    return VolumeResult(total, evaluations)


class _VolumeLevel:
    """One level of a volume's cascade: a guided denoiser of volumes (1, C, n, h, w).

    ``estimate`` is the present estimate of the volume, (C, n, h, w); None before the first one of
    the coarsest level. ``steps`` counts the calls. ``mean`` is a conditional mean of the volume on
    the level's grid, in place of the branch's.
    """

    def __init__(
        self,
        prior: Prior,
        plan: VolumeCascadePlan,
        run: Cascade,
        y: Tensor,
        number: int,
        mean: Tensor | None,
        batch_size: int,
        worked: Worked,
    ) -> None:
        self._plan, self._run, self._number, self._given = plan, run, number, mean
        self._prior, self._level = prior, prior.levels[number - 1]
        self._batch_size, self._worked = batch_size, worked
        self._orientations = plan.settings.orientations_at(number)
        self._data = [kind.data(y, number) for kind in plan.kinds]
        self._tasks = [kind.task(number) for kind in plan.kinds]
        self._errors = [condition_error(prior, k.plans[number - 1], number) for k in plan.kinds]
        self._channels = len(y)
        self.steps = 0
        self.estimate: Tensor | None = None

    def restored(self, coarser: Tensor | None, noise: NoiseSource) -> Tensor:
        """Return a sample of the volume, given the next coarser one; None at the coarsest level."""
        shape = (1, self._channels, *self._plan.pyramid.shapes[self._number - 1])
        data = self._data[0]
        start = data.new_zeros(shape[1:])
        if coarser is not None:
            tau = (self._tasks[0].data.sigma / self._level.std) ** 2
            start = self._moved(self._plan.pyramid.up(coarser, self._number), tau)
            self.estimate = start
        if coarser is None or self._run.start_at_mean:
            start = self._mean(start)
            self.estimate = None if coarser is None else start
        sigmas = level_sigmas(self._level, self._run.noise_levels, self._tasks[0])
        noisy = noise.randn(shape, data.device, data.dtype).mul_(sigmas[0]).add_(start)
        del start
        volume = run_chain(self, self._run.sampler, noisy, sigmas, noise, level=self._number)[0]
        self.estimate = None
        exact = self._tasks[0].data.sigma == 0 and self._plan.settings.project
        return self._moved(volume, 0.0) if exact else volume

    def __call__(self, x: Tensor, sigma: float, following: float | None) -> GuidedEstimate:
        """Estimate the clean volume from the planes of one kind; see `GuidedDenoiser`."""
        turn = ORIENTATIONS[self.steps // 2 % self._orientations]
        index = self.steps % 2
        kind = self._plan.kinds[index]
        clean = torch.empty_like(x[0])
        pull: Tensor | None = None
        for part, problem, known in self._problems(index):
            conditioned = self._conditioned(part, problem, known, index, turn)

            def denoise(band: Tensor, s: float, fixed: BandDenoiser = conditioned) -> Tensor:
                return turn.undo(fixed.denoise(turn.apply(band), s))

            guided = (
                guide(self._run.guidance, problem, denoise)
                if known is None
                else guide_informed(problem, denoise)
            )
            noisy = kind.planes(x[0])[part].contiguous()
            found = guided(problem.band(noisy), sigma, following)
            kind.planes(clean)[part] = problem.image(found.clean)
            if found.pull is not None:
                pull = torch.zeros_like(clean) if pull is None else pull
                kind.planes(pull)[part] = found.pull
            self._count(kind, len(noisy))
        self.steps += 1
        self.estimate = clean
        return GuidedEstimate(clean[None], None if pull is None else pull[None])

    def _mean(self, start: Tensor) -> Tensor:
        """Return the mean of the volumes that the conditional means of both kinds of planes give.

        The prior's mean at the coarsest level.
        """
        total = torch.zeros_like(start)
        if self.estimate is None:
            planes = self._plan.kinds[0].planes(total)
            planes += self._level.condition(None, 0.0).mean().to(total)
            return total
        for index, kind in enumerate(self._plan.kinds):
            planes = kind.planes(total)
            for part, problem, known in self._problems(index):
                band = self._conditioned(part, problem, known, index, _NOT_TURNED).mean()
                planes[part] += problem.image(band) / len(self._plan.kinds)
                self._count(kind, len(planes[part]))
        return total

    def _problems(self, index: int) -> Iterator[tuple[slice, LevelProblem, KnownBand | None]]:
        """Yield batches of planes: where they are, their problem, and what data know of the band.

        The context is the low part of the present estimate.
        """
        kind, data = self._plan.kinds[index], self._data[index]
        plan = kind.plans[self._number - 1]
        pyramid = plan.pyramid
        for part in _batches(len(data), self._batch_size):
            context = None
            if self._number < pyramid.levels:
                assert self.estimate is not None  # the coarser volume, at first
                low = pyramid.down(kind.planes(self.estimate)[part], self._number)
                context = pyramid.up(low, self._number)
            problem = LevelProblem(plan, self._tasks[index], data[part].contiguous(), context)
            # As in `cascade_sample`, other guidance has data steps of its own.
            informed = isinstance(self._run.guidance, Proximal) and not problem.observed
            yield part, problem, problem.known(self._prior) if informed else None

    def _conditioned(
        self,
        part: slice,
        problem: LevelProblem,
        known: KnownBand | None,
        index: int,
        turn: Orientation,
    ) -> BandDenoiser:
        band = None
        if self._given is not None and problem.context is not None:
            band = self._plan.kinds[index].planes(self._given)[part]
            pyramid, number = problem.plan.pyramid, self._number
            band = band - pyramid.up(pyramid.down(band, number), number)
        error = self._errors[index]
        return condition_turned(self._level, problem.context, error, turn, known, band)

    def _moved(self, volume: Tensor, tau: float) -> Tensor:
        """Return the volume moved towards the level's data; see `_towards_data`."""
        kind, level, data = self._plan.kinds[0], self._tasks[0], self._data[0]
        return _towards_data(volume, kind, level, data, tau, self._batch_size)

    def _count(self, kind: PlaneKind, planes: int) -> None:
        shape = self._plan.pyramid.shapes[self._number - 1]
        self._worked(self._plan.work(self._number, kind) * planes / shape[kind.axis])


def _towards_data(
    volume: Tensor, kind: PlaneKind, level: LevelTask, data: Tensor, tau: float, batch_size: int
) -> Tensor:
    """Return argmin_u ||y - A u||^2 + tau ||u - volume||^2, plane by plane."""
    moved = torch.empty_like(volume)
    for part in _batches(len(data), batch_size):
        planes = kind.planes(volume)[part]
        kind.planes(moved)[part] = level.data.operator.prox(planes, data[part], tau)
    return moved


def _batches(count: int, batch_size: int) -> list[slice]:
    return [slice(start, start + batch_size) for start in range(0, count, batch_size)]
