"""DiffPIR: denoise, meet the data, add noise again (Zhu et al. 2023, algorithm 1).

On a Gaussian prior, where everything is known in closed form, DiffPIR does not sample the
posterior: its spread is too small, and with noisy data its mean is biased.
``tests/sampling/test_sampling_diffpir.py`` holds this implementation to the exact affine recursion
of the algorithm and records the distance.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from mrcascade.errors import MRCascadeError
from mrcascade.operators import LinearOperator
from mrcascade.sampling.noise import NoiseSource

#: (x (N, C, H, W), sigma) -> estimate of the clean x, same shape and units.
Denoiser = Callable[[Tensor, float], Tensor]
#: (x0 (N, C, H, W), sigma) -> x0 moved towards the data.
DataStep = Callable[[Tensor, float], Tensor]


@dataclass(frozen=True)
class Progress:
    """What a callback sees after each network evaluation.

    ``step`` counts from 0 to ``steps - 1`` within its ``level``; ``denoised`` is the estimate
    after the data step, (N, C, H, W), in image units, not to be changed in place.
    """

    level: int
    step: int
    steps: int
    sigma: float
    denoised: Tensor


Callback = Callable[[Progress], None]


def proximal_step(
    operator: LinearOperator, y: Tensor, sigma_y: float, lam: float = 1.0, floor: float = 0.0
) -> DataStep:
    """Data step argmin_u ||y - H u||^2 + tau ||u - x0||^2 of DiffPIR (Zhu et al. 2023, eq. 12a).

    ``tau = lam max(sigma_y, floor)^2 / sigma^2`` with all of them in the units of the image.
    The original measures the data's noise on a [0, 1] scale and sigma on a [-1, 1] scale: lam = 1
    here is lambda = 4 there, and lambda = 2 in deepinv. Where sigma_y and floor are both 0 the
    step is the exact projection onto the data.

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


@torch.no_grad()
def diffpir(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    data_step: DataStep,
    *,
    zeta: float,
    noise: NoiseSource,
    ancestral: bool = False,
    callback: Callback | None = None,
    level: int = 1,
) -> Tensor:
    """Run one chain (Zhu et al. 2023, algorithm 1, in variance-exploding form).

    At each noise level, with x0 the denoised x after its data step:
    ``x <- x0 + sigma_next (sqrt(1 - zeta) (x - x0) / sigma + sqrt(zeta) noise)``.
    The last level is denoised only; nothing is ever clipped.

    Args:
        x: (N, C, H, W), a start with noise of standard deviation sigmas[0].
        sigmas: decreasing, > 0; one evaluation of the denoiser for each.
        zeta: share of fresh noise, in [0, 1]; at 0 the chain draws none.
        noise: one generator per image.
        ancestral: zeta is a share of the noise that the reverse diffusion brings in, which is
            1 - (sigma_next / sigma)^2 of a step's, instead of all of it.
        level: the number that callbacks see.

    Returns the last denoised estimate, (N, C, H, W). Raises MRCascadeError for zeta or sigmas
    out of range.
    """
    if not 0 <= zeta <= 1:
        raise MRCascadeError(f"zeta must be in [0, 1]; got {zeta}")
    check_sigmas(sigmas)
    last = len(sigmas) - 1
    draws = noise.draws(last if zeta > 0 else 0, x.shape, x.device, x.dtype)
    for k, sigma in enumerate(sigmas):
        x0 = denoise(x, sigma)
        if k < last:
            x0 = data_step(x0, sigma)
        if callback is not None:
            callback(Progress(level, k, len(sigmas), sigma, x0))
        if k < last:
            share = zeta * (1 - (sigmas[k + 1] / sigma) ** 2) if ancestral else zeta
            x = x0 + (sigmas[k + 1] * math.sqrt(1 - share) / sigma) * (x - x0)
            if zeta > 0:
                x = x + (sigmas[k + 1] * math.sqrt(share)) * next(draws)
    return x0


def check_sigmas(sigmas: Sequence[float]) -> None:
    """Raise MRCascadeError unless they are the noise levels of a chain."""
    falling = all(a > b for a, b in pairwise(sigmas))
    if not sigmas or not falling or not 0 < sigmas[-1] <= sigmas[0] < math.inf:
        raise MRCascadeError("noise levels must be positive and decreasing, at least one of them")
