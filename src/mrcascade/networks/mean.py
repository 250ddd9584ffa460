"""Regression branch of a level: the conditional mean of its band, computed once per image.

A denoiser returns the conditional mean ``E[x_(i) | coarser levels]`` at the largest noise level,
where a short training learns it last. A regression network learns it quickly, and the diffusion
model describes the rest of the band. Together they model ``p(x_(i) | coarser levels)`` (residual
diffusion: Mardani et al. 2023, "CorrDiff"). The network is a residual CNN without normalisation
(Lim et al. 2017, EDSR) at the resolution of the condition.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrcascade.networks.config import MeanConfig
from mrcascade.networks.unet import pad_to_multiple


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with a ReLU between them, added to the input (N, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv1(F.relu(self.conv0(x), inplace=True)).add_(x)


class MeanNetwork(nn.Module):
    """Network that maps a condition (N, in_channels, H, W) to a band (N, out_channels, H, W).

    The band is standardised. H and W may have any size.
    """

    def __init__(self, config: MeanConfig, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.config = config
        area = config.stem**2
        self.head = nn.Conv2d(in_channels * area, config.channels, 3, padding=1)
        self.body = nn.Sequential(*[ResidualBlock(config.channels) for _ in range(config.blocks)])
        self.tail = nn.Conv2d(config.channels, out_channels * area, 3, padding=1)
        # The network starts with a band of 0, that is, with the zero-filled image.
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        x = F.pixel_unshuffle(pad_to_multiple(x, self.config.stem), self.config.stem)
        x = self.head(x.contiguous(memory_format=torch.channels_last))
        x = self.tail(self.body(x).add_(x))
        return F.pixel_shuffle(x, self.config.stem)[..., :h, :w]
