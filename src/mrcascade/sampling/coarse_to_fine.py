"""The way through the levels of a plan that every sampler takes: from coarse to fine."""

from collections.abc import Callable

from torch import Tensor

from mrcascade.sampling.level import CascadeResult
from mrcascade.sampling.plan import CascadePlan, LevelTask


def coarse_to_fine(
    plan: CascadePlan,
    given: Callable[[LevelTask, Tensor | None], Tensor],
    restored: Callable[[LevelTask, Tensor | None], tuple[Tensor, int]],
) -> CascadeResult:
    """Make the image of each level in turn, the finest last.

    Args:
        plan: tasks of the levels, or of the grids.
        given: image of a level that is not sampled, from the next coarser image (None at first).
        restored: image of a level that is sampled, from the same, and its network evaluations.

    Returns:
        Image of level 1 (N, C, H, W), evaluations per level and nominal T.
    """
    evaluations = {task.level: 0 for task in plan.tasks}
    image: Tensor | None = None
    for task in reversed(plan.tasks):
        if task.sampled:
            image, evaluations[task.level] = restored(task, image)
        else:
            image = given(task, image)
    assert image is not None  # a plan has at least one level
    return CascadeResult(image, evaluations, plan.steps_nominal)
