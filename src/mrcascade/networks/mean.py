"""Regression of a band from its condition: the part of the prior that is computed once per image.

The conditional mean ``E[x_(i) | coarser levels]`` is what a denoiser returns at the largest noise
level, and the part of the prior that a short training learns last. Learning it by plain
regression, and letting the diffusion model describe what is left of the band, is still a model of
``p(x_(i) | coarser levels)`` (residual diffusion: Mardani et al. 2023, "CorrDiff"). The network is
a residual CNN without normalisation (Lim et al. 2017, EDSR), at the condition's own resolution.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrcascade.networks.config import MeanConfig
from mrcascade.networks.unet import pad_to_multiple


class ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv1(F.relu(self.conv0(x), inplace=True)).add_(x)


class MeanNetwork(nn.Module):
    """(N, in_channels, H, W) condition -> (N, out_channels, H, W) standardised band; any size."""

    def __init__(self, config: MeanConfig, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.config = config
        area = config.stem**2
        self.head = nn.Conv2d(in_channels * area, config.channels, 3, padding=1)
        self.body = nn.Sequential(*[ResidualBlock(config.channels) for _ in range(config.blocks)])
        self.tail = nn.Conv2d(config.channels, out_channels * area, 3, padding=1)
        # Starts as the zero band, which is the zero-filled image.
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        x = F.pixel_unshuffle(pad_to_multiple(x, self.config.stem), self.config.stem)
        x = self.head(x.contiguous(memory_format=torch.channels_last))
        x = self.tail(self.body(x).add_(x))
        return F.pixel_shuffle(x, self.config.stem)[..., :h, :w]
