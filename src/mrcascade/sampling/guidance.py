"""Data consistency: what wraps a denoiser so that its estimates fit the measurement.

A guided denoiser is called with a state, its noise level and the next one, and gives an estimate
of the clean image. A sampler needs nothing else, so that every sampler runs with every guidance.
At the last noise level of a chain the denoiser's own estimate is the result.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from mrcascade.errors import MRCascadeError
from mrcascade.operators import LinearOperator
from mrcascade.recipes.guidance import Gradient, Guidance, Projection, Proximal
from mrcascade.sampling.level import LevelProblem

#: (x (N, C, H, W), sigma) -> estimate of the clean x, same shape and units.
Denoiser = Callable[[Tensor, float], Tensor]
#: (x0 (N, C, H, W), sigma) -> x0 moved towards the data.
DataStep = Callable[[Tensor, float], Tensor]

# The images of DPS's authors span [-1, 1], ours about [0, 1]: their noise levels and steps are
# twice ours.
_RANGE = 2.0


class GuidedEstimate(NamedTuple):
    """What a guided denoiser gives.

    Attributes:
        clean: estimate of the clean x, (N, C, H, W).
        pull: what the sampler's next state loses besides, None for nothing.
    """

    clean: Tensor
    pull: Tensor | None = None


#: (x (N, C, H, W), sigma, following) -> estimate; ``following`` is the next noise level, None at
#: the last one.
GuidedDenoiser = Callable[[Tensor, float, float | None], GuidedEstimate]


def guide(options: Guidance, problem: LevelProblem, denoise: Denoiser) -> GuidedDenoiser:
    """The denoiser of a level's band, guided towards the data of that level.

    Data steps are exact in u = x_(i) + c, after which c is taken off again. Where the band
    constraint holds and the data are of the prior's kernel, the two agree: the step for a level
    finer than y moves only down(u), which the constraint then restores.
    """
    operator, target, sigma = problem.task.data.operator, problem.target, problem.task.data.sigma

    def in_band(step: DataStep) -> DataStep:
        return lambda x0, s: problem.constrain(problem.band(step(problem.image(x0), s)))

    match options:
        case Proximal():
            step = proximal_step(operator, target, sigma, options.lam, options.noise_floor)
            return with_data_step(denoise, in_band(step))
        case Projection():
            return with_data_step(denoise, in_band(lambda u, s: operator.project(u, target)))
        case Gradient():
            context = problem.context
            # With c fixed, ||y - H (x_(i) + c)|| is the distance of x_(i) from y - H c.
            rest = target if context is None else target - operator(context)
            return with_gradient(denoise, operator, rest, options.step_size)
        case _:
            return unguided(denoise)


def unguided(denoise: Denoiser) -> GuidedDenoiser:
    """The denoiser itself."""
    return lambda x, sigma, following: GuidedEstimate(denoise(x, sigma))


def with_data_step(denoise: Denoiser, step: DataStep) -> GuidedDenoiser:
    """A denoiser whose estimates a data step moves towards the data."""

    def guided(x: Tensor, sigma: float, following: float | None) -> GuidedEstimate:
        clean = denoise(x, sigma)
        return GuidedEstimate(clean if following is None else step(clean, sigma))

    return guided


def proximal_step(
    operator: LinearOperator, y: Tensor, sigma_y: float, lam: float = 1.0, floor: float = 0.0
) -> DataStep:
    """Data step argmin_u ||y - H u||^2 + tau ||u - x0||^2 of DiffPIR (Zhu et al. 2023, eq. 12a).

    ``tau = lam max(sigma_y, floor)^2 / sigma^2`` with all of them in the units of the image.

    Args:
        operator: H.
        y: (N, C, h, w).
        sigma_y: standard deviation of the noise in y, >= 0.

    Raises MRCascadeError for values out of range.
    """
    noise = max(sigma_y, floor)
    if not (0 <= sigma_y < math.inf and 0 <= floor < math.inf and 0 < lam < math.inf):
        raise MRCascadeError(
            f"a data step needs sigma_y >= 0, floor >= 0, lam > 0; got {sigma_y}, {floor}, {lam}"
        )

    def step(x0: Tensor, sigma: float) -> Tensor:
        return operator.prox(x0, y, lam * (noise / sigma) ** 2)

    return step


def with_gradient(
    denoise: Denoiser, operator: LinearOperator, y: Tensor, step_size: float
) -> GuidedDenoiser:
    """A denoiser that pulls the sampler's next state towards the data (Chung et al. 2022).

    The pull is ``step_size`` times the gradient of ``||y - H x0(x)||`` with respect to x, through
    the denoiser. It is of the norm, not of its square, and of each image by itself, so that a
    batch does not change a result. In the original's variance-preserving variables
    z = x / sqrt(1 + s^2) the step is ``step_size grad_z``; here it is that times
    ``sqrt((1 + s^2) (1 + s_next^2))``.

    Args:
        denoise: differentiable.
        operator: H.
        y: (N, C, h, w).
        step_size: the original's, >= 0; 0.3 in its 4x task.
    """

    def guided(x: Tensor, sigma: float, following: float | None) -> GuidedEstimate:
        if following is None:
            return GuidedEstimate(denoise(x, sigma))
        clean, gradient = _estimate_and_gradient(denoise, x, sigma, operator, y)
        gain = math.hypot(1, _RANGE * sigma) * math.hypot(1, _RANGE * following) / _RANGE
        return GuidedEstimate(clean, step_size * gain * gradient)

    return guided


def _estimate_and_gradient(
    denoise: Denoiser, x: Tensor, sigma: float, operator: LinearOperator, y: Tensor
) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        x0 = denoise(x, sigma)
        distance = torch.linalg.vector_norm((operator(x0) - y).flatten(1), dim=1)
        (gradient,) = torch.autograd.grad(distance.sum(), x)
    return x0.detach(), gradient
