"""Images as arrays, and as the channels that the networks take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def to_channels(stack: np.ndarray, device: str | torch.device = "cpu") -> Tensor:
    """(S, H, W) real or complex -> (S, C, H, W) float32 with C = 1 or 2 (real, imaginary)."""
    parts: Sequence[np.ndarray] = [stack.real, stack.imag] if np.iscomplexobj(stack) else [stack]
    return torch.from_numpy(np.stack(parts, 1).astype(np.float32)).to(device)


def from_channels(images: Tensor) -> np.ndarray:
    """The inverse of ``to_channels``."""
    array = images.cpu().numpy()
    return array[:, 0] if array.shape[1] == 1 else array[:, 0] + 1j * array[:, 1]
