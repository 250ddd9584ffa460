"""The filters of an HDF5 dataset: those that are read, and the size of what they unpack.

HDF5 unpacks all stored bytes of a chunk, whatever the size of a chunk is.
"""

import itertools
import math
import zlib
from typing import Any

_DEFLATE, _SHUFFLE, _CHECKSUM, _LZF = 1, 2, 3, 32000  # as registered by the HDF Group
_KNOWN = (_DEFLATE, _SHUFFLE, _CHECKSUM, _LZF)
# A chunk of this many stored bytes cannot unpack to more than a quarter of a GiB.
_HARMLESS = 2**18
_PIECE = 2**20
_BESIDE = 2**10  # a checksum, and the overhead of deflate on data that it cannot pack


def check_filters(dataset: Any, name: str) -> list[int]:
    """Return the filters of a dataset.

    Raises ValueError for an unusual filter, and for two that compress.
    """
    plist = dataset.id.get_create_plist()
    filters = [int(plist.get_filter(i)[0]) for i in range(plist.get_nfilters())]
    strange = [number for number in filters if number not in _KNOWN]
    if strange or sum(number in (_DEFLATE, _LZF) for number in filters) > 1:
        raise ValueError(f"{name} is packed by the filters {filters}; repack it with gzip")
    return filters


def check_chunks(dataset: Any, index: tuple[int, ...]) -> None:
    """Raise ValueError where a chunk that meets ``dataset[index]`` unpacks to more than its size.

    Args:
        dataset: HDF5 dataset.
        index: indices along the first axes; the others are read whole.
    """
    filters = check_filters(dataset, dataset.name)
    if not filters:
        return
    sides, shape = dataset.chunks, dataset.shape
    whole = math.prod(sides) * dataset.dtype.itemsize
    starts = [range(i - i % side, i + 1, side) for i, side in zip(index, sides, strict=False)]
    starts += [range(0, n, side) for n, side in zip(shape, sides, strict=True)][len(index) :]
    for offset in itertools.product(*starts):
        chunk = dataset.id.get_chunk_info_by_coord(offset)
        if chunk.size <= _HARMLESS:
            continue
        if chunk.size > whole + whole // 2**10 + _BESIDE or (
            _DEFLATE in filters
            and not chunk.filter_mask & 1 << filters.index(_DEFLATE)
            and _unpacks_further(dataset.id.read_direct_chunk(offset)[1], whole)
        ):
            raise ValueError(f"a chunk of {dataset.name} unpacks to more than a chunk holds")


def _unpacks_further(stored: bytes, whole: int) -> bool:
    inflater = zlib.decompressobj()
    total, rest = 0, stored
    while rest and not inflater.eof and total <= whole + _BESIDE:
        total += len(inflater.decompress(rest, _PIECE))
        rest = inflater.unconsumed_tail
    return total > whole + _BESIDE
