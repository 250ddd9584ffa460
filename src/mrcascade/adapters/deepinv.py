"""Operators and denoisers for the library deepinv, and its linear physics as operators of ours.

deepinv's tensors are (N, C, H, W), in the unit of the images: robust maximum 1, as its [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mrcascade.adapters.libraries import import_deepinv
from mrcascade.errors import MRCascadeError
from mrcascade.operators import CallableOperator, IdentityOperator, LinearOperator
from mrcascade.operators.base import Shape
from mrcascade.prior.cascade import CascadePrior
from mrcascade.restore import Plan, resolve_settings
from mrcascade.sampling import NoiseSource, reconstruct


def as_physics(operator: LinearOperator) -> Any:
    """Return an operator as deepinv's ``LinearPhysics``.

    ``A`` maps (N, C, H, W) to (N, C, h, w), ``A_adjoint`` and ``A_dagger`` back; they and
    ``prox_l2`` are those of the operator: for a `SeparableOperator` exact, without iterations.

    Raises MRCascadeError where deepinv cannot be imported.

    Example:
        >>> import mrcascade, torch
        >>> from mrcascade.adapters.deepinv import as_physics
        >>> H = mrcascade.SeparableOperator.from_kernel("fourier", 2, (64, 64))
        >>> as_physics(H).A(torch.ones(1, 1, 64, 64)).shape
        torch.Size([1, 1, 32, 32])
    """
    base: Any = import_deepinv().physics.LinearPhysics

    class OperatorPhysics(base):
        def prox_l2(self, z: Tensor | float | None, y: Tensor, gamma: Any, **_: Any) -> Tensor:
            # gamma ||H x - y||^2 + ||x - z||^2; an infinite gamma is the projection.
            if not isinstance(z, Tensor):
                z = y.new_full((*y.shape[:-2], *operator.in_shape), z or 0.0)
            tau = 1 / torch.as_tensor(gamma, dtype=y.dtype.to_real(), device=y.device).reshape(-1)
            return operator.prox(z, y, float(tau) if len(tau) == 1 else tau[:, None])

        def A_dagger(self, y: Tensor, **_: Any) -> Tensor:
            return operator.pinv(y)

    return OperatorPhysics(A=operator, A_adjoint=operator.adjoint, img_size=(1, *operator.in_shape))


def as_operator(physics: Any, in_shape: Shape) -> CallableOperator:
    """Return deepinv's linear physics as an operator, for `super_resolve` and all recipes.

    It takes ``A`` and ``A_adjoint``, without noise. The proximal step is by conjugate gradients.

    Args:
        physics: a ``LinearPhysics`` that maps (N, 1, H, W) to (N, 1, h, w), on the prior's device.
        in_shape: H and W.

    Raises:
        MRCascadeError: it maps such images to something else, such as k-space of several coils.

    Example:
        >>> import deepinv
        >>> from mrcascade.adapters.deepinv import as_operator
        >>> physics = deepinv.physics.Downsampling((1, 64, 64), "bicubic", factor=2)
        >>> as_operator(physics, (64, 64))
        CallableOperator('Downsampling', (64, 64) -> (32, 32))
    """
    like = next(
        (t for t in (*physics.parameters(), *physics.buffers()) if t.is_floating_point()),
        torch.zeros(()),
    )  # deepinv's filters have one precision, whatever the image's

    def on_images(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def apply(x: Tensor) -> Tensor:
            if x.is_complex():
                return torch.complex(apply(x.real), apply(x.imag))
            y = function(x.reshape(-1, 1, *x.shape[-2:]).to(like.dtype))
            return y.to(x.dtype).reshape(*x.shape[:-2], *y.shape[-2:])

        return apply

    name = type(physics).__name__
    shape = (1, 1, *in_shape)
    try:
        y = physics.A(like.new_zeros(shape))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:150]
        raise MRCascadeError(f"deepinv's {name} takes no image of {shape}: {reason}") from error
    if not isinstance(y, Tensor) or y.is_complex() or y.ndim != 4 or tuple(y.shape[:2]) != (1, 1):
        got = tuple(getattr(y, "shape", ())) or type(y).__name__
        raise MRCascadeError(
            f"deepinv's {name} maps an image to {got}; give a physics that maps real images"
            " (N, 1, H, W) to real images (N, 1, h, w)"
        )
    forward, adjoint = on_images(physics.A), on_images(physics.A_adjoint)
    return CallableOperator(forward, adjoint, in_shape, (y.shape[-2], y.shape[-1]), name)


def as_denoiser(prior: CascadePrior, scale: float = 1.0) -> Any:
    """Return a prior as deepinv's ``Denoiser``: ``denoiser(x, sigma)`` is E[image | x].

    x is (N, C, H, W), an image plus noise of standard deviation ``sigma``, a number or one per
    image (N,), in the images' unit. A prior of one level (``mr-small-baselines/single-scale``) is
    its network, differentiable in x. A cascade gives the posterior mean of mode "mean", without
    gradient. ``denoiser.to`` moves the prior's networks.

    Args:
        prior: the prior; C is its number of channels.
        scale: robust maximum of the images; 1 for deepinv's [0, 1].

    Raises:
        MRCascadeError: deepinv cannot be imported; later, an image that is too small.

    Example:
        >>> import mrcascade, torch
        >>> from mrcascade.adapters.deepinv import as_denoiser
        >>> denoiser = as_denoiser(mrcascade.CascadePrior.from_pretrained("mr-small"))
        >>> denoiser(torch.rand(1, 1, 64, 64), 0.1).shape
        torch.Size([1, 1, 64, 64])
    """
    base: Any = import_deepinv().models.Denoiser
    chain = prior.levels[0].condition(None) if len(prior.levels) == 1 else None

    class PriorDenoiser(base):
        def __init__(self) -> None:
            super().__init__()
            self.networks = torch.nn.ModuleList(level.networks for level in prior.levels)

        def forward(self, x: Tensor, sigma: float | Tensor, **_: Any) -> Tensor:
            sigmas = torch.as_tensor(sigma).reshape(-1).tolist()
            if len(set(sigmas)) > 1:
                pairs = zip(x.split(1), sigmas, strict=True)
                return torch.cat([self(image, level) for image, level in pairs])
            if sigmas[0] <= 0:
                return x
            if chain is not None:
                return chain.denoise(x / scale, sigmas[0] / scale) * scale
            identity = IdentityOperator((x.shape[-2], x.shape[-1]))
            plan = Plan.of(prior, identity, sigmas[0] / scale, resolve_settings(prior, "mean"))
            result = reconstruct(prior, plan.cascade, x / scale, NoiseSource([0] * len(x)))
            return result.image * scale

    return PriorDenoiser()
