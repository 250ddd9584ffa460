"""One level of the prior as a denoiser: EDM preconditioning around the level's networks.

Everything in this module is in *standardised* units, in which the level's training band has mean
zero and standard deviation one, so ``sigma_data = 1``. ``prior.LevelPrior`` converts from and to
image units.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mrcascade.networks import LevelConfig, LogVariance, MeanNetwork, UNet


class LevelNetworks(nn.Module):
    """U-Net, regression branch (conditional levels) and loss uncertainty of one level.

    The denoiser is ``D(x; s, c) = m + c_skip (x - m) + c_out F(c_in (x - m), c_noise, c, m)``
    with the coefficients of Karras et al. 2022 (table 1) and ``m = m(c)`` the output of the
    regression branch (zero without a condition). At large ``s`` it tends to ``m`` plus what the
    U-Net adds to it, so the conditional mean is right from the first steps of the training.

    Channels of a condition: the coarser image brought to this grid (``channels``), then one map
    that holds ``condition_error``, the share ``t`` in [0, 1) of the coarser band that is unknown.
    """

    def __init__(self, config: LevelConfig, channels: int) -> None:
        super().__init__()
        self.channels = channels
        conditional = config.mean is not None
        extra = 2 * channels + 1 if conditional else 0
        self.unet = UNet(config.unet, channels + extra, channels) if config.unet else None
        self.mean = MeanNetwork(config.mean, channels + 1, channels) if config.mean else None
        self.log_variance = LogVariance() if config.unet else None

    def conditional_mean(self, condition: Tensor | None) -> Tensor | None:
        """(N, channels + 1, H, W) condition -> (N, channels, H, W); None where unconditional."""
        return None if self.mean is None or condition is None else self.mean(condition)

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


def condition_channels(coarse: Tensor, error: Tensor | float) -> Tensor:
    """Append the map of the condition error (scalar or (N,)) to the standardised coarse image."""
    level = torch.as_tensor(error, dtype=coarse.dtype, device=coarse.device)
    return torch.cat([coarse, level.reshape(-1, 1, 1, 1).expand_as(coarse[:, :1])], 1)


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
