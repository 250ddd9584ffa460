"""How far a measurement is from the images that a prior was made with.

A prior restores what it knows. For another anatomy, an inverted contrast or another kind of scanner
the result may look right and be wrong, so the measurement is compared with the prior's own images
before it is restored. The comparison uses the measurement alone.

Features are measured with the denoiser of the coarsest level, which knows whole images. A few
slices are cropped to the body and resampled so that its longer side has ``SIDE`` pixels. Neither
the field of view nor the factor matters then. Let ``x`` be such an image and ``D`` the denoiser of
``x + sigma n``, both in units of the level's standard deviation. Per noise level ``sigma`` there
are

* the *surprise* ``log(|D - x|^2 / (sigma^2 div D))``. Numerator and denominator have the same mean
  over images of the training distribution, the posterior variance, by Tweedie's second formula;
* the *bias*, the mean of ``D - x``, which is 0 over the training distribution. For complex images
  it is taken in the phase of ``D``.

At the smaller noise levels the mean activations of the encoder's deepest halving block follow
(Lee et al. 2018). Losses alone do not tell an abdomen from a brain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mrcascade.arrays.channels import to_channels
from mrcascade.arrays.intensity import EMPTY, Intensity
from mrcascade.measurement.noise import slices_for_noise
from mrcascade.networks import UNet
from mrcascade.networks.compiled import plain_networks
from mrcascade.operators.crop import fourier_resized
from mrcascade.prior.cascade import CascadePrior

#: Noise levels of the features, in units of the level's standard deviation.
NOISE_LEVELS = (0.2, 0.4, 1.0, 3.0)
# Noise levels whose activations are used; larger ones hide what is in the image.
_SHOWN = 0.5
#: Pixels along the longer side of the body.
SIDE = 48
_SHORTEST = 16  # pixels along the shorter side
#: Number of slices.
SLICES = 3
# The body exceeds _BODY of the 99th percentile of the brightest pixels over the slices. They are
# smoothed over a share of the field of view, so that noise is no body. A share of the body's side
# is added on each side.
_BODY, _SMOOTHED, _MARGIN = 0.1, 1 / 32, 0.04
_CLEARLY = 5.0  # standard deviations that the body exceeds the noise by
# A noise level is raised to this multiple of the measurement's own noise, if that is larger.
_ABOVE_NOISE = 1.5
_LEAST = 1e-4  # keeps logarithms finite


@dataclass(frozen=True)
class DomainScore:
    """Distance of a measurement from the images that a prior was made with.

    Attributes:
        score: distance in units of the limit, within which 90 % of those people's images are.
        prior: name of the prior.

    Example:
        >>> from mrcascade.measurement.domain import DomainScore
        >>> DomainScore(0.62, "mr-small").outside
        False
    """

    score: float
    prior: str

    @property
    def outside(self) -> bool:
        """Whether the measurement is unlike the images of the prior."""
        return self.score > 1

    def __str__(self) -> str:
        return f"domain score {self.score:.2f} (limit 1)"

    @property
    def warning(self) -> str:
        """The warning for a measurement that is outside, in one line."""
        return (
            f"unlike the images that prior {self.prior!r} was made with, {self}: detail in the"
            " result may be wrong; compare it with the interpolated input, or train a prior on such"
            " images"
        )


def measure_domain(
    read: Callable[[int], np.ndarray],
    slices: int,
    field: Sequence[int],
    prior: CascadePrior,
    intensity: Intensity,
    noise: float,
) -> DomainScore | None:
    """Compare the slices of a volume with the images that a prior was made with.

    The result is deterministic and takes none of the samplers' random numbers.

    Args:
        read: returns slice i (h, w), real or complex.
        slices: number of slices.
        field: (H, W), sides of the field of view in pixels of the result.
        prior: the prior.
        intensity: intensity of the volume.
        noise: standard deviation of the noise as a fraction of the robust maximum.

    Returns:
        The score; None for a prior without a reference, for example one whose coarsest level has
        no denoiser.
    """
    if prior.domain is None:
        return None
    looked_at = (intensity.above_zero(read(i)) for i in slices_for_noise(slices))
    stack = _with_content(looked_at, intensity) / intensity.scale
    features = domain_features(stack, field, prior, noise, prior.domain.noise_levels)
    return DomainScore(prior.domain.score(features), prior.name)


def _with_content(found: Iterator[np.ndarray], intensity: Intensity) -> np.ndarray:
    """Return the slices that are not air, or all if none has content."""
    stack = list(found)
    filled = [s for s in stack if np.abs(s).mean() > EMPTY * intensity.scale]
    return np.stack(filled or stack)


@torch.no_grad()
def domain_features(
    stack: np.ndarray,
    field: Sequence[int],
    prior: CascadePrior,
    noise: float = 0.0,
    noise_levels: Sequence[float] = NOISE_LEVELS,
) -> np.ndarray:
    """Return the features of slices, the median over up to ``SLICES`` of them.

    The measurement's noise is part of each noise level, and its share in ``|D - x|^2`` is taken
    off. So a noisy image has the expected features of the same image without noise, as long as the
    noise on the coarse grid stays below the noise levels.

    Args:
        stack: (S, h, w), slices with content in units of the robust maximum, real or complex.
        field: (H, W), sides of the field of view in pixels of equal size.
        prior: prior whose coarsest level has a denoiser.
        noise: standard deviation of the noise, of each part of a complex image.
        noise_levels: noise levels in units of the level's standard deviation.

    Returns:
        (d,), surprise per noise level, bias per noise level, activations.
    """
    chosen = np.linspace(0, len(stack) - 1, SLICES + 2)[1:-1].round().astype(int)
    images, share = _body(stack[np.unique(chosen)], field, noise)
    level = prior.levels[-1]
    unet = level.networks.unet
    assert unet is not None  # the caller has checked it
    x = to_channels(images, prior.device)
    own = noise * share / level.std
    n = torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(0)).to(x)
    conditioned = level.condition(None)
    surprise, bias, activations = [], [], []
    with plain_networks(), _activations(unet) as kept:
        for sigma in noise_levels:
            total = max(sigma, _ABOVE_NOISE * own)
            added = level.std * (total**2 - own**2) ** 0.5
            kept.clear()
            pair = torch.cat([x + added * n, x - added * n])
            above, below = conditioned.denoise(pair, total * level.std).chunk(2)
            divergence = (n * (above - below)).mean((1, 2, 3)) / (2 * added)
            error = 0.5 * ((above - x).square() + (below - x).square()).mean((1, 2, 3))
            error = error / level.std**2 + own**2 * (2 * divergence - 1)
            expected = total**2 * divergence
            surprise.append(_log(error) - _log(expected))
            mean = 0.5 * (above + below)
            bias.append(((mean - x) * _phasor(mean)).sum(1).mean((1, 2)) / level.std)
            if sigma < _SHOWN:
                activations.append(torch.stack(kept[0].chunk(2)).mean(0))
    values = [*surprise, *bias, *torch.stack(activations).mean(0).T]
    return np.median(torch.stack(values, 1).cpu().double().numpy(), axis=0)


def _log(values: Tensor) -> Tensor:
    return values.clamp_min(_LEAST).log()


def _phasor(image: Tensor) -> Tensor:
    """Return D / |D| of a complex image (N, 2, H, W), and ones for a real one."""
    if image.shape[1] == 1:
        return torch.ones_like(image)
    return image / torch.linalg.vector_norm(image, dim=1, keepdim=True).clamp_min(1e-9)


def _body(stack: np.ndarray, field: Sequence[int], noise: float) -> tuple[np.ndarray, float]:
    """Return slices cropped to the body and resampled, and the share of their noise that stays."""
    from scipy.ndimage import uniform_filter

    sizes = [max(1, round(n * _SMOOTHED)) for n in stack.shape[1:]]
    brightest = np.abs(uniform_filter(stack, (1, *sizes))).max(0)
    left = _CLEARLY * noise / np.sqrt(np.prod(sizes))
    inside = brightest > max(_BODY * np.quantile(brightest, 0.99), left)
    window = []
    for axis in (1, 0):
        found = np.flatnonzero(inside.any(axis))
        first, last = (int(found[0]), int(found[-1])) if len(found) else (0, inside.shape[1 - axis])
        margin = round(_MARGIN * (last + 1 - first)) + 1
        window.append(slice(max(first - margin, 0), last + 1 + margin))
    cut = stack[:, window[0], window[1]]
    spans = [n * f / m for n, f, m in zip(cut.shape[1:], field, stack.shape[1:], strict=True)]
    sides = [max(_SHORTEST, round(SIDE * span / max(spans))) for span in spans]
    kept = [min(1.0, side / n) for side, n in zip(sides, cut.shape[1:], strict=True)]
    return fourier_resized(cut, sides), float(np.sqrt(kept[0] * kept[1]))


@contextmanager
def _activations(unet: UNet) -> Iterator[list[Tensor]]:
    """Collect the mean activations (N, channels) of the halving block in each evaluation."""
    kept: list[Tensor] = []
    handle = unet.halving.register_forward_hook(
        lambda block, inputs, output: kept.append(output.float().mean((2, 3)))
    )
    try:
        yield kept
    finally:
        handle.remove()
