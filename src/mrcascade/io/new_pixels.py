"""Pixels to be written, and the image that they continue."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.io.blocks import Block, file_blocks
from mrcascade.io.derivation import Derivation


class Grid(Protocol):
    """An image without its pixels: the common part of `Image` and of an unread `Source`."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def affine(self) -> np.ndarray | None: ...

    @property
    def source(self) -> Path: ...

    @property
    def format(self) -> str: ...

    @property
    def header(self) -> object | None: ...

    @property
    def spacing(self) -> tuple[float, ...]: ...

    @property
    def off_grid(self) -> str: ...

    @property
    def volume_seconds(self) -> float | None: ...


@dataclass(frozen=True)
class NewPixels:
    """Pixels to be written; the counterpart of `RawPixels`.

    Attributes:
        image: image whose header and geometry the file continues.
        shape: shape of the pixels.
        dtype: float32, complex64 or an integer type.
        affine: affine of their grid.
        fetch: returns a window on the array with its axes in the order of the format
            (`Format.layout`).
        extremes: smallest and largest value; DICOM needs them.
        derivation: provenance; DICOM needs it.
    """

    image: Grid
    shape: tuple[int, ...]
    dtype: np.dtype
    affine: np.ndarray | None
    fetch: Callable[[Block], np.ndarray]
    extremes: tuple[float, float] | None = None
    derivation: Derivation | None = None

    def blocks(self, layout: tuple[int, ...]) -> Iterator[np.ndarray]:
        """Yield the pixels from front to back (`file_blocks`), for a file of this layout.

        After the last block, raises MRCascadeError if any value is not finite.
        """
        return self.windows(file_blocks([self.shape[a] for a in layout]))

    def windows(self, blocks: Iterable[Block]) -> Iterator[np.ndarray]:
        """Yield the pixels in each window; raises as `blocks` does."""
        bad = 0
        for block in blocks:
            values = self.fetch(block)
            bad += count_non_finite(values)
            yield values
        refuse_non_finite(
            bad, f"{self.image.source}: the result is not written, it holds", "report this"
        )


def count_non_finite(values: np.ndarray) -> int:
    """Return the number of values that are NaN or infinite."""
    if values.dtype.kind not in "fc":
        return 0
    return values.size - int(np.count_nonzero(np.isfinite(values)))


def refuse_non_finite(bad: int, found: str, remedy: str) -> None:
    """Raise MRCascadeError "`found` 3 NaN or infinite voxels; `remedy` ..." unless bad is 0."""
    if bad:
        voxels = "1 NaN or infinite voxel" if bad == 1 else f"{bad} NaN or infinite voxels"
        raise MRCascadeError(f"{found} {voxels}; {remedy} and try again")
