"""Table of traversals and the functions that run them."""

from torch import Tensor

from mrcascade.recipes.traversals import Mean, Multigrid, MultigridPnP
from mrcascade.sampling.cascade import cascade_sample
from mrcascade.sampling.chain import Callback
from mrcascade.sampling.detail import keep_detail
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
    """Restore one image per measurement by the traversal of the plan's recipe.

    Arguments, results and errors are those of ``cascade_sample``. Deterministic recipes
    (``Recipe.draws`` is False) do not use ``noise``.
    """
    match plan.settings.run:
        case Mean():
            return cascade_mean(prior, plan, y, callback=callback)
        case MultigridPnP():
            return multigrid_pnp(prior, plan, y, callback=callback)
        case Multigrid():
            return multigrid_sample(prior, plan, y, noise, callback=callback)
    draw = cascade_sample(prior, plan, y, noise, callback=callback)
    return keep_detail(prior, plan, y, draw, callback=callback)
