"""Local phase of complex images, in which conditional levels of two channels may work.

A complex image times the conjugate of its local phase is almost a magnitude image: its real part
holds the signal, and its imaginary part the fine structure of the phase. Networks that see it so
need not learn that the phase of an image is arbitrary. The local phase is that of the coarser image
after a Gaussian blur, so it is known wherever a condition is.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WIDTH = 3.0  # standard deviation of the blur, in pixels
RADIUS = 9  # half-width of its kernel, in pixels


def local_phase(image: Tensor) -> Tensor:
    """Return ``exp(i phi)`` of the local phase of (N, 2, H, W), as real and imaginary part.

    It is 1 where the blurred image is 0.
    """
    place = torch.arange(-RADIUS, RADIUS + 1, dtype=image.dtype, device=image.device)
    kernel = torch.exp(-0.5 * (place / WIDTH) ** 2)
    kernel = kernel / kernel.sum()
    parts = image.reshape(-1, 1, *image.shape[-2:])
    with torch.autocast(image.device.type, enabled=False):
        parts = F.conv2d(parts, kernel[None, None, :, None], padding=(RADIUS, 0))
        parts = F.conv2d(parts, kernel[None, None, None, :], padding=(0, RADIUS))
    blurred = parts.reshape(image.shape)
    size = torch.linalg.vector_norm(blurred, dim=1, keepdim=True)
    one = torch.zeros_like(blurred)
    one[:, 0] = 1.0
    return torch.where(size > 0, blurred / size.clamp_min(torch.finfo(size.dtype).tiny), one)


def without_phase(image: Tensor, phase: Tensor) -> Tensor:
    """Multiply (N, 2, H, W) by the conjugate of a phase of ``local_phase``."""
    return with_phase(image, phase * phase.new_tensor([1.0, -1.0])[:, None, None])


def with_phase(image: Tensor, phase: Tensor) -> Tensor:
    """Multiply (N, 2, H, W) by a phase of ``local_phase``."""
    (x, y), (c, s) = image.unbind(1), phase.unbind(1)
    return torch.stack([c * x - s * y, s * x + c * y], 1)
