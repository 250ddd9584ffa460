"""Floating-point operations of networks, from the shapes of their inputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import torch
from torch import Tensor, nn

from mrcascade.networks import count_flop
from mrcascade.prior.cascade import CascadePrior

# A network and the shapes of its inputs, for one image of the batch.
_Evaluation: TypeAlias = tuple[nn.Module, tuple[tuple[int, ...], ...]]


def networks_of(prior: CascadePrior | None) -> list[nn.Module]:
    """Return the U-Nets and regression branches of a prior, finest level first; [] without one."""
    networks = [level.networks for level in prior.levels] if prior else []
    return [m for n in networks for m in (n.unet, n.mean) if m is not None]


class Count:
    """Forward passes of networks so far."""

    def __init__(self, flop: Callable[[_Evaluation], int]) -> None:
        self._flop = flop
        self._seen: Counter[_Evaluation] = Counter()

    def add(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Count one forward pass of a batch; each image costs the same."""
        self._seen[module, tuple((1, *x.shape[1:]) for x in inputs)] += len(inputs[0])

    @property
    def total(self) -> int:
        """Number of floating-point operations, two for every multiply-add."""
        return sum(images * self._flop(one) for one, images in self._seen.items())


class FlopMeter:
    """Sums the FLOP of the forward passes of a prior's networks (`count_flop`).

    Passes are noted as they happen. Their FLOP are counted when `Count.total` is asked for, once
    per network and image size, so counting costs a timed run nothing. Backward passes, as in DPS,
    are not counted.
    """

    def __init__(self) -> None:
        self._known: dict[_Evaluation, int] = {}
        self._counting = False

    @contextmanager
    def counting(self, prior: CascadePrior | None) -> Iterator[Count]:
        """Count within the ``with`` block; without a prior the count stays 0."""
        count = Count(self._flop)

        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if not self._counting:  # our own counting pass calls the hook too
                count.add(module, inputs)

        handles = [module.register_forward_hook(hook) for module in networks_of(prior)]
        try:
            yield count
        finally:
            for handle in handles:
                handle.remove()

    def _flop(self, one: _Evaluation) -> int:
        if one not in self._known:
            module, shapes = one
            self._counting = True
            try:
                inputs = (torch.empty(shape, device="meta") for shape in shapes)
                self._known[one] = count_flop(module, *inputs)
            finally:
                self._counting = False
        return self._known[one]
