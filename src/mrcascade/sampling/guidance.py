"""Data consistency: wrappers of a denoiser that make its estimates fit the measurement.

A guided denoiser takes a state, its noise level and the next one, and returns an estimate of the
clean image. A sampler needs nothing else, so every sampler runs with every guidance. At the last
noise level of a chain the unguided estimate is the result.
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

# DPS was published for images in [-1, 1]. Ours span about [0, 1], so its noise levels and steps are
# twice ours.
_RANGE = 2.0


class GuidedEstimate(NamedTuple):
    """Result of a guided denoiser.

    Attributes:
        clean: estimate of the clean x, (N, C, H, W).
        pull: (N, C, H, W), subtracted from the sampler's next state; None for nothing.
    """

    clean: Tensor
    pull: Tensor | None = None


#: (x (N, C, H, W), sigma, following) -> estimate; ``following`` is the next noise level, None at
#: the last one.
GuidedDenoiser = Callable[[Tensor, float, float | None], GuidedEstimate]


def guide(options: Guidance, problem: LevelProblem, denoise: Denoiser) -> GuidedDenoiser:
    """Return the denoiser of a level's band, guided towards the data of that level.

    Data steps act on u = x_(i) + c; then c is subtracted again. For data of the prior's kernel the
    band constraint undoes the data step of levels finer than y, as that step moves only down(u).

    Args:
        options: kind of guidance.
        problem: the level's problem.
        denoise: denoiser of the band.
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
            # With c fixed, ||y - H (x_(i) + c)|| compares x_(i) with the data y - H c.
            rest = target if context is None else target - operator(context)
            return with_gradient(denoise, operator, rest, options.step_size)
        case _:
            return unguided(denoise)


def guide_informed(problem: LevelProblem, denoise: Denoiser) -> GuidedDenoiser:
    """Return the guided denoiser of a level whose condition already holds the data."""
    return with_data_step(denoise, lambda band, sigma: problem.met(band))


def unguided(denoise: Denoiser) -> GuidedDenoiser:
    """Return the denoiser without guidance."""
    return lambda x, sigma, following: GuidedEstimate(denoise(x, sigma))


def with_data_step(denoise: Denoiser, step: DataStep) -> GuidedDenoiser:
    """Return a denoiser whose estimates are moved towards the data by a data step."""

    def guided(x: Tensor, sigma: float, following: float | None) -> GuidedEstimate:
        clean = denoise(x, sigma)
        return GuidedEstimate(clean if following is None else step(clean, sigma))

    return guided


def proximal_step(
    operator: LinearOperator, y: Tensor, sigma_y: float, lam: float = 1.0, floor: float = 0.0
) -> DataStep:
    """Return the data step of DiffPIR (Zhu et al. 2023, eq. 12a).

    It computes argmin_u ||y - H u||^2 + tau ||u - x0||^2 with
    ``tau = lam max(sigma_y, floor)^2 / sigma^2``. All noise levels are in image units.

    Args:
        operator: H.
        y: (N, C, h, w).
        sigma_y: standard deviation of the noise in y, >= 0.
        lam: weight of the prior, > 0.
        floor: least noise level that counts, >= 0.

    Raises:
        MRCascadeError: a value is out of range.
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
    """Return a denoiser that pulls the sampler's next state towards the data (Chung et al. 2022).

    The pull is ``step_size`` times the gradient of ``||y - H x0(x)||`` with respect to x, through
    the denoiser. The norm is not squared, and each image has its own, so results do not depend on
    the batch. The original has the variance-preserving variables z = x / sqrt(1 + s^2) and the step
    ``step_size grad_z``. Here the step is multiplied by ``sqrt((1 + s^2) (1 + s_next^2))``.

    Args:
        denoise: differentiable denoiser.
        operator: H.
        y: (N, C, h, w).
        step_size: step size of the original, >= 0; 0.3 in its 4x task.
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
