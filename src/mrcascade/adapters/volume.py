"""Super-resolution of tensors with an affine, for libraries whose images are (C, X, Y, Z)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypedDict

import numpy as np
import torch
from torch import Tensor

from mrcascade.arrays.factors import Factor, enlarged, factor_pair
from mrcascade.io.geometry import resampled_affine
from mrcascade.io.planes import axes_of_array
from mrcascade.operators import SeparableOperator
from mrcascade.prior.cascade import CascadePrior
from mrcascade.restore import super_resolve
from mrcascade.sampling import Recipe


class EnlargementOptions(TypedDict, total=False):
    """Options of an `Enlargement`, with its defaults."""

    kernel: str
    axes: tuple[int, int] | None
    prior: CascadePrior | str | Path
    noise: float | None
    mode: str | Recipe | None
    steps: int | None
    samples: int
    seed: int
    batch_size: int


class EnlargedVolume(NamedTuple):
    """Result (C, X', Y', Z'): mean, standard deviation (None for one sample), affine (4, 4)."""

    mean: Tensor
    std: Tensor | None
    affine: np.ndarray


@dataclass(frozen=True)
class Enlargement:
    """Super-resolution of the slices of a volume in plane, by `super_resolve`.

    Attributes:
        factor: factor of the in-plane sides, one number or (rows, columns).
        kernel: kernel by which the scan is thought to have downsampled (``KERNELS``).
        axes: in-plane axes (rows, columns) of (X, Y, Z); None chooses them by the voxel sizes.
        prior, noise, mode, steps, samples, seed, batch_size: as for `super_resolve`.
    """

    factor: Factor | Sequence[Factor]
    kernel: str = "fourier"
    axes: tuple[int, int] | None = None
    prior: CascadePrior | str | Path = "mr-small"
    noise: float | None = None
    mode: str | Recipe | None = None
    steps: int | None = None
    samples: int = 1
    seed: int = 0
    batch_size: int = 1

    def __call__(self, channels: Tensor, affine: np.ndarray) -> EnlargedVolume:
        """Restore each channel of (C, X, Y, Z) or (C, X, Y), with its own intensity.

        The result is on the tensor's device. Raises MRCascadeError as `super_resolve` does, and for
        axes that do not exist or a side that the factor does not make a whole number.
        """
        volumes = channels.detach().cpu().numpy()
        axes = axes_of_array(volumes.shape[1:], affine, self.axes)
        low = volumes.shape[1 + axes[0]], volumes.shape[1 + axes[1]]
        factor = factor_pair(self.factor)
        operator = SeparableOperator.from_kernel(self.kernel, factor, enlarged(low, factor))
        means, stds = [], []
        for volume in volumes:
            moved = np.moveaxis(volume, axes, (-2, -1))

            def back(stack: np.ndarray, outer: tuple[int, ...] = moved.shape[:-2]) -> Tensor:
                array = np.moveaxis(stack.reshape(*outer, *operator.in_shape), (-2, -1), axes)
                return torch.from_numpy(np.ascontiguousarray(array))

            result = super_resolve(
                moved.reshape(-1, *low),
                operator,
                self.prior,
                noise=self.noise,
                mode=self.mode,
                steps=self.steps,
                samples=self.samples,
                seed=self.seed,
                batch_size=self.batch_size,
            )
            means.append(back(result.mean))
            stds += [] if result.std is None else [back(result.std)]
        return EnlargedVolume(
            torch.stack(means).to(channels.device),
            torch.stack(stds).to(channels.device) if stds else None,
            resampled_affine(affine, axes, self.kernel, low, operator.in_shape),
        )
