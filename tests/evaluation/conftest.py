"""A small test set on disk, random LPIPS weights, and the folder of real ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mrcascade.evaluation.lpips import BACKBONE_FILES, LINEAR_FILES

ROOT = Path(__file__).resolve().parents[2]
SHAPES = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3)}
SHAPES |= {8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}


@pytest.fixture(autouse=True)
def no_weights_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MRCASCADE_LPIPS", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "no-hub"))


@pytest.fixture(scope="session")
def real_weights() -> Path:
    """The folder of the real LPIPS weights, from MRCASCADE_LPIPS or beside the repository."""
    named = os.environ.get("MRCASCADE_LPIPS")
    folder = Path(named) if named else ROOT.parent / "shared" / "weights"
    if not (folder / LINEAR_FILES[0]).is_file():
        pytest.skip(f"no LPIPS weights at {folder}; set MRCASCADE_LPIPS to their folder")
    return folder


@pytest.fixture(scope="session")
def random_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of the right names and shapes, with which any machine can compute some distance."""
    folder = tmp_path_factory.mktemp("lpips")
    generator = torch.Generator().manual_seed(0)
    backbone = {}
    for index, shape in SHAPES.items():
        fan_in = float(np.prod(shape[1:]))
        weight = torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5
        backbone[f"features.{index}.weight"] = weight
        backbone[f"features.{index}.bias"] = torch.zeros(shape[0])
    linear = {
        f"lin{i}.model.1.weight": torch.rand(1, shape[0], 1, 1, generator=generator)
        for i, shape in enumerate(SHAPES.values())
    }
    torch.save(backbone, folder / BACKBONE_FILES[0])
    torch.save(linear, folder / LINEAR_FILES[0])
    return folder


def smooth_volume(seed: int, size: int, slices: int, scale: float = 300.0) -> np.ndarray:
    """Blobs and an edge on air, (rows, columns, slices), positive, unlike in each slice."""
    rng = np.random.default_rng(seed)
    r, c = np.mgrid[:size, :size] / size - 0.5
    body = (r**2 + c**2 < 0.16).astype(float)
    planes = []
    for _ in range(slices):
        image = 0.4 * body
        for _ in range(6):
            y, x = rng.uniform(-0.3, 0.3, 2)
            image += rng.uniform(0.1, 0.5) * np.exp(-((r - y) ** 2 + (c - x) ** 2) / 0.004)
        planes.append(image)
    return (scale * np.stack(planes, -1)).astype(np.float32)


@pytest.fixture
def test_set(tmp_path: Path) -> Callable[..., Path]:
    """Write ROOT/<anatomy>/<split>/<name>.npy volumes of 32x32 pixels."""

    def make(names: tuple[str, ...], slices: int = 2) -> Path:
        root = tmp_path / "data"
        for number, name in enumerate(names):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, smooth_volume(number, 32, slices))
        return root

    return make
