"""Adapters that let the library deepinv use our operators and denoisers.

deepinv is optional; it was checked with 0.5.0.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from mrcascade.errors import MRCascadeError
from mrcascade.operators import SeparableOperator
from mrcascade.prior.cascade import CascadePrior
from mrcascade.sampling import Recipe

LONGEST = 400  # above about 500 steps deepinv's DiffPIR repeats noise levels

# Library that holds the operator schemas of import_deepinv; they exist as long as it does.
_SCHEMAS: list[torch.library.Library] = []


def has_deepinv() -> bool:
    """Return whether deepinv is installed; it may still fail to import."""
    return find_spec("deepinv") is not None


def import_deepinv() -> Any:
    """Import deepinv, without torchvision's compiled operators if they do not fit this torch.

    Raises MRCascadeError where that fails.
    """
    try:
        return _imported()
    except ImportError as error:
        raise _cannot_import(error) from error
    except RuntimeError:  # deepinv imports torchvision, whose operators may lack their code
        for name in [n for n in sys.modules if n.partition(".")[0] in ("torchvision", "deepinv")]:
            del sys.modules[name]
    # Schemas of the operators that torchvision names on import. deepinv's samplers use none.
    _SCHEMAS.append(torch.library.Library("torchvision", "DEF"))
    for operator in ("nms", "qnms"):
        _SCHEMAS[-1].define(f"{operator}() -> ()")
    try:
        return _imported()
    except (ImportError, RuntimeError) as error:
        raise _cannot_import(error) from error


def _imported() -> Any:
    importlib.import_module("deepinv.sampling")
    return importlib.import_module("deepinv")


def _cannot_import(error: Exception) -> MRCascadeError:
    reason = " ".join(str(error).split())[:150]
    return MRCascadeError(f"deepinv cannot be imported ({reason}); install it: pip install deepinv")


def as_physics(deepinv: Any, operator: SeparableOperator) -> torch.nn.Module:
    """Return our operator as deepinv's LinearPhysics, with its exact prox and pseudo-inverse."""
    base: Any = deepinv.physics.LinearPhysics

    class Physics(base):
        def prox_l2(self, z: Tensor, y: Tensor, gamma: Tensor, **_: Any) -> Tensor:
            # deepinv: gamma ||H x - y||^2 + ||x - z||^2; an infinite gamma is the projection.
            return operator.prox(z, y, float(1 / gamma))

        def A_dagger(self, y: Tensor, **_: Any) -> Tensor:
            return operator.pinv(y)

    physics: torch.nn.Module = Physics(A=operator, A_adjoint=operator.adjoint)
    return physics


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
        self.conditioned = prior.levels[0].condition(None, 0.0)
        self.clamp, self.before = clamp, before
        self.calls = 0
        self.last: Tensor | None = None

    def forward(self, x: Tensor, sigma: float | Tensor, **_: Any) -> Tensor:
        if self.before is not None:
            self.before()
        estimate = self.conditioned.denoise(x, float(sigma))
        self.calls += 1
        if self.clamp is not None:
            estimate = self.clamp(estimate, float(sigma))
        self.last = estimate.detach()
        return estimate


def deepinv_diffpir(
    deepinv: Any, denoiser: CountedDenoiser, recipe: Recipe, sigma_y: float, device: torch.device
) -> Any:
    """Return deepinv's DiffPIR with the settings of a recipe of ours.

    Args:
        deepinv: the library.
        denoiser: the denoiser.
        recipe: recipe with a DiffPIR sampler and the proximal guidance.
        sigma_y: standard deviation of the noise, as a fraction of the robust maximum.
        device: device of the images.
    """
    return deepinv.sampling.DiffPIR(
        denoiser,
        deepinv.optim.data_fidelity.L2(),
        sigma=sigma_y,
        max_iter=recipe.steps,
        zeta=recipe.zeta,
        lambda_=2 * recipe.lam,  # ours 1 is deepinv's 2
        device=str(device),
    )
