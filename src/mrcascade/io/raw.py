"""What the modules of the formats hand to `source`: pixels that wait to be read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RawPixels:
    """Pixels of an opened file.

    shape: of the array. layout: its axes from the slowest to the fastest in the file. complex:
    whether the values are. read: the next `count` values in the file's order, 1-D, any numeric
    type; MRCascadeError where the file ends early. finish: reads what is left and gives the
    SHA-256 of the input. affine, header: None where the format has none. acquired: axis -> samples
    that were acquired along it, as `acquired_by` says; None where nothing says so.
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
