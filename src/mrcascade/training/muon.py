"""Muon: momentum whose matrices are orthogonalised (Jordan et al. 2024), for convolutions.

PyTorch's own ``torch.optim.Muon`` came after the oldest release that this package supports, takes
matrices only and works in bfloat16, which CPUs without that type emulate slowly.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

ITERATIONS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic, from the source


def orthogonalised(matrix: Tensor) -> Tensor:
    """(R, C) matrix with its singular values brought to between 0.6 and 1.3, where they are above
    a hundredth of its norm, by a Newton-Schulz iteration with a quintic polynomial."""
    a, b, c = COEFFICIENTS
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else matrix.T
    x = x / (x.norm() + 1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if wide else x.T


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, for weights of two or more dimensions.

    A convolution's weight counts as a matrix of one row per output channel. Steps are scaled by
    ``0.2 sqrt(max(rows, columns))``, which gives their entries the size of Adam's (Liu et al.
    2025, eq. 4), so that rates mean the same for both.
    """

    def __init__(self, weights: Iterable[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every weight that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                gradient = weight.grad.flatten(1)
                state = self.state[weight]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(gradient)
                momentum = state["momentum"].lerp_(gradient, 1 - group["momentum"])
                update = orthogonalised(gradient.lerp(momentum, group["momentum"]))
                scale = 0.2 * max(update.shape) ** 0.5
                weight.add_(update.reshape(weight.shape), alpha=-group["lr"] * scale)
