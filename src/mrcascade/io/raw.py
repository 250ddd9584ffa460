"""Pixels of an opened file, which the codecs hand to `source`."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class StatedSlices:
    """Statements of a header, or of a JSON file, about the slices.

    Attributes:
        by: the header or the file, in words.
        thickness: smallest and largest `SliceThickness` (mm); None where it is not stated.
        distance: `SpacingBetweenSlices` (mm); None where it is not stated.
        irregular: deviation of the slices' places from equal distances, in words; empty where
            there is none.
        unread: entries about lengths that are no length.
    """

    by: str = ""
    thickness: tuple[float, float] | None = None
    distance: float | None = None
    irregular: str = ""
    unread: tuple[str, ...] = ()


@dataclass(frozen=True)
class RawPixels:
    """Pixels of an opened file.

    Attributes:
        shape: shape of the array.
        layout: axes from the slowest to the fastest in the file.
        complex: whether the values are complex.
        read: returns the next `count` values in the file's order, 1-D, of any numeric type. Raises
            MRCascadeError where the file ends early.
        finish: reads the rest and returns the SHA-256 of the input.
        affine, header: None where the format has none.
        acquired: axis -> number of samples acquired along it; None where unknown.
        acquired_by: source of `acquired`.
        origin: what the pixels are, where a file holds several images, or k-space.
        note: returns a line about the pixels once they have been read; mostly empty.
        off_grid: reason why one affine cannot describe the slices, as words that follow the file's
            name; empty where it can.
        volume_seconds: time from one volume to the next in s; None where unknown.
        slices: what the header says of the slices; None where the format has no such elements.
    """

    shape: tuple[int, ...]
    layout: tuple[int, ...]
    complex: bool
    read: Callable[[int], np.ndarray]
    finish: Callable[[], str]
    affine: np.ndarray | None = None
    header: object | None = None
    acquired: Mapping[int, int] | None = None
    acquired_by: str = ""
    origin: str = ""
    note: Callable[[], str] = str
    off_grid: str = ""
    volume_seconds: float | None = None
    slices: StatedSlices | None = None


class Runs:
    """Successive arrays, read as runs of values of any length."""

    def __init__(self, arrays: Iterator[np.ndarray]) -> None:
        self._arrays = arrays
        self._left: list[np.ndarray] = []

    def read(self, count: int) -> np.ndarray:
        """Return the next `count` values, 1-D; the arrays must hold at least that many."""
        have = sum(part.size for part in self._left)
        while have < count:
            values = next(self._arrays).ravel()
            self._left.append(values)
            have += values.size
        joined = self._left[0] if len(self._left) == 1 else np.concatenate(self._left)
        self._left = [joined[count:]] if have > count else []
        return joined[:count]
