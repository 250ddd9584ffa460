"""Chain of a diffusion sampler: estimate, move to the next noise level, repeat."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from mrcascade.errors import MRCascadeError
from mrcascade.recipes.samplers.sampler import Sampler
from mrcascade.sampling.guidance import GuidedDenoiser
from mrcascade.sampling.noise import NoiseSource


@dataclass(frozen=True)
class Progress:
    """Argument of callbacks, which are called after each network evaluation.

    ``step`` counts from 0 to ``steps - 1`` within its ``level``. ``denoised`` is the estimate
    after its data step, (N, C, H, W) in image units; callbacks must not change it in place.
    """

    level: int
    step: int
    steps: int
    sigma: float
    denoised: Tensor


Callback = Callable[[Progress], None]


@torch.no_grad()
def run_chain(
    denoise: GuidedDenoiser,
    sampler: Sampler,
    x: Tensor,
    sigmas: Sequence[float],
    noise: NoiseSource,
    *,
    callback: Callback | None = None,
    level: int = 1,
) -> Tensor:
    """Run a chain from its first noise level to its last, and return the last estimate.

    Args:
        denoise: guided denoiser (see `sampling.guidance`).
        sampler: moves a state to the next noise level.
        x: (N, C, H, W), start with noise of standard deviation sigmas[0].
        sigmas: decreasing noise levels > 0; each takes one evaluation of the denoiser.
        noise: one generator per image; not used by deterministic samplers.
        callback: called after each evaluation.
        level: level that callbacks see.

    Returns:
        The last denoised estimate, (N, C, H, W). Nothing is clipped.

    Raises:
        MRCascadeError: ``sigmas`` is empty, not decreasing or not positive.
    """
    check_sigmas(sigmas)
    last = len(sigmas) - 1
    step = sampler.chain()
    draws = noise.draws(last if sampler.draws else 0, x.shape, x.device, x.dtype)

    def estimate(k: int, following: float | None) -> tuple[Tensor, Tensor | None]:
        clean, pull = denoise(x, sigmas[k], following)
        if callback is not None:
            callback(Progress(level, k, last + 1, sigmas[k], clean))
        return clean, pull

    for k, (sigma, following) in enumerate(pairwise(sigmas)):
        clean, pull = estimate(k, following)
        x = step(x, clean, sigma, following, next(draws) if sampler.draws else None)
        if pull is not None:
            x = x - pull
    return estimate(last, None)[0]


def check_sigmas(sigmas: Sequence[float]) -> None:
    """Raise MRCascadeError unless the noise levels are positive and decreasing."""
    falling = all(a > b for a, b in pairwise(sigmas))
    if not sigmas or not falling or not 0 < sigmas[-1] <= sigmas[0] < math.inf:
        raise MRCascadeError("noise levels must be positive and decreasing, at least one of them")
