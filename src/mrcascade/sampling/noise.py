"""Random numbers for samplers: one generator per image, always on the CPU."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

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
        return next(self.draws(1, shape, device, dtype))

    def draws(
        self,
        count: int,
        shape: Sequence[int],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Iterator[Tensor]:
        """Yield ``count`` times what ``randn`` would give.

        Where a GPU computes, threads draw the next noise meanwhile: one thread would take longer
        to draw it for a large batch than the GPU takes for a step.

        Raises MRCascadeError where N is not the number of seeds.
        """
        if shape[0] != len(self):
            raise MRCascadeError(f"{shape[0]} images need as many seeds; got {len(self)}")
        device = torch.device(device)
        if device.type == "cpu":
            return (_drawn(self._generators, shape).to(dtype) for _ in range(count))
        return self._ahead(count, shape, device, dtype)

    def _ahead(
        self, count: int, shape: Sequence[int], device: torch.device, dtype: torch.dtype
    ) -> Iterator[Tensor]:
        """Yield the noise of ``draws``, one of which is always being drawn ahead."""
        threads = min(len(self), torch.get_num_threads())
        with ThreadPoolExecutor(threads) as pool:

            def begin() -> tuple[Tensor, list[Future[None]]]:
                buffer = _pinned(shape, device)
                parts = [
                    pool.submit(_fill, self._generators[i::threads], buffer[i::threads])
                    for i in range(threads)
                ]
                return buffer, parts

            following = begin() if count else None
            for left in reversed(range(count)):
                assert following is not None  # as many as are left
                buffer, parts = following
                for part in parts:
                    part.result()
                following = begin() if left else None
                # torch keeps the pinned memory from being taken again before it is copied.
                yield buffer.to(device, non_blocking=True).to(dtype)


def _drawn(generators: Sequence[torch.Generator], shape: Sequence[int]) -> Tensor:
    noise = torch.empty(tuple(shape), dtype=torch.float32, device="cpu")
    _fill(generators, noise)
    return noise


def _fill(generators: Sequence[torch.Generator], images: Tensor) -> None:
    """Draw each image from its own generator, without Python's lock."""
    for generator, image in zip(generators, images, strict=True):
        image.normal_(generator=generator)


def _pinned(shape: Sequence[int], device: torch.device) -> Tensor:
    """Memory of the CPU from which a device copies while both do other things."""
    pinned = device.type == "cuda"
    with torch.inference_mode(False):  # which threads do not inherit
        return torch.empty(tuple(shape), dtype=torch.float32, device="cpu", pin_memory=pinned)
