"""Image files read from front to back, block by block."""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.io.blocks import Block, file_blocks
from mrcascade.io.file import ImageFile, Named, codec_of, image_file
from mrcascade.io.new_pixels import count_non_finite, refuse_non_finite
from mrcascade.io.raw import RawPixels


class Source:
    """An image file whose header has been read and whose pixels have not; see `open_source`.

    Attributes:
        file: the `ImageFile`.
        source: its path.
        format: name of its `Format`.
        shape: 2-D to 4-D, axis order of the file.
        layout: axes from the slowest to the fastest in the file.
        dtype: dtype of the blocks, float32 or complex64.
        affine, header: as in `Image`.
        acquired, acquired_by, origin, note, off_grid, slices, volume_seconds: as in `RawPixels`.
        sha256: hash of the file, once all blocks were read; for a series, of its files one after
            the other; for a pair, of both hashes.
    """

    def __init__(self, file: ImageFile, raw: RawPixels) -> None:
        self.file, self.source, self.format = file, file.path, file.format.name
        self.shape, self.layout = raw.shape, raw.layout
        self.affine, self.header = raw.affine, raw.header
        self.acquired, self.acquired_by = raw.acquired, raw.acquired_by
        self.origin, self.off_grid = raw.origin, raw.off_grid
        self.volume_seconds, self.slices = raw.volume_seconds, raw.slices
        self.dtype = np.dtype(np.complex64 if raw.complex else np.float32)
        self._raw = raw
        self._sha256: str | None = None

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel size along each spatial axis of the array (mm); ones without an affine."""
        return spacing_of(self.shape, self.affine)

    @property
    def note(self) -> str:
        """Line about the pixels once they have been read; mostly empty."""
        return self._raw.note()

    @property
    def sha256(self) -> str:
        """Hash of the file. Raises ValueError before all blocks were read."""
        if self._sha256 is None:
            raise ValueError("the hash of a file is known when it has been read to its end")
        return self._sha256

    def blocks(self) -> Iterator[tuple[Block, np.ndarray]]:
        """Yield the pixels once, from front to back.

        Each item is a window on the array with its axes in the order `layout` (`file_blocks`), and
        the pixels in it. After the last block, raises MRCascadeError if any value is not finite,
        even only in float32, or all are equal.
        """
        check = _ValueCheck(self.dtype)
        for block, values in self.stored_blocks():
            yield block, check.converted(values)
        check.finish(self.source)

    def stored_blocks(self) -> Iterator[tuple[Block, np.ndarray]]:
        """Yield the pixels as `blocks` does, with the file's scaling but unchecked, of any type."""
        for block in file_blocks([self.shape[a] for a in self.layout]):
            extent = tuple(s.stop - s.start for s in block)
            yield block, self._raw.read(math.prod(extent)).reshape(extent)
        self._sha256 = self._raw.finish()


@contextmanager
def open_source(
    image: Named, complex_valued: bool = False, labels: bool = False
) -> Iterator[Source]:
    """Open an image for reading block by block.

    Args:
        image: an `ImageFile`, or a path; its ending or its content determines the format.
        complex_valued: whether k-space gives its complex image instead of the magnitude. It has no
            effect on files that hold an image.
        labels: whether the values may be labels of regions, which are no signal.

    Raises:
        MRCascadeError: the image is missing, of another format, damaged, not 2-D to 4-D, in
            colour, or without a usable affine (NIfTI); the path holds several DICOM series; the
            images of a series do not belong together; or k-space gives no such image.
            `Source.blocks` raises for faults in the pixels.
    """
    with ExitStack() as stack:
        file = image_file(image).resolved()
        if labels:
            raw = codec_of(file.format).open_labels(file, stack)
        else:
            raw = file.open(stack, complex_valued)
        _check_shape(file.path, raw.shape)
        yield Source(file, raw)


def _check_shape(path: Path, shape: tuple[int, ...]) -> None:
    dimensions = len(shape)
    if not 2 <= dimensions <= 4:
        raise MRCascadeError(
            f"{path} has {dimensions} dimension{'s' * (dimensions != 1)}, expected 2 to 4; "
            "extract the image or series to restore"
        )
    if not all(shape):
        raise MRCascadeError(f"{path} has no voxels (shape {shape}); check the export")


def spacing_of(shape: tuple[int, ...], affine: np.ndarray | None) -> tuple[float, ...]:
    """Return the voxel size along each spatial axis (mm); ones without an affine."""
    axes = min(len(shape), 3)
    if affine is None:
        return (1.0,) * axes
    return tuple(float(s) for s in np.linalg.norm(affine[:3, :axes], axis=0))


class _ValueCheck:
    """Converter of blocks that records what is wrong with them."""

    def __init__(self, dtype: np.dtype) -> None:
        self._dtype = dtype
        self._bad = self._beyond = 0
        self._first: np.generic | None = None
        self._constant = True

    def converted(self, values: np.ndarray) -> np.ndarray:
        """Return the values as a new array of the source's dtype."""
        with np.errstate(all="ignore"):  # overflow is counted, as NaN is
            self._bad += count_non_finite(values)
            data = values.astype(self._dtype)
            self._beyond += count_non_finite(data)
            if self._first is None:
                self._first = data.flat[0]
            self._constant = self._constant and bool((data == self._first).all())
        return data

    def finish(self, path: Path) -> None:
        """Raise MRCascadeError where values were not finite, overflowed or were all equal."""
        refuse_non_finite(self._bad, f"{path} holds", "replace them (for instance by 0)")
        refuse_non_finite(self._beyond, f"{path} holds values beyond float32:", "rescale them")
        if self._constant:
            raise MRCascadeError(
                f"{path} is constant (every voxel is {self._first:g}); "
                "check that it is the right file"
            )
