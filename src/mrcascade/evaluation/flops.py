"""Floating-point operations of networks, known from the shapes that they see."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from mrcascade.prior.cascade import CascadePrior


@dataclass
class Count:
    """FLOP so far, two for every multiply-add."""

    total: int = 0


class FlopMeter:
    """Adds up the FLOP of the forward passes of a prior's networks: convolutions, matrix products
    and attention, as torch's ``FlopCounterMode`` has them.

    Each network is counted once per shape of its input, on tensors without data, so that counting
    takes no time. Gradients, such as those of DPS, are not counted.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], int] = {}
        self._counting = False

    @contextmanager
    def counting(self, prior: CascadePrior | None) -> Iterator[Count]:
        """Count within the block; nothing where there is no prior."""
        count = Count()

        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if not self._counting:  # a pass of ours calls the hook, too
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
            state = dict(module.named_parameters()) | dict(module.named_buffers())
            # One type, as autocast, which would see to that, leaves tensors without data alone.
            like = partial(torch.empty_like, dtype=torch.float32, device="meta")
            weights = {name: like(value) for name, value in state.items()}
            empty = tuple(like(value) for value in inputs)
            self._counting = True
            try:
                with torch.no_grad(), FlopCounterMode(display=False) as counter:
                    functional_call(module, weights, empty)
            finally:
                self._counting = False
            self._known[key] = int(counter.get_total_flops())
        return self._known[key]
