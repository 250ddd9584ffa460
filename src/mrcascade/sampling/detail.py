"""Images between the conditional mean and a sample."""

from dataclasses import replace

from torch import Tensor

from mrcascade.operators.pyramid import Pyramid
from mrcascade.recipes.recipe import Recipe
from mrcascade.sampling.chain import Callback
from mrcascade.sampling.level import CascadeResult, Prior
from mrcascade.sampling.mean import cascade_mean
from mrcascade.sampling.plan import CascadePlan


def keep_detail(
    prior: Prior,
    plan: CascadePlan,
    y: Tensor,
    draw: CascadeResult,
    *,
    callback: Callback | None = None,
) -> CascadeResult:
    """Move the bands of a sample towards the conditional mean by the settings' ``detail``.

    With m the conditional mean and e_(i) the bands of draw - m, the result is m plus the image of
    the bands ``detail_i e_(i)``. Points on the line from the mean to an image of the right
    distribution trade squared error for perceptual quality optimally (Freirich et al. 2021; their
    line ends at the closest such image, ours at a sample). For exact posterior samples, the squared
    error of a band is that of the mean times 1 + detail_i^2. Bands have separate shares, because
    errors of coarse bands cost most, while missing fine bands are most visible. Noise-free data
    are met as exactly as by the draw.

    Args:
        prior, plan, y: as for ``cascade_sample``.
        draw: result of ``cascade_sample`` for the same prior, plan and y.
        callback: called after each network evaluation of the mean.

    Returns:
        The result; the draw itself if no sampled level loses detail.
    """
    settings, finest = plan.settings, finest_mean(plan)
    if finest is None:
        return draw
    mean = cascade_mean(prior, plan, y, finest=finest, callback=callback)
    image = with_detail(plan.pyramid, mean.image, draw.image, settings)
    if plan.sigma_y == 0 and settings.project:
        image = plan.operator.project(image, y)
    evaluations = {i: n + mean.evaluations[i] for i, n in draw.evaluations.items()}
    return replace(draw, image=image, evaluations=evaluations)


def with_detail(pyramid: Pyramid, mean: Tensor, draw: Tensor, settings: Recipe) -> Tensor:
    """Return the mean plus the bands of draw - mean, each times its level's ``detail``."""
    bands = pyramid.decompose(draw - mean)
    kept = [settings.detail_at(i) * band for i, band in enumerate(bands, start=1)]
    return mean + pyramid.rebuild(kept)


def finest_mean(plan: CascadePlan) -> int | None:
    """Return the finest level whose conditional mean `keep_detail` needs; None for no level."""
    settings = plan.settings
    reduced = [t.level for t in plan.tasks if t.sampled and settings.detail_at(t.level) < 1]
    if not reduced:
        return None
    # If finer bands do not change coarser images, levels with full detail need no mean.
    return min(reduced) if plan.band_constraint else 1
