"""The gradient of a batch, computed a few patches at a time where memory does not hold them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from torch import Tensor, nn


class PerPatch(Protocol):
    """What a batch holds of each of its patches."""

    def __len__(self) -> int: ...

    def __getitem__(self, patches: slice, /) -> Any: ...


# Of the parts of a batch, None where there is nothing: a mean over its patches to minimise, and
# further means.
Loss = Callable[..., tuple[Tensor, dict[str, float]]]


def follow_gradient(
    networks: nn.Module, loss_of: Loss, batch: Sequence[PerPatch | None], size: int = 0
) -> dict[str, float]:
    """Add the gradient of ``loss_of(*batch)`` to that of the networks' weights, ``size`` patches
    in memory at once (0: all); returns the further means. Sums are rounded in another order."""
    count = next(len(values) for values in batch if values is not None)
    size = size or count
    means: dict[str, float] = {}
    networks.train()
    for start in range(0, count, size):
        share = min(size, count - start) / count
        loss, found = loss_of(*(v if v is None else v[start : start + size] for v in batch))
        (share * loss).backward()
        for key, value in found.items():
            means[key] = means.get(key, 0.0) + share * value
        networks.eval()  # in training mode each pass normalises the weights, which a step does once
    return means
