"""LPIPS against its reference values, and properties for any weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.io import imread

from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.lpips import (
    BACKBONE_FILES,
    LINEAR_FILES,
    LPIPS,
    MINIMUM_SIZE,
    find_weights,
)


@pytest.fixture(scope="module")
def network(random_weights: Path) -> LPIPS:
    files = find_weights(random_weights)
    assert files is not None
    return LPIPS.load(files)


def images(count: int, size: int = 40, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 800, (count, size, size)).astype(np.float32)


@pytest.mark.parametrize(("name", "expected"), [("p0", 0.7219), ("p1", 0.1376)])
def test_reference_values(real_weights: Path, name: str, expected: float) -> None:
    files = find_weights(real_weights)
    assert files is not None
    pair = [
        torch.from_numpy(imread(real_weights / f"check_ex_{n}.png")).permute(2, 0, 1)[None]
        for n in ("ref", name)
    ]
    distance = LPIPS.load(files)(*(v.float() / 127.5 - 1 for v in pair))
    # The reference is rounded to four decimals (5e-5); float32 adds at most a few 1e-6.
    assert float(distance) == pytest.approx(expected, abs=6e-5)


def test_equal_images_have_distance_zero_and_others_do_not(network: LPIPS) -> None:
    a, b = images(2), images(2, seed=1)
    assert (network.slices(a, a) == 0).all()
    assert (network.slices(a, b) > 1e-3).all()


def test_slices_are_scaled_by_their_own_truth_to_minus_one_to_one(network: LPIPS) -> None:
    truth, other = images(1)[0], images(1, seed=1)[0] - 100
    other_grey = torch.from_numpy(2 * np.abs(other) / truth.max() - 1)
    grey = [torch.from_numpy(2 * truth / truth.max() - 1), other_grey]
    assert float(grey[0].max()) == 1.0
    direct = network(*(v.expand(1, 3, -1, -1) for v in grey))
    result = network.slices(truth[None], other[None])
    # The same float32 network on the same numbers.
    assert result[0] == pytest.approx(float(direct), rel=1e-5)
    # A brighter neighbour changes nothing, as the scale is the slice's own.
    pair = network.slices(np.stack([truth, 5 * truth]), np.stack([other, 5 * other]))
    assert pair == pytest.approx([result[0], result[0]], rel=1e-4)


def test_batches_change_nothing(network: LPIPS) -> None:
    a, b = images(11), images(11, seed=1)
    one_by_one = [network.slices(a[i : i + 1], b[i : i + 1])[0] for i in range(11)]
    assert network.slices(a, b) == pytest.approx(one_by_one, rel=1e-5)


def test_complex_images_count_by_magnitude(network: LPIPS) -> None:
    a, b = images(1), images(1, seed=1)
    assert network.slices(1j * a, -b) == pytest.approx(network.slices(a, b), rel=1e-5)


def test_smallest_size(network: LPIPS) -> None:
    a, b = images(1, MINIMUM_SIZE), images(1, MINIMUM_SIZE, seed=1)
    assert np.isfinite(network.slices(a, b)).all()
    with pytest.raises(MRCascadeError, match="30x30 are too small for LPIPS"):
        network.slices(a[:, 1:, 1:], b[:, 1:, 1:])


def test_where_weights_are_looked_for(
    random_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_weights() is None
    hub = tmp_path / "hub" / "checkpoints"
    hub.mkdir(parents=True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name, alias in ((BACKBONE_FILES[0], BACKBONE_FILES[1]), (LINEAR_FILES[0], LINEAR_FILES[1])):
        (hub / alias).symlink_to(random_weights / name)
    found = find_weights()
    assert found is not None
    assert found.backbone.parent == hub
    monkeypatch.setenv("MRCASCADE_LPIPS", str(random_weights))
    named = find_weights()
    assert named is not None
    assert named.linear.parent == random_weights
    assert named.digest == found.digest
    with pytest.raises(MRCascadeError, match=f"--lpips-weights {tmp_path}: LPIPS needs"):
        find_weights(tmp_path)


def test_a_folder_named_in_the_environment_must_have_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MRCASCADE_LPIPS", str(tmp_path))
    with pytest.raises(MRCascadeError, match=r"\$MRCASCADE_LPIPS .*: LPIPS needs"):
        find_weights()


def test_damaged_and_foreign_weights_are_named(random_weights: Path, tmp_path: Path) -> None:
    (tmp_path / BACKBONE_FILES[0]).write_bytes(b"not weights")
    torch.save({"some": torch.zeros(1)}, tmp_path / LINEAR_FILES[0])
    files = find_weights(tmp_path)
    assert files is not None
    with pytest.raises(MRCascadeError, match=f"{BACKBONE_FILES[0]}: cannot be read as weights"):
        LPIPS.load(files)
    good = find_weights(random_weights)
    assert good is not None
    with pytest.raises(MRCascadeError, match="not the weights of LPIPS with AlexNet"):
        LPIPS.load(files._replace(backbone=good.backbone))
