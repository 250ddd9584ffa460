"""Adapters that let the library deepinv use our operators and denoisers.

deepinv is optional. It needs torchvision, which cannot be imported beside the CPU build of torch.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from mrcascade import CascadePrior, SeparableOperator
from mrcascade.errors import MRCascadeError

# Differences that no setting removes, or that a comparison works around; printed below its tables.
NOTES = {
    "DiffPIR": """\
- deepinv returns the noisy iterate of the last noise level (std 0.005 on [0, 1]) and drops the last
  denoised estimate, although it pays for that evaluation; ours returns the estimate. Its dropped
  estimate is a row of its own.
- deepinv clamps every estimate to [0, 1]: signed data and values above the robust maximum are lost.
- deepinv's noise levels are those of 1000 variance-preserving steps, from 78.7 on [0, 1] down to
  0.005; they cannot be chosen. The first are beyond what our denoiser was trained on (here up to
  21.7), where it answers with about a mean. Ours follow Karras et al. within its range.
- deepinv's lambda is on mixed scales: its 2 is our 1 (its default is 7). Its seed 0 seeds nothing.
- deepinv starts from H^T y unless told otherwise; here from the pseudo-inverse. A noise level in
  deepinv's physics would rebuild the schedule within the call but leave the start as it was; here
  the constructor is told instead.
- Noise-free data make deepinv's gamma infinite; the proximal step given to it here takes that as
  the projection.
- deepinv does not project onto noise-free data at the end; ours does, as shipped. The column
  "projected" has done so with every image.""",
    "DPS": """\
- deepinv adds the gradient to the score, which multiplies its step by about beta_t; the original,
  and ours, subtract a constant times the gradient. No constant weight gives the original's steps:
  beside deepinv's default 1 stands the weight whose factors add up to the original's over a chain
  (proportional to T; 80 at T = 1000, so that the default is 80 times weaker). The matched run sets
  the public attribute `weight` before each evaluation.
- deepinv's default chain starts at 76 on [0, 1], beyond what our denoiser was trained on; here it
  starts at the largest level that the denoiser knows, by time steps given to deepinv's solver.
- deepinv clips the estimate to [-1, 1], meant for images on that scale, while it works on [0, 1].
- deepinv's variance-preserving chain ends with a guided step to noise level 0; ours, and deepinv's
  variance-exploding one, with a plain evaluation at the lowest level.
- deepinv computes in float64 by default (the denoiser in float32); the matched run in float32, in
  which both libraries draw the same numbers.
- deepinv does not project onto noise-free data at the end; ours does, as shipped. The column
  "projected" has done so with every image.""",
}

# Library that holds the operator schemas of import_deepinv; they exist as long as it does.
_SCHEMAS: list[torch.library.Library] = []


def import_deepinv() -> ModuleType:
    """Import deepinv, without torchvision's compiled operators if they do not fit this torch."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        # Schemas of the operators that torchvision names on import. deepinv's samplers use none.
        _SCHEMAS.append(torch.library.Library("torchvision", "DEF"))
        for operator in ("nms", "qnms"):
            _SCHEMAS[-1].define(f"{operator}() -> ()")
    except ImportError:
        pass  # deepinv reports it
    try:
        importlib.import_module("deepinv.sampling")
        return importlib.import_module("deepinv")
    except (ImportError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:150]
        raise MRCascadeError(
            f"deepinv cannot be imported ({reason}); install it: pip install deepinv"
        ) from error


def as_physics(deepinv: ModuleType, operator: SeparableOperator) -> torch.nn.Module:
    """Return our operator as deepinv's LinearPhysics, with its exact prox and pseudo-inverse."""

    class Physics(deepinv.physics.LinearPhysics):
        def prox_l2(self, z: Tensor, y: Tensor, gamma: Tensor, **_) -> Tensor:
            # deepinv: gamma ||H x - y||^2 + ||x - z||^2; an infinite gamma is the projection.
            return operator.prox(z, y, float(1 / gamma))

        def A_dagger(self, y: Tensor, **_) -> Tensor:
            return operator.pinv(y)

    return Physics(A=operator, A_adjoint=operator.adjoint)


class Denoise(torch.nn.Module):
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
        self.conditioned = prior.levels[0].condition(None)
        self.clamp, self.before = clamp, before
        self.calls = 0
        self.last: Tensor | None = None

    def forward(self, x: Tensor, sigma: float | Tensor, **_) -> Tensor:
        if self.before is not None:
            self.before()
        estimate = self.conditioned.denoise(x, float(sigma))
        self.calls += 1
        if self.clamp is not None:
            estimate = self.clamp(estimate, float(sigma))
        self.last = estimate.detach()
        return estimate


def matched_weights(sigmas: Sequence[float], scale: float) -> Iterator[float]:
    """Yield the weight of each step that makes deepinv's displacement equal to ours.

    On [0, 1], deepinv's is (s^2 - s_next^2) weight grad, and ours is
    scale sqrt((1 + 4 s^2) (1 + 4 s_next^2)) / 2 grad. The closing evaluation has no gradient.
    """
    for a, b in pairwise(sigmas):
        yield scale * np.hypot(1, 2 * a) * np.hypot(1, 2 * b) / 2 / (a**2 - b**2)
    yield 0.0
