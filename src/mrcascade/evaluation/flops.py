"""Floating-point operations of networks, from the shapes of their inputs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from mrcascade.networks import count_flop
from mrcascade.prior.cascade import CascadePrior


@dataclass
class Count:
    """Number of floating-point operations so far, two for every multiply-add."""

    total: int = 0


class FlopMeter:
    """Sums the FLOP of the forward passes of a prior's networks (`count_flop`).

    Each network is counted once per input shape, so counting costs hardly any time. Backward
    passes, as in DPS, are not counted.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], int] = {}
        self._counting = False

    @contextmanager
    def counting(self, prior: CascadePrior | None) -> Iterator[Count]:
        """Count within the ``with`` block; without a prior the count stays 0."""
        count = Count()

        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if not self._counting:  # our own counting pass calls the hook too
                count.total += self._flop(module, inputs)

        networks = [level.networks for level in prior.levels] if prior else []
        modules = [m for n in networks for m in (n.unet, n.mean) if m is not None]
        handles = [module.register_forward_hook(hook) for module in modules]
        try:
            yield count
        finally:
            for handle in handles:
                handle.remove()

    def _flop(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> int:
        key = (id(module), *(tuple(x.shape) for x in inputs))
        if key not in self._known:
            self._counting = True
            try:
                self._known[key] = count_flop(module, *inputs)
            finally:
                self._counting = False
        return self._known[key]
