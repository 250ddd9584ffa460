"""The one place that knows which function runs which settings."""

from torch import Tensor

from mrcascade.samplers.cascade import cascade_sample
from mrcascade.samplers.detail import keep_detail
from mrcascade.samplers.diffpir import Callback
from mrcascade.samplers.level import CascadeResult, Prior
from mrcascade.samplers.mean import cascade_mean
from mrcascade.samplers.multigrid import multigrid_sample
from mrcascade.samplers.multigrid_pnp import multigrid_pnp
from mrcascade.samplers.noise import NoiseSource
from mrcascade.samplers.plan import CascadePlan


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
