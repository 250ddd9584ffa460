"""DPS: unconditional sampling, pulled towards the data by a gradient (Chung et al. 2022).

On a Gaussian prior the unnormalised gradient would make DPS an affine recursion; the norm that its
authors take instead makes it nonlinear, so that ``tests/sampling/test_sampling_dps.py`` checks it
step by step, and records from draws how far it is from the posterior: at noise-free 2x with
T = 200 the mean is off by 0.17 posterior standard deviations, and the spread is 0.94 of the
posterior's.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from mrcascade.errors import MRCascadeError
from mrcascade.operators import LinearOperator
from mrcascade.sampling.diffpir import Callback, Denoiser, Progress, check_sigmas
from mrcascade.sampling.noise import NoiseSource

# The original's images span [-1, 1], ours about [0, 1]: its noise levels and steps are twice ours.
_RANGE = 2.0


def dps(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    operator: LinearOperator,
    y: Tensor,
    *,
    scale: float,
    noise: NoiseSource,
    callback: Callback | None = None,
    level: int = 1,
) -> Tensor:
    """Run one chain (Chung et al. 2022, algorithm 1, in variance-exploding form).

    An ancestral step of the unconditional chain, from which ``scale`` times the gradient of
    ``||y - H x0(x)||`` with respect to x is subtracted, through the denoiser. The norm, not its
    square, and of each image by itself, so that a batch does not change a result. In the original's
    variance-preserving variables z = x / sqrt(1 + s^2) the step is ``scale grad_z``; here it is
    that times ``sqrt((1 + s^2) (1 + s_next^2))``. The last level is denoised only.

    Args:
        denoise: differentiable.
        x: (N, C, H, W), a start with noise of standard deviation sigmas[0].
        sigmas: decreasing, > 0; one evaluation of the denoiser for each.
        operator: H.
        y: (N, C, h, w).
        scale: the original's step size, >= 0; 0.3 in its 4x task.
        noise: one generator per image.
        level: the number that callbacks see.

    Returns the last denoised estimate, (N, C, H, W). Raises MRCascadeError for scale or sigmas out
    of range.
    """
    check_sigmas(sigmas)
    if not 0 <= scale < math.inf:
        raise MRCascadeError(f"the step size of DPS must be >= 0; got {scale}")
    last = len(sigmas) - 1

    def note(step: int, x0: Tensor) -> None:
        if callback is not None:
            callback(Progress(level, step, last + 1, sigmas[step], x0))

    draws = noise.draws(last, x.shape, x.device, x.dtype)
    for k, (sigma, following) in enumerate(pairwise(sigmas)):
        x0, gradient = _estimate_and_gradient(denoise, x, sigma, operator, y)
        note(k, x0)
        keep = (following / sigma) ** 2
        gain = math.hypot(1, _RANGE * sigma) * math.hypot(1, _RANGE * following) / _RANGE
        x = x0 + keep * (x - x0) + following * math.sqrt(1 - keep) * next(draws)
        x = x - scale * gain * gradient
    with torch.no_grad():
        x0 = denoise(x, sigmas[-1])
    note(last, x0)
    return x0


def _estimate_and_gradient(
    denoise: Denoiser, x: Tensor, sigma: float, operator: LinearOperator, y: Tensor
) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        x0 = denoise(x, sigma)
        distance = torch.linalg.vector_norm((operator(x0) - y).flatten(1), dim=1)
        (gradient,) = torch.autograd.grad(distance.sum(), x)
    return x0.detach(), gradient
