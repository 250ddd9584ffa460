"""Between the conditional mean and a sample: how much of a sample's own detail a result keeps."""

from dataclasses import replace

from torch import Tensor

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
    """The draw with its bands moved towards the mean, as the settings' ``detail`` says.

    With m the conditional mean and e_(i) the bands of draw - m, the result is m plus the image of
    the bands ``detail_i e_(i)``. Lines from the mean to an image of the right distribution trade
    squared error for likeness to that distribution in the best way (Freirich et al. 2021; theirs
    end at the closest such image, ours at a sample). Where draws are exact, the error of a band is
    that of the mean times 1 + detail_i^2. Bands have different shares, as what a coarse one gets
    wrong costs the most error, and what a fine one lacks is seen first.

    Args:
        draw: a result of ``cascade_sample`` for the same prior, plan and y.
        callback: called after each network evaluation, which only the mean takes.

    Returns the draw itself where no level that a chain ran for is to lose any detail. Noise-free
    data are met as exactly as by the draw.
    """
    settings, finest = plan.settings, finest_mean(plan)
    if finest is None:
        return draw
    mean = cascade_mean(prior, plan, y, finest=finest, callback=callback)
    shares = [settings.detail_at(task.level) for task in plan.tasks]
    bands = plan.pyramid.decompose(draw.image - mean.image)
    kept = [share * band for share, band in zip(shares, bands, strict=True)]
    image = mean.image + plan.pyramid.rebuild(kept)
    if plan.sigma_y == 0 and settings.project:
        image = plan.operator.project(image, y)
    evaluations = {i: n + mean.evaluations[i] for i, n in draw.evaluations.items()}
    return replace(draw, image=image, evaluations=evaluations)


def finest_mean(plan: CascadePlan) -> int | None:
    """The finest level whose conditional mean `keep_detail` needs; None where it needs none."""
    settings = plan.settings
    reduced = [t.level for t in plan.tasks if t.sampled and settings.detail_at(t.level) < 1]
    if not reduced:
        return None
    # Where finer bands say nothing of coarser images, those that keep everything need no mean.
    return min(reduced) if plan.band_constraint else 1
