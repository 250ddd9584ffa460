"""Bands of the training slices, made when a patch needs them and kept in bounded memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from mrcascade.arrays.channels import to_channels
from mrcascade.operators import downsampler
from mrcascade.operators.crop import fourier_crop
from mrcascade.operators.pyramid import LaplacianPyramid
from mrcascade.training.augment import augmented
from mrcascade.training.config import TrainConfig
from mrcascade.training.volume import Volume

# Mean number of patches from a slice between two random changes of it.
PATCHES_PER_CHANGE = 8
SLICE_MEMORY = 2**31  # default bytes of the bands that stay in memory
_ENTRY_BYTES = 256  # of a kept value without pixels


@dataclass(frozen=True)
class BandSlice:
    """One slice on one level's grid, as a stack (3, C, H, W) in units of the robust maximum.

    Row 0 is the band. Rows 1 and 2 add up to the condition ``up(coarser image)``: row 2 comes from
    the next coarser band, row 1 is the rest. ``scales`` are factors from the stored normalisation
    to that of other measurements of the volume.
    """

    stack: np.ndarray
    scales: tuple[float, ...]


class BandMemory:
    """The bands that were used last, up to a number of bytes. Threads may share it.

    Attributes:
        most: largest number of bytes.
        held: bytes that are held now.
        made: number of bands that had to be made.
    """

    def __init__(self, most: int = SLICE_MEMORY) -> None:
        self.most, self.held, self.made = most, 0, 0
        self._kept: OrderedDict[Hashable, BandSlice | None] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], BandSlice | None]) -> BandSlice | None:
        """Return the value of ``key``, by ``make`` where it is not held."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        value = make()  # two threads may make the same one, which is alike
        with self._lock:
            self.made += 1
            if key not in self._kept:
                self._kept[key] = value
                self.held += _bytes(value)
            while self.held > self.most:
                self.held -= _bytes(self._kept.popitem(last=False)[1])
        return value


def _bytes(value: BandSlice | None) -> int:
    return _ENTRY_BYTES + (0 if value is None else value.stack.nbytes)


class _Places:
    """Slices of several volumes, numbered one after the other."""

    def __init__(self, volumes: Sequence[Volume]) -> None:
        self._volumes = volumes
        self._ends = np.cumsum([len(v.slices) for v in volumes], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def image(self, index: int) -> tuple[np.ndarray, tuple[float, ...]]:
        """Return a slice in units of the robust maximum, and the scales of its volume."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = int(np.searchsorted(self._ends, index, side="right"))
        volume = self._volumes[number]
        place = index - int(self._ends[number]) + len(volume.slices)
        unit = next(iter(volume.scales.values()))
        return volume.slices[place] / unit, tuple(unit / s for s in volume.scales.values())


class BandSlices(Sequence[BandSlice]):
    """Every slice of ``volumes`` on the grid of a level; small ones are padded by reflection."""

    def __init__(
        self,
        volumes: Sequence[Volume],
        level: int,
        config: TrainConfig,
        memory: BandMemory | None = None,
    ) -> None:
        """Prepare the decomposition.

        Args:
            volumes: the volumes.
            level: the level.
            config: settings of the run.
            memory: keeps bands; a new one by default.
        """
        self._places, self._level, self._config = _Places(volumes), level, config
        self._memory = memory or BandMemory()

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> BandSlice:  # type: ignore[override]
        found = self._memory.get(index, partial(self._made, index))
        assert found is not None
        return found

    def _made(self, index: int) -> BandSlice:
        return band_slice(*self._places.image(index), self._level, self._config)


def coarser_copies(volumes: list[Volume], config: TrainConfig) -> list[Volume]:
    """Return ``config.coarser_copies`` of every volume, as if acquired with a smaller matrix.

    Each copy is Fourier-cropped along each direction to a random share, ``config.coarsest_copy`` or
    more. Copies show the anatomy at other voxel sizes and aspect ratios, with signal up to the edge
    of k-space.
    """
    rng = np.random.default_rng([config.seed, 2])
    multiple, copies = config.multiple, []
    for volume in volumes:
        for _ in range(config.coarser_copies):
            shares = rng.uniform(config.coarsest_copy, 1.0, 2)
            sides = zip(volume.slices.shape[1:], shares, strict=True)
            matrix = [max(multiple, int(n * share) // multiple * multiple) for n, share in sides]
            copies.append(
                volume.changed(partial(fourier_crop, matrix=matrix), (matrix[0], matrix[1]))
            )
    return copies


def reduced(volumes: list[Volume], config: TrainConfig) -> list[Volume]:
    """Return the volumes on a grid coarser by ``config.reduction``, in 2x steps of the kernel.

    They keep the scales of the full images, as for the level of a cascade on that grid.
    """
    for _ in range(config.reduction.bit_length() - 1):
        volumes = [
            v.changed(
                partial(_halved, kernel=config.kernel),
                (v.slices.shape[1] // 2, v.slices.shape[2] // 2),
            )
            for v in volumes
        ]
    return volumes


def _halved(slices: np.ndarray, kernel: str) -> np.ndarray:
    fine = (slices.shape[1], slices.shape[2])
    down = downsampler(kernel, fine, (fine[0] // 2, fine[1] // 2))
    return down(torch.from_numpy(slices)).numpy()


def band_slice(
    image: np.ndarray, scales: tuple[float, ...], level: int, config: TrainConfig
) -> BandSlice:
    """Decompose one slice (H, W) in units of the robust maximum, with the volume's scales."""
    patch = level_patch(level, config)
    (x,) = to_channels(image[None])
    stack = _level_stack(x, level, config)
    pad = [(0, max(0, patch - n)) for n in stack.shape[-2:]]
    return BandSlice(np.pad(stack, [(0, 0), (0, 0), *pad], mode="reflect"), scales)


class ChangedSlices:
    """Slices of ``volumes`` at a level, changed by `augment.augmented`.

    Seed, slice and the number of the change determine a change, so a resumed run sees the same
    images.
    """

    def __init__(
        self,
        volumes: Sequence[Volume],
        level: int,
        config: TrainConfig,
        memory: BandMemory | None = None,
    ) -> None:
        """See `BandSlices`."""
        self.level, self.config = level, config
        self._places = _Places(volumes)
        self._memory = memory or BandMemory()

    def at(self, index: int, patch: int) -> BandSlice | None:
        """Return slice ``index`` after ``patch`` drawn patches; None if it is unchanged."""
        number = patch // (PATCHES_PER_CHANGE * len(self._places))
        return self._memory.get((index, number), partial(self._change, index, number))

    def _change(self, index: int, number: int) -> BandSlice | None:
        image, scales = self._places.image(index)
        rng = np.random.default_rng([self.config.seed, 3, index, number])
        changed = augmented(image, self.config, rng)
        if changed is image:
            return None
        return band_slice(changed, scales, self.level, self.config)


def _level_stack(x: Tensor, level: int, config: TrainConfig) -> np.ndarray:
    shape = (x.shape[-2], x.shape[-1])
    pyramid = LaplacianPyramid(config.kernel, shape, config.levels, config.step)
    images = [x]  # images[i] lies on the grid of level i + 1
    for finer in range(1, config.levels):
        images.append(pyramid.down(images[-1], finer))
    if level == config.levels:
        empty = torch.zeros_like(images[-1])
        return torch.stack([images[-1], empty, empty]).numpy()
    coarse = images[level]
    condition = pyramid.up(coarse, level)
    rest = torch.zeros_like(condition)
    if level + 1 < config.levels:
        rest = pyramid.up(pyramid.up(images[level + 1], level + 1), level)
    return torch.stack([images[level - 1] - condition, rest, condition - rest]).numpy()


def level_patch(level: int, config: TrainConfig) -> int:
    """Return the side of the training patches of ``level``."""
    return config.coarse_patch if level == config.levels else config.patch
