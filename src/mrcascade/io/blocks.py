"""Volumes in pieces: blocks in the order of a file, and slices in a temporary file.

A file stores its axes from the slowest to the fastest; slices may lie across that order. Neither a
whole volume nor a memory map of one is ever held: mapped pages count as memory of the process, so
both would grow with the number of slices.
"""

import errno
import itertools
import math
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

Axes = tuple[int, int]
Block = tuple[slice, ...]

# 16 MiB in float32; with the float64 values and masks of a scaled integer file, 60 MiB.
BLOCK_VOXELS = 2**22


def file_blocks(lengths: Sequence[int], most: int | None = None) -> Iterator[Block]:
    """Yield windows that cover an array in its file's order, each contiguous in the file.

    In the order given, the windows cover the file from front to back.

    Args:
        lengths: lengths of the axes, from the slowest to the fastest.
        most: largest number of elements per window; by default `BLOCK_VOXELS`.
    """
    most = BLOCK_VOXELS if most is None else most
    cut = 0  # windows divide this axis; slower axes are walked one by one
    while cut < len(lengths) - 1 and math.prod(lengths[cut + 1 :]) > most:
        cut += 1
    step = max(1, most // math.prod(lengths[cut + 1 :]))
    rest = tuple(slice(0, n) for n in lengths[cut + 1 :])
    for index in itertools.product(*(range(n) for n in lengths[:cut])):
        fixed = tuple(slice(i, i + 1) for i in index)
        for start in range(0, lengths[cut], step):
            yield (*fixed, slice(start, min(start + step, lengths[cut])), *rest)


@dataclass(frozen=True)
class StackOrder:
    """Order of the slices of a stack in the array that a file stores.

    Slices are counted as by `geometry.to_slices`.

    Attributes:
        shape: shape of the array, 2-D to 4-D.
        layout: axes of the array, from the slowest to the fastest in the file.
        axes: in-plane axes (rows, columns).
    """

    shape: tuple[int, ...]
    layout: tuple[int, ...]
    axes: Axes

    @property
    def outer(self) -> tuple[int, ...]:
        """Axes that count slices, from the slowest to the fastest."""
        return tuple(a for a in reversed(range(len(self.shape))) if a not in self.axes)

    @property
    def plane(self) -> Axes:
        """In-plane axes in the file's order."""
        first, second = sorted(self.axes, key=self.layout.index)
        return first, second

    @property
    def slices(self) -> int:
        """Number of slices."""
        return math.prod(self.shape[a] for a in self.outer)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Lengths of the axes in the file's order, as `file_blocks` takes them."""
        return tuple(self.shape[a] for a in self.layout)


class SliceStore:
    """A stack of slices in a nameless temporary file, which ends with the process even if killed.

    Each slice is contiguous, with rows and columns in the order of the image file. A block of the
    image file is then one contiguous piece in each slice that it meets. Threads may share a store.
    """

    def __init__(self, folder: Path, order: StackOrder, dtype: np.dtype) -> None:
        """Make an empty store in `folder` and reserve its disk space.

        A missing folder is made: a process that failed removes folders that it left empty, and
        nameless files do not count. Raises OSError if the disk is full.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.order = order
        self.dtype = np.dtype(dtype)
        self._plane = tuple(order.shape[a] for a in order.plane)
        self._bytes = math.prod(self._plane) * self.dtype.itemsize
        self._low, self._high = math.inf, -math.inf
        self._lock = threading.Lock()  # of the place in the file
        self._file = tempfile.TemporaryFile(  # noqa: SIM115 (closed by __exit__)
            dir=folder, prefix=".mrcascade.", suffix=".tmp"
        )
        try:
            _reserve(self._file.fileno(), self._bytes * order.slices)
        except OSError:
            self._file.close()
            raise

    def __len__(self) -> int:
        return self.order.slices

    def __enter__(self) -> "SliceStore":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    @property
    def extremes(self) -> tuple[float, float]:
        """Smallest and largest value (or magnitude, if complex) that `write` was given."""
        return float(self._low), float(self._high)

    def put(self, block: Block, values: np.ndarray) -> None:
        """Store a block of the image file; the axes of `values` are in the file's order."""
        pieces = np.transpose(values, self._stacked())
        pieces = np.ascontiguousarray(pieces.reshape(-1, *pieces.shape[-2:]), dtype=self.dtype)
        with self._lock:
            for place, piece in zip(self._places(block), pieces, strict=True):
                self._file.seek(place)
                self._file.write(piece.data)

    def get(self, block: Block) -> np.ndarray:
        """Return a block of the image file, the inverse of `put`."""
        sizes = [s.stop - s.start for s in block]
        moved = [sizes[i] for i in self._stacked()]
        pieces = np.empty((math.prod(moved[:-2]), moved[-2] * moved[-1]), self.dtype)
        with self._lock:
            for place, piece in zip(self._places(block), pieces, strict=True):
                self._file.seek(place)
                self._fill(piece)
        return np.transpose(pieces.reshape(moved), np.argsort(self._stacked()))

    def write(self, start: int, stack: np.ndarray) -> None:
        """Store slices (N, rows, columns) from index `start` on."""
        turned = stack if self.order.plane == self.order.axes else np.swapaxes(stack, 1, 2)
        size = np.abs(stack) if np.iscomplexobj(stack) else stack
        self._low, self._high = min(self._low, size.min()), max(self._high, size.max())
        with self._lock:
            self._file.seek(start * self._bytes)
            self._file.write(np.ascontiguousarray(turned, dtype=self.dtype).data)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return slices `start` to `stop` (exclusive) as a new array (N, rows, columns)."""
        stack = np.empty((stop - start, *self._plane), self.dtype)
        with self._lock:
            self._file.seek(start * self._bytes)
            self._fill(stack)
        turned = stack if self.order.plane == self.order.axes else np.swapaxes(stack, 1, 2)
        return np.ascontiguousarray(turned)

    def _fill(self, array: np.ndarray) -> None:
        flat = array.reshape(-1).view(np.uint8)
        if self._file.readinto(flat.data) != flat.size:
            raise OSError(errno.EIO, "a temporary file lost its end")

    def _stacked(self) -> list[int]:
        """Positions in the file's order of the axes (outer..., plane)."""
        return [self.order.layout.index(a) for a in (*self.order.outer, *self.order.plane)]

    def _places(self, block: Block) -> Iterator[int]:
        """Yield the offset of each piece of a block in bytes, in the order of its slices."""
        spans = dict(zip(self.order.layout, block, strict=True))
        slow, fast = self.order.plane
        inside = spans[slow].start * self.order.shape[fast] + spans[fast].start
        lengths = [self.order.shape[a] for a in self.order.outer]
        ranges = [range(spans[a].start, spans[a].stop) for a in self.order.outer]
        for index in itertools.product(*ranges):
            number = 0
            for i, n in zip(index, lengths, strict=True):
                number = number * n + i
            yield number * self._bytes + inside * self.dtype.itemsize


def _reserve(descriptor: int, size: int) -> None:
    """Claim disk space, so that a full disk is found before the long computation."""
    if not hasattr(os, "posix_fallocate"):
        os.truncate(descriptor, size)
        return
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
        os.truncate(descriptor, size)
