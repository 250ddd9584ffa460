"""Muon for convolutions: momentum with orthogonalised matrices (Jordan et al. 2024).

``torch.optim.Muon`` is missing in the oldest PyTorch that this package supports. It takes matrices
only, and computes in bfloat16, which CPUs without that type emulate slowly.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

ITERATIONS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic polynomial (Jordan et al. 2024)


def orthogonalised(matrix: Tensor) -> Tensor:
    """Return matrices (..., R, C) with singular values between 0.6 and 1.3.

    A Newton-Schulz iteration with a quintic polynomial reaches that range for singular values above
    a hundredth of the matrix's norm.
    """
    a, b, c = COEFFICIENTS
    wide = matrix.shape[-2] <= matrix.shape[-1]
    x = matrix if wide else matrix.mT
    x = x / (torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if wide else x.mT


class Muon(torch.optim.Optimizer):
    """Optimiser with orthogonalised Nesterov momentum, for weights of two or more dimensions.

    A convolution's weight is a matrix with one row per output channel. Steps are scaled by
    ``0.2 sqrt(max(rows, columns))``. Their entries then have the size of Adam's (Liu et al. 2025,
    eq. 4), so learning rates are comparable.
    """

    def __init__(self, weights: Iterable[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every weight that has a gradient.

        Weights of one shape are updated together, which a GPU does as fast as a single one.
        """
        for group in self.param_groups:
            alike: defaultdict[torch.Size, list[Tensor]] = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is not None:
                    alike[weight.shape].append(weight)
            for weights in alike.values():
                self._move(weights, group["lr"], group["momentum"])

    def _move(self, weights: list[Tensor], rate: float, kept: float) -> None:
        gradients = [weight.grad.flatten(1) for weight in weights if weight.grad is not None]
        momenta = []
        for weight, gradient in zip(weights, gradients, strict=True):
            state = self.state[weight]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(gradient)
            momenta.append(state["momentum"])
        torch._foreach_lerp_(momenta, gradients, 1 - kept)
        update = orthogonalised(torch.stack(gradients).lerp(torch.stack(momenta), kept))
        scale = 0.2 * max(update.shape[1:]) ** 0.5
        moves = update.reshape(len(weights), *weights[0].shape).unbind()
        torch._foreach_add_(weights, moves, alpha=-rate * scale)
