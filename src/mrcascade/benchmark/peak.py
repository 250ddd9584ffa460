"""Peak of a device: the rate of a large matrix product, or of a large convolution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch.nn.functional import conv2d

from mrcascade.devices.timing import fastest_seconds


@dataclass(frozen=True)
class Workload:
    """Sizes of the two operations.

    Attributes:
        side: rows and columns of both factors of the matrix product.
        images, channels, pixels: the convolution is 3x3, from ``channels`` to ``channels``, on
            ``images`` images of ``pixels`` x ``pixels``.
    """

    side: int
    images: int
    channels: int
    pixels: int

    @property
    def product_flop(self) -> int:
        """Operations of the matrix product, two for a multiply-add."""
        return 2 * self.side**3

    @property
    def convolution_flop(self) -> int:
        """Operations of the convolution, padding included."""
        return 2 * self.images * self.pixels**2 * self.channels**2 * 9

    def operations(
        self, device: torch.device, dtype: torch.dtype
    ) -> list[tuple[Callable[[], object], int]]:
        """Return (function, its operations) of the matrix product and of the convolution.

        The convolution's tensors are channels-last, as those of folded networks.
        """
        like = partial(torch.rand, device=device, dtype=dtype)
        a, b = like(self.side, self.side), like(self.side, self.side)
        x = like(self.images, self.channels, self.pixels, self.pixels)
        weight = like(self.channels, self.channels, 3, 3)
        x, weight = (t.contiguous(memory_format=torch.channels_last) for t in (x, weight))
        return [
            (partial(torch.matmul, a, b), self.product_flop),
            (partial(conv2d, x, weight, padding=1), self.convolution_flop),
        ]


# Each takes a fraction of a second, and is far above the cost of its launch.
CPU_WORKLOAD = Workload(side=1536, images=1, channels=64, pixels=256)
GPU_WORKLOAD = Workload(side=8192, images=8, channels=256, pixels=256)


def peak_rate(device: torch.device, precision: str) -> float:
    """Return the larger rate of the two operations in FLOP per second.

    Args:
        device: device of the networks.
        precision: "float32" or "bfloat16", that of the networks. torch's settings for TF32 hold
            here as they do there.
    """
    workload = GPU_WORKLOAD if device.type == "cuda" else CPU_WORKLOAD
    with torch.no_grad():
        works = workload.operations(device, getattr(torch, precision))
        return max(flop / fastest_seconds(work, device) for work, flop in works)
