"""One level of the prior as a denoiser: EDM preconditioning around the level's networks.

Everything in this module is in *standardised* units, in which the level's training band has mean
zero and standard deviation one, so ``sigma_data = 1``. ``prior.LevelPrior`` converts from and to
image units.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mrcascade.networks import LevelConfig, LogVariance, MeanNetwork, UNet

#: Maps that say how well data know a band: their shares of its three parts, and their noise.
KNOWLEDGE = 4


class LevelNetworks(nn.Module):
    """U-Net, regression branch (conditional levels) and loss uncertainty of one level.

    The denoiser is ``D(x; s, c) = m + c_skip (x - m) + c_out F(c_in (x - m), c_noise, c, m)``
    with the coefficients of Karras et al. 2022 (table 1) and ``m = m(c)`` the output of the
    regression branch (zero without a condition). At large ``s`` it tends to ``m`` plus what the
    U-Net adds to it, so the conditional mean is right from the first steps of the training.

    Channels of a condition: the coarser image brought to this grid (``channels``), then one map
    that holds ``condition_error``, the share ``t`` in [0, 1) of the coarser band that is unknown.
    With ``config.data`` follow the ``channels`` and ``KNOWLEDGE`` maps of ``known_channels``, and
    the branch's prediction takes a data step: what the data know of it is replaced by the estimate
    that stands in these maps.
    """

    def __init__(self, config: LevelConfig, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.data = config.data
        #: Of a condition, 0 for an unconditional level.
        self.condition_channels = 0
        if config.mean is not None:
            known = channels + KNOWLEDGE if config.data else 0
            self.condition_channels = channels + 1 + known
        width = self.condition_channels
        unet_inputs = channels + (width + channels if width else 0)
        self.unet = UNet(config.unet, unet_inputs, channels) if config.unet else None
        self.mean = MeanNetwork(config.mean, width, channels) if config.mean else None
        self.log_variance = LogVariance() if config.unet else None

    def conditional_mean(
        self, condition: Tensor | None, unknown: Callable[[Tensor], Tensor] | None = None
    ) -> Tensor | None:
        """(N, condition_channels, H, W) condition -> (N, channels, H, W); None where
        unconditional. ``unknown`` as in ``KnownBand``, None where nothing is known."""
        if self.mean is None or condition is None:
            return None
        mean: Tensor = self.mean(condition)
        if unknown is None:
            return mean
        known = condition[:, self.channels + 1 : 2 * self.channels + 1]
        return unknown(mean.to(known.dtype)) + known

    def forward(
        self, x: Tensor, sigma: Tensor, condition: Tensor | None, mean: Tensor | None
    ) -> Tensor:
        """Denoise ``x`` (N, channels, H, W) at noise levels ``sigma`` (N,); a level without a
        U-Net takes what it is given."""
        if self.unet is None:
            return x
        s = sigma[:, None, None, None]
        c_skip, c_in = 1 / (s**2 + 1), (s**2 + 1).rsqrt()
        residual = x if mean is None else x - mean
        inputs = [c_in * residual]
        if condition is not None and mean is not None:
            inputs += [condition, mean]
        f = self.unet(torch.cat(inputs, 1), noise_label(sigma))
        denoised = c_skip * residual + (s * c_in) * f
        return denoised if mean is None else mean + denoised


def noise_label(sigma: Tensor) -> Tensor:
    """``c_noise = ln(sigma) / 4`` (Karras et al. 2022, table 1)."""
    return sigma.log() / 4


def condition_channels(
    coarse: Tensor, error: Tensor | float, known: Tensor | None = None
) -> Tensor:
    """Append the map of the condition error (scalar or (N,)) to the standardised coarse image,
    and perhaps what data know of the band, of ``known_channels``."""
    level = torch.as_tensor(error, dtype=coarse.dtype, device=coarse.device)
    channels = [coarse, level.reshape(-1, 1, 1, 1).expand_as(coarse[:, :1])]
    return torch.cat(channels if known is None else [*channels, known], 1)


def known_channels(band: Tensor, numbers: Tensor) -> Tensor:
    """What data know of a band, (N, C + KNOWLEDGE, H, W).

    ``band`` (N, C, H, W) is its best linear estimate from the data, standardised, and ``numbers``
    ((N, KNOWLEDGE) or (KNOWLEDGE,)) become constant maps: the known shares of the band's parts
    that are fine along the row index, the column index and both (``operators.band``), then
    the share that noise has of what is measured. All are zero where nothing is known.
    """
    maps = numbers.to(band).reshape(-1, KNOWLEDGE, 1, 1)
    return torch.cat([band, maps.expand(len(band), -1, *band.shape[-2:])], 1)


def nothing_known(like: Tensor) -> Tensor:
    """The maps of ``known_channels`` for a band of the shape of ``like``, of which data know
    nothing."""
    return known_channels(torch.zeros_like(like), like.new_zeros(KNOWLEDGE))


def diffusion_loss(
    networks: LevelNetworks, denoised: Tensor, clean: Tensor, sigma: Tensor
) -> tuple[Tensor, Tensor]:
    """EDM2 loss with learned uncertainty (eq. 14 and 21), averaged per element.

    Returns the loss to minimise and the plain weighted error per image (N,), detached.
    """
    weight = (sigma**2 + 1) / sigma**2
    error = weight * (denoised - clean).square().mean((1, 2, 3))
    assert networks.log_variance is not None  # as every level with a U-Net
    u = networks.log_variance(noise_label(sigma))
    return (error / u.exp() + u).mean(), error.detach()
