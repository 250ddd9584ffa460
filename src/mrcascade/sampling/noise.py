"""Random numbers of samplers: one generator per image, always on the CPU."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from mrcascade.errors import MRCascadeError


def image_seed(seed: int, *indices: int) -> int:
    """Return the seed of one image, derived from a run's seed and indices (slice, sample).

    Neighbouring seeds or indices give unrelated streams (numpy's SeedSequence). The result has 32
    bits, because torch's CPU generator uses no more.

    Raises MRCascadeError for negative numbers.
    """
    if min(seed, *indices, 0) < 0:
        raise MRCascadeError(f"seeds and indices must be >= 0; got {(seed, *indices)}")
    return int(np.random.SeedSequence(seed, spawn_key=indices).generate_state(1)[0])


class NoiseSource:
    """Standard normal noise for a batch, with one generator per image.

    The noise of an image depends on its own seed only, not on batch size, order or device.

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
        """Return the next noise, drawn in float32 on the CPU, then moved and cast.

        Args:
            shape: (N, C, H, W).
            device: device of the result.
            dtype: type of the result.

        Raises:
            MRCascadeError: N is not the number of seeds.
        """
        return next(self.draws(1, shape, device, dtype))

    def draws(
        self,
        count: int,
        shape: Sequence[int],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Iterator[Tensor]:
        """Yield the results of ``count`` calls of ``randn``.

        For a GPU, threads draw the next noise in advance, because drawing it for a large batch in
        one thread would take longer than a step on the GPU. Arguments and errors as for ``randn``.
        """
        if shape[0] != len(self):
            raise MRCascadeError(f"{shape[0]} images need one seed each; got {len(self)}")
        device = torch.device(device)
        if device.type == "cpu":
            return (_drawn(self._generators, shape).to(dtype) for _ in range(count))
        return self._ahead(count, shape, device, dtype)

    def _ahead(
        self, count: int, shape: Sequence[int], device: torch.device, dtype: torch.dtype
    ) -> Iterator[Tensor]:
        """Yield the noise of ``draws`` while threads draw the next one."""
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
                assert following is not None  # drawn unless it was the last
                buffer, parts = following
                for part in parts:
                    part.result()
                following = begin() if left else None
                # torch does not reuse pinned memory before the copy is done.
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
    """Return pinned CPU memory, from which a device copies asynchronously."""
    pinned = device.type == "cuda"
    with torch.inference_mode(False):  # threads do not inherit it
        return torch.empty(tuple(shape), dtype=torch.float32, device="cpu", pin_memory=pinned)
