"""Conversion between slices as NumPy arrays and the channels that the networks take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def to_channels(stack: np.ndarray, device: str | torch.device = "cpu") -> Tensor:
    """Convert slices to a tensor of network channels.

    Args:
        stack: (S, H, W), real or complex.
        device: where the tensor lies.

    Returns:
        (S, C, H, W) float32; C is 1 for real slices and 2 (real, imaginary) for complex ones.
    """
    parts: Sequence[np.ndarray] = [stack.real, stack.imag] if np.iscomplexobj(stack) else [stack]
    return torch.from_numpy(np.stack(parts, 1).astype(np.float32)).to(device)


def from_channels(images: Tensor) -> np.ndarray:
    """Convert (S, C, H, W) channels back to slices (S, H, W), complex where C is 2."""
    array = images.cpu().numpy()
    return array[:, 0] if array.shape[1] == 1 else array[:, 0] + 1j * array[:, 1]
