"""HDF5 chunks that unpack to more than a chunk holds are refused."""

from __future__ import annotations

import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from mrcascade.errors import MRCascadeError
from mrcascade.io import read_image

STACK = np.arange(3 * 40 * 30, dtype=np.float32).reshape(3, 40, 30)


def write(path: Path, **storage: object) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("reconstruction_rss", data=STACK, **storage)


@pytest.mark.parametrize(
    "storage",
    [
        {},
        {"compression": "gzip", "shuffle": True, "fletcher32": True},
        {"compression": "lzf", "chunks": (2, 7, 30)},
    ],
)
def test_usual_filters_are_read(tmp_path: Path, storage: dict[str, object]) -> None:
    write(tmp_path / "a.h5", **storage)
    np.testing.assert_array_equal(read_image(tmp_path / "a.h5").data, np.moveaxis(STACK, 0, -1))


def test_unusual_filters_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("reconstruction_rss", data=STACK.astype("i4"), scaleoffset=0)
    with pytest.raises(MRCascadeError, match="packed by the filters"):
        read_image(tmp_path / "a.h5")


def test_a_chunk_that_unpacks_further_is_not_unpacked(tmp_path: Path) -> None:
    sides = (1, 1024, 1024)  # 4 MiB
    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(bytes(2**20)) for _ in range(80)) + packer.flush()
    assert 2**18 < len(packed) < 2**22
    with h5py.File(tmp_path / "a.h5", "w") as file:
        shape = (2, *sides[1:])
        dataset = file.create_dataset(
            "reconstruction_rss", shape, "f4", chunks=sides, compression="gzip"
        )
        dataset.id.write_direct_chunk((0, 0, 0), packed)
        dataset.id.write_direct_chunk((1, 0, 0), packed)
    with pytest.raises(MRCascadeError, match="a chunk of /reconstruction_rss unpacks to more"):
        read_image(tmp_path / "a.h5")
