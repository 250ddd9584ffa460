"""What the modules of the formats hand to `source`: pixels that wait to be read."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RawPixels:
    """Pixels of an opened file.

    shape: of the array. layout: its axes from the slowest to the fastest in the file. complex:
    whether the values are. read: the next `count` values in the file's order, 1-D, any numeric
    type; MRCascadeError where the file ends early. finish: reads what is left and gives the
    SHA-256 of the input. affine, header: None where the format has none. acquired: axis -> samples
    that were acquired along it, as `acquired_by` says; None where nothing says so. origin: what
    the pixels are, where a file holds more than one image, or k-space they were made of. note: a
    line about the pixels, known once they were read; mostly empty. off_grid: why the slices form no
    grid that one affine can describe, as a sentence goes on after the file's name; empty where they
    do. volume_seconds: time from one volume to the next, None where unknown.
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


class Runs:
    """Arrays that come one after another, handed out as runs of values of any length."""

    def __init__(self, arrays: Iterator[np.ndarray]) -> None:
        self._arrays = arrays
        self._left: list[np.ndarray] = []

    def read(self, count: int) -> np.ndarray:
        """The next `count` values, 1-D; the arrays must hold so many."""
        have = sum(part.size for part in self._left)
        while have < count:
            values = next(self._arrays).ravel()
            self._left.append(values)
            have += values.size
        joined = self._left[0] if len(self._left) == 1 else np.concatenate(self._left)
        self._left = [joined[count:]] if have > count else []
        return joined[:count]
