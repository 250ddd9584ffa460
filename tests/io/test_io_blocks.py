"""Blocks of files, slices in temporary files, and statistics of a volume read in pieces."""

import errno
import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from mrcascade.arrays.intensity import RobustMaximum, robust_maximum
from mrcascade.io import SliceStore, StackOrder, file_blocks, to_slices
from mrcascade.io.blocks import Block


def in_file_order(data: np.ndarray, layout: tuple[int, ...], block: Block) -> np.ndarray:
    return data.transpose(layout)[block]


@pytest.mark.parametrize("lengths", [(7,), (3, 5), (4, 3, 5), (2, 3, 4, 5), (1, 6, 1)])
@pytest.mark.parametrize("most", [1, 4, 7, 20, 1000])
def test_blocks_are_the_file_from_front_to_back(lengths: tuple[int, ...], most: int) -> None:
    data = np.arange(math.prod(lengths)).reshape(lengths)
    pieces = [data[block] for block in file_blocks(lengths, most)]
    assert max(p.size for p in pieces) <= most
    np.testing.assert_array_equal(np.concatenate([p.ravel() for p in pieces]), data.ravel())


SHAPES = [(5, 4), (5, 4, 3), (3, 4, 5, 2)]
CASES = [
    (shape, layout, axes)
    for shape in SHAPES
    for layout in (tuple(range(len(shape))), tuple(reversed(range(len(shape)))))
    for axes in itertools.permutations(range(min(len(shape), 3)), 2)
]


@pytest.mark.parametrize(("shape", "layout", "axes"), CASES)
@pytest.mark.parametrize("most", [3, 11, 1000])
def test_stored_blocks_are_the_slices(
    tmp_path: Path, image_of, shape: tuple, layout: tuple, axes: tuple, most: int
) -> None:
    data = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    stack = to_slices(image_of(data), axes)
    order = StackOrder(shape, layout, axes)
    with SliceStore(tmp_path, order, data.dtype) as store:
        for block in file_blocks(order.lengths, most):
            store.put(block, in_file_order(data, layout, block))
        assert len(store) == len(stack)
        for start in range(len(stack)):
            np.testing.assert_array_equal(store.read(start, len(stack)), stack[start:])
        for block in file_blocks(order.lengths, most + 2):
            np.testing.assert_array_equal(store.get(block), in_file_order(data, layout, block))
        store.write(0, -stack[:1])
        np.testing.assert_array_equal(store.read(0, 1), -stack[:1])


def test_a_store_has_no_name_and_goes_with_its_block(tmp_path: Path) -> None:
    order = StackOrder((4, 4, 2), (2, 1, 0), (0, 1))
    with SliceStore(tmp_path, order, np.dtype(np.complex64)) as store:
        store.write(1, np.full((1, 4, 4), 1 + 2j, np.complex64))
        assert store.read(1, 2)[0, 0, 0] == 1 + 2j
        assert not list(tmp_path.iterdir())


def test_a_full_disk_is_found_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OSError, match="No space"):
        SliceStore(tmp_path, StackOrder((4, 4), (1, 0), (0, 1)), np.dtype(np.float32))


@pytest.mark.parametrize("size", [1, 2, 5, 999, 1000, 1001, 12345])
@pytest.mark.parametrize("pieces", [1, 3, 50])
def test_robust_maximum_of_pieces_is_the_quantile(size: int, pieces: int) -> None:
    rng = np.random.default_rng(size)
    data = (rng.normal(size=size) * 100).astype(np.float32)
    data[: size // 3] = data[0]  # ties
    found = RobustMaximum(size)
    for piece in np.array_split(data, pieces):
        found.add(piece)
    exact = np.quantile(np.abs(data).astype(np.float64), 0.999)
    # Both interpolate in float64 between the same two values: a few roundings apart.
    assert found.value() == pytest.approx(exact, rel=2**-50)
    assert found.value() == robust_maximum(data)
    # numpy interpolates float32 in float32: its position among n values and the sum round there.
    slack = size * 2**-24 * np.ptp(np.abs(data)) + exact * 2**-22
    assert found.value() == pytest.approx(float(np.quantile(np.abs(data), 0.999)), abs=slack)
