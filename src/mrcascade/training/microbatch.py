"""Gradient of a batch, accumulated over parts that fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from torch import Tensor, nn


class PerPatch(Protocol):
    """Values of a batch with one entry per patch, such as a tensor."""

    def __len__(self) -> int: ...

    def __getitem__(self, patches: slice, /) -> Any: ...


# Takes the values of a batch (None for absent ones); returns the mean loss over its patches and
# further means by name.
Loss = Callable[..., tuple[Tensor, dict[str, float]]]


def follow_gradient(
    networks: nn.Module,
    loss_of: Loss,
    batch: Sequence[PerPatch | None],
    size: int = 0,
    whole: int = 0,
) -> dict[str, float]:
    """Accumulate the gradient of ``loss_of(*batch)`` in the networks' weights.

    Parts of a batch change the result only by the rounding of sums.

    Args:
        networks: the networks.
        loss_of: the loss.
        batch: values of the batch.
        size: patches in memory at once; 0 for all that are given.
        whole: patches of the batch, of which some may be other processes'; 0 for those given.

    Returns:
        The further means of the loss, by name; those given contribute their share of ``whole``.
    """
    count = next(len(values) for values in batch if values is not None)
    size = size or count
    means: dict[str, float] = {}
    networks.train()
    for start in range(0, count, size):
        share = min(size, count - start) / (whole or count)
        loss, found = loss_of(*(v if v is None else v[start : start + size] for v in batch))
        (share * loss).backward()
        for key, value in found.items():
            means[key] = means.get(key, 0.0) + share * value
        networks.eval()  # a pass in training mode normalises the weights: once per step
    return means
