"""The one place that knows which function runs which settings."""

from torch import Tensor

from mrcascade.sampling.cascade import cascade_sample
from mrcascade.sampling.detail import keep_detail
from mrcascade.sampling.diffpir import Callback
from mrcascade.sampling.level import CascadeResult, Prior
from mrcascade.sampling.mean import cascade_mean
from mrcascade.sampling.multigrid import multigrid_sample
from mrcascade.sampling.multigrid_pnp import multigrid_pnp
from mrcascade.sampling.noise import NoiseSource
from mrcascade.sampling.plan import CascadePlan


def reconstruct(
    prior: Prior,
    plan: CascadePlan,
    y: Tensor,
    noise: NoiseSource,
    *,
    callback: Callback | None = None,
) -> CascadeResult:
    """One image per measurement, by the sampler that the plan's settings name.

    Arguments, results and errors are those of ``cascade_sample``. Where nothing is random
    (``settings.draws`` is False) ``noise`` is left alone.
    """
    settings = plan.settings
    if settings.steps is None:
        return cascade_mean(prior, plan, y, callback=callback)
    if settings.sampler == "multigrid-pnp":
        return multigrid_pnp(prior, plan, y, callback=callback)
    if settings.multigrid:
        return multigrid_sample(prior, plan, y, noise, callback=callback)
    draw = cascade_sample(prior, plan, y, noise, callback=callback)
    return keep_detail(prior, plan, y, draw, callback=callback)
