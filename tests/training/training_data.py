"""Small synthetic training sets and settings for the tests of training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mrcascade.networks.compiled import Compiler
from mrcascade.training import loop, patches, validation
from mrcascade.training.cascade_data import CascadeData
from mrcascade.training.config import TrainConfig
from mrcascade.training.distributed import Processes
from mrcascade.training.level import LevelTrainer
from mrcascade.training.slice_cache import write_cache
from mrcascade.training.slices import load_volumes
from mrcascade.training.volume import Volume

TINY = TrainConfig(
    network="tiny",
    images=80,
    mean_images=32,
    batch=8,
    patch=32,
    coarse_patch=16,
    mean_rate=3e-3,
    seed=1,
)
DENOISER = replace(TINY, mean_images=0)  # the second stage alone


@contextmanager
def quick() -> Iterator[None]:
    """Few patches for statistics, few and small validations; one thread, as exactness is promised
    for one number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patches, "STATISTICS_PATCHES", 64)
        patch.setattr(validation, "VALIDATION_PATCHES", 4)
        patch.setattr(loop, "VALIDATIONS", 5)
        yield
    torch.set_num_threads(threads)


def smooth_image(side: int, rng: np.random.Generator) -> np.ndarray:
    """Overlapping discs with sharp edges on a smooth background, in [0, 1.5]."""
    y, x = np.mgrid[:side, :side] / side
    image = 0.3 + 0.1 * np.sin(2 * np.pi * (x + 0.3 * y))
    for _ in range(6):
        cy, cx, r = rng.uniform((0, 0, 0.08), (1, 1, 0.3))
        image += rng.uniform(0.1, 0.3) * ((y - cy) ** 2 + (x - cx) ** 2 < r**2)
    return image.astype(np.float32)


def volume(
    name: str = "a/train/x.npy",
    split: str = "train",
    slices: int = 4,
    side: int = 48,
    seed: int = 0,
) -> Volume:
    rng = np.random.default_rng(seed)
    stack = np.stack([smooth_image(side, rng) for _ in range(slices)])
    return Volume(name, name.split("/")[0], split, stack, {2: 1.2, 4: 1.1})


def volumes() -> list[Volume]:
    return [
        volume(slices=6),
        volume("b/train/y.npy", slices=3, side=40, seed=1),
        volume("a/val/z.npy", "val", slices=3, seed=2),
    ]


def cache(path: Path) -> Path:
    write_cache(volumes(), path)
    return path


def trainer(
    data: Path,
    number: int = 1,
    config: TrainConfig = TINY,
    compiler: Compiler | None = None,
    processes: Processes | None = None,
) -> LevelTrainer:
    cascade = CascadeData(load_volumes(data, config.multiple, config.factors), config)
    processes = processes or Processes("cpu")
    return LevelTrainer(number, config, cascade.level(number), processes, compiler=compiler)


def checkpoint(folder: Path, number: int = 1) -> dict[str, Any]:
    return torch.load(folder / f"level{number}.ckpt", weights_only=True)


def assert_same(a: Any, b: Any, where: str = "state") -> None:
    """Bit by bit, through dictionaries and lists."""
    assert type(a) is type(b), where
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_same(a[key], b[key], f"{where}[{key!r}]")
    elif isinstance(a, list):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}[{i}]")
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    else:
        assert a == b, where


def without_time(record: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in record.items() if k != "seconds"}
