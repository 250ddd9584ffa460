"""DiffPIR of the library deepinv with our denoiser, for comparisons; checked with deepinv 0.5.0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mrcascade.adapters.deepinv import as_denoiser
from mrcascade.adapters.libraries import import_deepinv
from mrcascade.prior.cascade import CascadePrior
from mrcascade.sampling import Recipe

LONGEST = 400  # above about 500 steps deepinv's DiffPIR repeats noise levels


class CountedDenoiser(torch.nn.Module):
    """Our denoiser for both libraries, which counts its calls and keeps its last estimate.

    deepinv's denoisers expect images on [0, 1], as ours do, and sigma in the same unit. ``before``
    is called ahead of each evaluation. ``clamp`` maps (estimate, sigma) to a new estimate.
    """

    def __init__(
        self,
        prior: CascadePrior,
        clamp: Callable[[Tensor, float], Tensor] | None = None,
        before: Callable[[], None] | None = None,
    ) -> None:
        super().__init__()
        self.denoise = as_denoiser(prior)
        self.clamp, self.before = clamp, before
        self.calls = 0
        self.last: Tensor | None = None

    def forward(self, x: Tensor, sigma: float | Tensor, **_: Any) -> Tensor:
        if self.before is not None:
            self.before()
        estimate: Tensor = self.denoise(x, sigma)
        self.calls += 1
        if self.clamp is not None:
            estimate = self.clamp(estimate, float(sigma))
        self.last = estimate.detach()
        return estimate


def deepinv_diffpir(
    denoiser: CountedDenoiser, recipe: Recipe, sigma_y: float, device: torch.device
) -> Any:
    """Return deepinv's DiffPIR with the settings of a recipe of ours.

    Args:
        denoiser: the denoiser.
        recipe: recipe with a DiffPIR sampler and the proximal guidance.
        sigma_y: standard deviation of the noise, as a fraction of the robust maximum.
        device: device of the images.
    """
    deepinv = import_deepinv()
    return deepinv.sampling.DiffPIR(
        denoiser,
        deepinv.optim.data_fidelity.L2(),
        sigma=sigma_y,
        max_iter=recipe.steps,
        zeta=recipe.zeta,
        lambda_=2 * recipe.lam,  # ours 1 is deepinv's 2
        device=str(device),
    )
