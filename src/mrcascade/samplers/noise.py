"""Random numbers for samplers: one generator per image, always on the CPU."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mrcascade.errors import MRCascadeError


def image_seed(seed: int, *indices: int) -> int:
    """Seed of one image, derived from a run's seed and, say, (slice, sample).

    Neighbouring seeds or indices give unrelated streams (numpy's SeedSequence), and seed 0 is a
    seed like any other. The result has 32 bits, which is all that torch's CPU generator uses.

    Raises MRCascadeError for negative numbers.
    """
    if min(seed, *indices, 0) < 0:
        raise MRCascadeError(f"seeds and indices must be >= 0; got {(seed, *indices)}")
    return int(np.random.SeedSequence(seed, spawn_key=indices).generate_state(1)[0])


class NoiseSource:
    """Standard normal noise for a batch in which image n draws from its own generator n.

    An image's noise depends on its own seed and on nothing else: neither batch size nor order
    nor device changes it, nor does torch's default device.

    Args:
        seeds: one non-negative seed per image; see ``image_seed``.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        if not seeds:
            raise MRCascadeError("a noise source needs one seed per image; got none")
        self._generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]

    def __len__(self) -> int:
        return len(self._generators)

    def randn(
        self,
        shape: Sequence[int],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Next noise of shape (N, C, H, W), drawn in float32 on the CPU, then moved and cast.

        Raises MRCascadeError where N is not the number of seeds.
        """
        if shape[0] != len(self):
            raise MRCascadeError(f"{shape[0]} images need as many seeds; got {len(self)}")
        draws = [torch.randn(tuple(shape[1:]), generator=g, device="cpu") for g in self._generators]
        return torch.stack(draws).to(device=device, dtype=dtype)
