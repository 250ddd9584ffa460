"""The slice cache: training slices in an HDF5 file, which are read one by one.

``slices/<number>`` holds the slices of one volume, (S, H, W), or (S, H, W, 2) with real and
imaginary parts, as whole numbers up to `LEVELS`. One chunk is one slice, compressed and with a
checksum. ``ranges`` holds a row for each slice of all volumes: its least value, and the step
between neighbouring numbers. ``index`` is JSON, with an entry for each volume.

The rounding error of a value is half a step at most, 1 / (2 `LEVELS`) of the range of its slice.
"""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.io import atomic_output
from mrcascade.messages.printable import printable, shortened
from mrcascade.storage.files import check_regular, parse_json
from mrcascade.training.volume import Slices, Volume

CACHE_ENDING = ".hdf5"
LEVELS = 4095  # 12 bits, as of most scanners; 16 bits are 43 % larger, and the bits are noise
_FORMAT, _VERSION = "mrcascade slices", 1
# Versions of the file format whose own structures have checksums, and that all readers know.
_STRUCTURES = ("v110", "v110")
_GROWTH = 2**24  # bytes by which a file in memory grows
_FILTERS = {"compression": "gzip", "compression_opts": 1, "shuffle": True, "fletcher32": True}
_ROWS = 2**16  # of a table in a chunk
_numbers = itertools.count()  # HDF5 tells files in memory apart by their names


def _file_in_memory() -> Any:
    import h5py

    name = f"slices in memory {next(_numbers)}"
    memory = {"driver": "core", "backing_store": False, "block_size": _GROWTH}
    return h5py.File(name, "w", libver=_STRUCTURES, rdcc_nbytes=0, **memory)


class SliceWriter:
    """Writes volumes to a file, in the order in which they are added.

    Args:
        file: open, empty HDF5 file.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._slices = file.create_group("slices")
        self._index: list[dict[str, Any]] = []
        self._ranges: list[np.ndarray] = []

    def add(self, volume: Volume) -> None:
        """Add a volume without the air around it; one without slices is left out."""
        if not len(volume.slices):
            return
        window = _body_window(volume.slices)
        parts = (2,) if volume.channels == 2 else ()
        shape = (len(volume.slices), *(s.stop - s.start for s in window))
        whole = (*shape, *parts)
        number = str(len(self._index))
        dataset = self._slices.create_dataset(
            number, whole, np.uint16, chunks=(1, *whole[1:]), **_FILTERS
        )
        ranges = np.empty((len(volume.slices), 2), np.float32)
        for place, image in enumerate(volume.slices):
            dataset[place], *ranges[place] = to_numbers(image[window])
        self._index.append(_entry(volume, shape))
        self._ranges.append(ranges)

    def add_part(self, part: bytes) -> None:
        """Add the volumes of a finished file in memory (`packed_volumes`)."""
        import h5py

        with h5py.File(io.BytesIO(part), "r") as file:
            for number in range(len(entries := parse_json(bytes(file["index"][:])))):
                file.copy(f"slices/{number}", self._slices, name=str(len(self._index) + number))
            self._index += entries
            self._ranges.append(file["ranges"][:])

    def finish(self, name: str) -> SliceCache:
        """Write the index, without which a file is no cache, and return the cache.

        name: name of the cache in messages.
        """
        ranges = np.concatenate([np.empty((0, 2), np.float32), *self._ranges])
        index = np.frombuffer(json.dumps(self._index).encode(), np.uint8)
        for part, table in (("ranges", ranges), ("index", index)):
            chunks = (min(len(table), _ROWS), *table.shape[1:])
            options = {"chunks": chunks, **_FILTERS} if len(table) else {}
            self._file.create_dataset(part, data=table, **options)
        self._file.attrs["format"], self._file.attrs["version"] = _FORMAT, _VERSION
        return SliceCache(self._file, name)


def _entry(volume: Volume, shape: tuple[int, ...]) -> dict[str, Any]:
    return {
        "file": volume.file,
        "group": volume.group,
        "split": volume.split,
        "shape": shape,
        "complex": volume.channels == 2,
        "scales": volume.scales,
        "simulated": volume.simulated,
        "subject": volume.subject,
        "sha256": volume.sha256,
        "facts": dict(volume.facts),
        "private": volume.private,
    }


def to_numbers(image: np.ndarray) -> tuple[np.ndarray, np.float32, np.float32]:
    """Round a slice (H, W) to whole numbers of `LEVELS` equal steps over its range.

    Returns:
        The numbers, (H, W), or (H, W, 2) for a complex slice, uint16; the least value; the step.
    """
    values = np.stack([image.real, image.imag], -1) if np.iscomplexobj(image) else image
    low = np.float32(values.min())
    step = np.float32((float(values.max()) - float(low)) / LEVELS) or np.float32(1)
    numbers = np.rint((values.astype(np.float64) - float(low)) / float(step))
    return np.clip(numbers, 0, LEVELS).astype(np.uint16), low, step


def from_numbers(numbers: np.ndarray, low: np.float32, step: np.float32) -> np.ndarray:
    """Return the slice of `to_numbers`, (H, W), float32 or complex64."""
    values = numbers.astype(np.float32) * step + low
    return values if values.ndim == 2 else values.view(np.complex64)[..., 0]


def _body_window(slices: Slices) -> tuple[slice, slice]:
    magnitude = np.zeros(slices.shape[1:])
    for image in slices:
        np.maximum(magnitude, np.abs(image), out=magnitude)
    body = magnitude > 0.1 * np.quantile(magnitude, 0.99)
    window = []
    for axis, side in ((1, body.shape[0]), (0, body.shape[1])):
        inside = np.flatnonzero(body.any(axis))
        # A margin of air stays, because band filters reach over the border.
        start = max(inside[0] - 8, 0)
        window.append(slice(int(start - start % 4), int(min(inside[-1] + 9, side))))
    return window[0], window[1]


@contextmanager
def new_cache(path: Path) -> Iterator[SliceWriter]:
    """Yield the writer of a cache, which is finished in the block and then appears as ``path``.

    An existing file is replaced, unless the block fails.
    """
    import h5py

    with (
        atomic_output(path, overwrite=True) as temporary,
        h5py.File(temporary, "w", libver=_STRUCTURES, rdcc_nbytes=0) as file,
    ):
        yield SliceWriter(file)


def write_cache(volumes: Iterable[Volume], path: Path) -> None:
    """Write a cache of volumes; see `new_cache`."""
    with new_cache(path) as writer:
        for volume in volumes:
            writer.add(volume)
        writer.finish(str(path))


def packed_volumes(volumes: Iterable[Volume]) -> bytes:
    """Return the bytes of a cache of volumes, for `SliceWriter.add_part`."""
    with SliceCache.in_memory(volumes, "part").file as file:
        file.flush()
        return bytes(file.id.get_file_image())


class SliceCache:
    """Slices in an open cache, or in the memory of this process in the same compressed form.

    Threads may share one; a process opens its own.

    Attributes:
        file: the open HDF5 file.
    """

    def __init__(self, file: Any, name: str) -> None:
        """Read the index.

        Args:
            file: open HDF5 file with a finished cache.
            name: name of the cache in messages.
        """
        self.file, self._name = file, name
        self._ranges = file["ranges"][:]
        self._entries = parse_json(bytes(file["index"][:]))
        first = 0
        self._volumes = []
        for number, entry in enumerate(self._entries):
            stored = _StoredSlices(self, number, entry, first)
            first += len(stored)
            self._volumes.append(_volume(entry, stored))
        if self._ranges.shape != (first, 2):
            raise ValueError(f"{self._ranges.shape} ranges for {first} slices")

    @classmethod
    def open(cls, path: Path) -> SliceCache:
        """Open a cache. Raises MRCascadeError where it is missing, damaged or no cache."""
        import h5py

        check_regular(path)
        if not path.exists():
            raise MRCascadeError(f"{path}: does not exist; make it with 'mrcascade cache'")
        file = None
        try:
            # Locks fail on some network drives. A cache is never changed, only replaced.
            file = h5py.File(path, "r", rdcc_nbytes=0, locking=False)
            _check_format(file)
            return cls(file, str(path))
        except Exception as error:  # any kind: h5py does not document which
            if file is not None:
                file.close()
            raise MRCascadeError(
                f"{path}: not a slice cache, or damaged ({_reason(error)}); make one with"
                " 'mrcascade cache'"
            ) from error

    @classmethod
    def in_memory(cls, volumes: Iterable[Volume], name: str) -> SliceCache:
        """Return a cache of volumes, of which one at a time need be in memory as it is."""
        file = _file_in_memory()
        writer = SliceWriter(file)
        for volume in volumes:
            writer.add(volume)
        return writer.finish(name)

    @property
    def volumes(self) -> list[Volume]:
        """Volumes whose slices are read when they are asked for."""
        return list(self._volumes)

    def read(self, number: int, place: int) -> np.ndarray:
        """Return the numbers of slice ``place`` of a volume as they are stored.

        Raises MRCascadeError where they are damaged.
        """
        entry = self._entries[number]
        try:
            dataset = self.file[f"slices/{number}"]
            shape = (*entry["shape"], 2) if entry["complex"] else tuple(entry["shape"])
            if dataset.shape != shape or dataset.dtype != np.uint16:
                raise ValueError(f"{dataset.dtype} of shape {dataset.shape}")
            return np.asarray(dataset[place])
        except Exception as error:
            raise MRCascadeError(
                f"{self._name}: damaged, slice {place + 1} of {entry['file']} cannot be read"
                f" ({_reason(error)}); make the cache again with 'mrcascade cache'"
            ) from error

    def slice(self, number: int, place: int, row: int) -> np.ndarray:
        """Return slice ``place`` of a volume; ``row`` is its number in the cache."""
        return from_numbers(self.read(number, place), *self._ranges[row])


class _StoredSlices:
    """Slices of one volume of a cache."""

    def __init__(self, cache: SliceCache, number: int, entry: dict[str, Any], first: int) -> None:
        self._cache, self._number, self._first = cache, number, first
        count, rows, columns = (int(n) for n in entry["shape"])
        self.shape = (count, rows, columns)
        self.dtype = np.dtype(np.complex64 if entry["complex"] else np.float32)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, place: int, /) -> np.ndarray:
        return self._cache.slice(self._number, place, self._first + place)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[place] for place in range(len(self)))


def _volume(entry: dict[str, Any], slices: Slices) -> Volume:
    return Volume(
        file=entry["file"],
        group=entry["group"],
        split=entry["split"],
        slices=slices,
        scales={int(k): v for k, v in entry["scales"].items()},
        simulated=entry["simulated"],
        subject=entry["subject"],
        sha256=entry["sha256"],
        facts=entry["facts"],
        private=entry["private"],
    )


def is_cache(path: Path) -> bool:
    """Return whether `new_cache` wrote the file ``path``; slices are not read."""
    import h5py

    try:
        check_regular(path)
        with h5py.File(path, "r", locking=False) as file:
            _check_format(file)
    except Exception:
        return False
    return True


def _check_format(file: Any) -> None:
    found = file.attrs.get("format"), file.attrs.get("version")
    if found != (_FORMAT, _VERSION):
        raise ValueError(f"its format is {found[0]}, version {found[1]}")


def _reason(error: Exception) -> str:
    return shortened(printable(str(error)))
