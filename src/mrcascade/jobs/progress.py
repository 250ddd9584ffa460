"""Progress of a volume in slices, told while the networks work on them."""

from __future__ import annotations

import math
from collections.abc import Callable

from mrcascade.sampling import CascadePlan, Progress, finest_mean

# Hears how many slices of a volume are done, with the share of those that are in work; smaller
# than before where slices must be done again.
SlicesDone = Callable[[float], None]
# Hears one line per decision.
Report = Callable[[str], None]


def silent(line: str) -> None:
    """A `Report` that nobody reads."""


def unseen(slices: int) -> SlicesDone:
    """The progress of a volume that nobody watches."""
    return lambda done: None


def evaluations_by_level(plan: CascadePlan) -> dict[int, int]:
    """Network evaluations per slice and sample that a plan will take, by level."""
    settings = plan.settings
    sampled = settings.steps is not None
    counts = {task.level: task.steps if task.sampled and sampled else 0 for task in plan.tasks}
    finest = finest_mean(plan) if sampled else 1
    for task in plan.tasks[finest - 1 :] if finest is not None else ():
        # The coarsest level has nothing but y to go by, which needs no network if noise-free.
        informed = plan.sigma_y > 0 or task.level < len(plan.tasks)
        if informed and not plan.determined(task.level):
            counts[task.level] += settings.orientations_at(task.level)
    return counts


def expected_evaluations(plan: CascadePlan) -> int:
    """Network evaluations per slice and sample, over all levels."""
    return sum(evaluations_by_level(plan).values())


class SliceProgress:
    """Counts the slices of a volume. An evaluation is worth as much as its level has pixels."""

    def __init__(self, plan: CascadePlan, samples: int, tell: SlicesDone) -> None:
        self._pixels = [math.prod(shape) for shape in plan.pyramid.shapes]
        counts = evaluations_by_level(plan)
        self._slice = samples * sum(n * self._pixels[level - 1] for level, n in counts.items())
        self.tell = tell

    def chunk(self, start: int, slices: int) -> Callable[[Progress], None]:
        """The evaluation callback for ``slices`` from number ``start`` on, which begin now.

        A chunk that is begun again counts again from its start.
        """
        self.tell(start)
        work = 0

        def tick(event: Progress) -> None:
            nonlocal work
            work += event.denoised.shape[0] * self._pixels[event.level - 1]
            # An estimate of the evaluations may be exceeded.
            self.tell(start + min(work / max(self._slice, 1), slices))

        return tick
