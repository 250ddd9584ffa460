"""What a format's module does for the rest: it opens files of the format and writes them."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.io.blocks import Axes, Block, file_blocks
from mrcascade.io.derivation import Derivation
from mrcascade.io.formats import Format
from mrcascade.io.raw import RawPixels


class Grid(Protocol):
    """What is known of an image without its pixels: an `Image`, or a `Source` yet to be read."""

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
    """Pixels that wait to be written; the counterpart of `RawPixels`.

    image: whose header and geometry the file continues. shape, dtype (float32 or complex64): of the
    pixels. affine: of their grid. fetch: returns a window on the array with its axes in the order
    of the format (`Format.layout`). extremes, derivation: the smallest and largest value, and what
    the result is; DICOM needs both.
    """

    image: Grid
    shape: tuple[int, ...]
    dtype: np.dtype
    affine: np.ndarray | None
    fetch: Callable[[Block], np.ndarray]
    extremes: tuple[float, float] | None = None
    derivation: Derivation | None = None

    def blocks(self, layout: tuple[int, ...]) -> Iterator[np.ndarray]:
        """The pixels from front to back (`file_blocks`), for a file of this layout.

        After the last block, raises MRCascadeError if any value is not finite.
        """
        return self.windows(file_blocks([self.shape[a] for a in layout]))

    def windows(self, blocks: Iterable[Block]) -> Iterator[np.ndarray]:
        """What these windows hold; raises as `blocks` does."""
        bad = 0
        for block in blocks:
            values = self.fetch(block)
            bad += count_non_finite(values)
            yield values
        refuse_non_finite(
            bad, f"{self.image.source}: the result is not written, it holds", "report this"
        )


class Codec:
    """Reads and writes files of one format. The module that `Format.codec` names holds one as
    `CODEC`; what a format cannot do stays as it is here."""

    def open(self, path: Path, stack: ExitStack, complex_valued: bool) -> RawPixels:
        """The pixels of a file, ready to be read; ``stack`` closes it.

        complex_valued: which image is made of k-space; a file that holds an image gives that.
        Raises MRCascadeError where the file cannot be used.
        """
        raise NotImplementedError

    def write(self, new: NewPixels, path: Path) -> None:
        """Write pixels that `check` found nothing against to an empty file or folder."""
        raise NotImplementedError

    def check(
        self,
        image: Grid,
        path: Path,
        derivation: Derivation | None,
        axes: Axes | None,
        headers: bool,
    ) -> None:
        """Raise MRCascadeError where a result of ``image`` cannot be written to ``path``, beyond
        what the table tells. axes, headers: as for `check_writable`."""

    def recognises(self, path: Path) -> bool:
        """Whether a path whose name has no known ending is of this format."""
        return False

    def as_stored(
        self, image: Grid, stack: np.ndarray, start: int, extremes: tuple[float, float]
    ) -> np.ndarray:
        """What a reader will make of slices ``start`` and on, (N, rows, columns), of a result;
        extremes: of the whole result."""
        return stack

    def slice_axis(self, header: object | None) -> tuple[int, str] | None:
        """The axis that the slices follow by a header, and what in it says so."""
        return None

    def with_slice_axis(self, image: Grid, axis: int | None) -> object | None:
        """The header of ``image`` for a file that says itself that slices follow ``axis``."""
        return image.header

    def patient(self, path: Path) -> str:
        """The patient whom a file names; empty where it names none."""
        return ""

    def describe(self, path: Path) -> tuple[list[str], bool]:
        """Lines about the content beyond the image's own, and whether it gives an image."""
        return [], True


def codec_of(record: Format) -> Codec:
    """The codec of a format; imports its module."""
    codec: Codec = import_module(record.codec).CODEC
    return codec


def count_non_finite(values: np.ndarray) -> int:
    """How many values are NaN or infinite."""
    if values.dtype.kind not in "fc":
        return 0
    return values.size - int(np.count_nonzero(np.isfinite(values)))


def refuse_non_finite(bad: int, found: str, remedy: str) -> None:
    """Raise MRCascadeError "`found` 3 NaN or infinite voxels; `remedy` ..." unless bad is 0."""
    if bad:
        voxels = "1 NaN or infinite voxel" if bad == 1 else f"{bad} NaN or infinite voxels"
        raise MRCascadeError(f"{found} {voxels}; {remedy} and try again")
