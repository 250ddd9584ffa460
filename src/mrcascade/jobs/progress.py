"""Progress of a volume in slices, reported during the network evaluations."""

from __future__ import annotations

import math
from collections.abc import Callable

from mrcascade.sampling import CascadePlan, Progress, finest_mean

# Called with the number of slices done, with fractions for those in work. The number decreases
# when slices must be done again.
SlicesDone = Callable[[float], None]
# Called with one line per decision.
Report = Callable[[str], None]


def silent(line: str) -> None:
    """Discard a line; the `Report` of callers that want none."""


def unseen(slices: int) -> SlicesDone:
    """Return a progress function that does nothing."""
    return lambda done: None


def evaluations_by_level(plan: CascadePlan) -> dict[int, int]:
    """Return level -> network evaluations per slice and sample that a plan will take."""
    settings = plan.settings
    sampled = settings.steps is not None
    counts = {task.level: task.steps if task.sampled and sampled else 0 for task in plan.tasks}
    finest = finest_mean(plan) if sampled else 1
    for task in plan.tasks[finest - 1 :] if finest is not None else ():
        # The coarsest level depends on y alone, and noise-free data need no network.
        informed = plan.sigma_y > 0 or task.level < len(plan.tasks)
        if informed and not plan.determined(task.level):
            counts[task.level] += settings.orientations_at(task.level)
    return counts


def expected_evaluations(plan: CascadePlan) -> int:
    """Return the number of network evaluations per slice and sample, over all levels."""
    return sum(evaluations_by_level(plan).values())


class SliceProgress:
    """Progress of a volume in slices; an evaluation counts in proportion to its level's pixels."""

    def __init__(self, plan: CascadePlan, samples: int, tell: SlicesDone) -> None:
        self._pixels = [math.prod(shape) for shape in plan.pyramid.shapes]
        counts = evaluations_by_level(plan)
        self._slice = samples * sum(n * self._pixels[level - 1] for level, n in counts.items())
        self.tell = tell

    def chunk(self, start: int, slices: int) -> Callable[[Progress], None]:
        """Return the callback for a chunk of ``slices`` slices that begins at ``start``.

        A chunk that is repeated counts from its start again.
        """
        self.tell(start)
        work = 0

        def tick(event: Progress) -> None:
            nonlocal work
            work += event.denoised.shape[0] * self._pixels[event.level - 1]
            # The number of evaluations is an estimate, which may be exceeded.
            self.tell(start + min(work / max(self._slice, 1), slices))

        return tick
