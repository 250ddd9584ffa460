"""Warm-up of a GPU before any method is timed."""

from __future__ import annotations

import torch

from mrcascade.devices.facts import synchronize
from mrcascade.networks.compiled import plain_networks
from mrcascade.operators import SeparableOperator
from mrcascade.prior.cascade import CascadePrior


class WarmUp:
    """Runs each network of a prior once per input size on a GPU.

    The first evaluation loads and selects kernels and allocates memory. Without a warm-up, that
    time would count for the first method.
    """

    def __init__(self) -> None:
        self._warm: set[tuple[str, str, tuple[int, int], int]] = set()

    @torch.no_grad()
    def __call__(
        self, prior: CascadePrior | None, operator: SeparableOperator, images: int
    ) -> None:
        """Run the networks; does nothing on a CPU.

        Args:
            prior: the prior, if the method has one.
            operator: H, for the sizes of the images.
            images: number of images that pass through the networks together.
        """
        if prior is None or prior.device.type == "cpu":
            return
        key = (prior.digest, operator.name, operator.in_shape, images)
        if key in self._warm:
            return
        self._warm.add(key)
        rows, columns = operator.in_shape
        x = torch.zeros(images, prior.channels, rows, columns, device=prior.device)
        operator.project(x, operator(x))
        with plain_networks():
            for level in prior.levels:
                coarse = x[..., :rows, :columns]
                level.condition(coarse if level.conditional else None).denoise(coarse, level.std)
                rows, columns = -(-rows // prior.step), -(-columns // prior.step)
        synchronize(prior.device)
