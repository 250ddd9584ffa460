"""Image files read from front to back, block by block, and the table of formats behind them."""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.io import fastmri, nifti, npy, picture
from mrcascade.io.blocks import Block, file_blocks
from mrcascade.io.dicom import Series, choose_series, find_below, is_dicom_name
from mrcascade.io.dicom.pixels import open_pixels, series_sha256
from mrcascade.io.pair import Pair, combined_digest, is_phase, open_pair
from mrcascade.io.raw import RawPixels
from mrcascade.io.stream import bytes_sha256, open_stream
from mrcascade.messages.quiet import quiet_decoders
from mrcascade.storage.atomic import FOLDER_ENDING
from mrcascade.storage.files import check_regular

Input: TypeAlias = Path | Series | Pair

# The formats of single files: file name ending -> name of the format. The other one, "dicom", has
# folders, archives, and files whose names say nothing; folders that we write end in FOLDER_ENDING.
SUFFIXES = {
    ".nii.gz": "nifti",
    ".nii": "nifti",
    ".npy": "npy",
    ".png": "png",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".h5": "fastmri",
}
_OPENERS = {
    "nifti": nifti.open_pixels,
    "npy": npy.open_pixels,
    "png": picture.open_pixels,
    "tiff": picture.open_pixels,
}


def format_of(image: Input) -> str:
    """A value of `SUFFIXES`, by the ending of the name, or "dicom"; MRCascadeError if neither."""
    if isinstance(image, Series):
        return "dicom"
    if isinstance(image, Pair):
        return "nifti"
    name = image.name.lower()
    for suffix, kind in SUFFIXES.items():
        if name.endswith(suffix) and not image.is_dir():
            return kind
    if name.endswith(FOLDER_ENDING) or is_dicom_name(image):
        return "dicom"
    check_regular(image)
    raise MRCascadeError(
        f"{image} has no supported ending; supported are DICOM, {', '.join(SUFFIXES)}: convert it"
        " first"
    )


class Source:
    """An image file whose header has been read and whose pixels have not; see `open_source`.

    source: the file (of a pair, the magnitude). files: all that were read, but for a series, whose
    header knows them. format: as `format_of` says. shape: 2-D to 4-D, axis order of the file.
    layout: the axes from the slowest to the fastest in the file. dtype: of the blocks, float32 or
    complex64. affine, header: as in `Image`. acquired, acquired_by, origin, note: as in
    `RawPixels`. sha256: of the file (of a series: of its files one after the other; of a pair: of
    the hashes of both), once all blocks were read.
    """

    def __init__(self, path: Path, kind: str, raw: RawPixels, phase: Path | None = None) -> None:
        self.source, self.format = path, kind
        self.files = [path] if phase is None else [path, phase]
        self.shape, self.layout = raw.shape, raw.layout
        self.affine, self.header = raw.affine, raw.header
        self.acquired, self.acquired_by = raw.acquired, raw.acquired_by
        self.origin = raw.origin
        self.dtype = np.dtype(np.complex64 if raw.complex else np.float32)
        self._raw = raw
        self._sha256: str | None = None

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel size along each spatial axis of the array (mm); ones without an affine."""
        return spacing_of(self.shape, self.affine)

    @property
    def note(self) -> str:
        return self._raw.note()

    @property
    def sha256(self) -> str:
        if self._sha256 is None:
            raise ValueError("the hash of a file is known when it has been read to its end")
        return self._sha256

    def blocks(self) -> Iterator[tuple[Block, np.ndarray]]:
        """The pixels once, from front to back: windows on the array with its axes in the order
        `layout` (`file_blocks`), and what they hold.

        After the last block, raises MRCascadeError if any value is not finite, even in float32,
        or all are equal.
        """
        check = _ValueCheck(self.dtype)
        for block in file_blocks([self.shape[a] for a in self.layout]):
            extent = tuple(s.stop - s.start for s in block)
            yield block, check.converted(self._raw.read(math.prod(extent)).reshape(extent))
        self._sha256 = self._raw.finish()
        check.finish(self.source)


@contextmanager
def open_source(
    image: Input | str | os.PathLike[str], complex_valued: bool = False
) -> Iterator[Source]:
    """Open an image: a DICOM series, a pair of magnitude and phase, or a file or folder whose name
    picks the format (`format_of`).

    complex_valued: which image is made of k-space, the complex one or the magnitude; files that
    hold an image give that.

    Raises MRCascadeError if it is missing, of another format, damaged, not 2-D to 4-D, in colour,
    or without a usable affine (NIfTI); for a folder or archive of several DICOM series; for a
    series whose images do not belong together; for k-space that gives no such image. What
    only the pixels tell, `Source.blocks` raises.
    """
    with ExitStack() as stack:
        if isinstance(image, Pair):
            raw = open_pair(image, stack)
            _check_shape(image.magnitude, raw.shape)
            yield Source(image.magnitude, "nifti", raw, image.phase)
            return
        if not isinstance(image, Series):
            image = Path(image)
        kind = format_of(image)
        if kind == "dicom":
            image = image if isinstance(image, Series) else only_series(image)
            path = image.path
            raw = stack.enter_context(open_pixels(image))
        elif kind == "fastmri":
            assert isinstance(image, Path)
            path = image
            raw = stack.enter_context(fastmri.open_pixels(path, complex_valued))
        else:
            assert isinstance(image, Path)  # a series is of the kind "dicom"
            path = image
            stream = stack.enter_context(open_stream(path))
            with quiet_decoders():  # libtiff
                raw = _OPENERS[kind](stream)
        _check_shape(path, raw.shape)
        yield Source(path, kind, raw)


def input_sha256(image: Input) -> str:
    """What `Source.sha256` is once the input was read, from its bytes alone."""
    if isinstance(image, Series):
        return series_sha256(image)
    if isinstance(image, Pair):
        return combined_digest(input_sha256(image.magnitude), input_sha256(image.phase))
    return bytes_sha256(image)


def input_path(image: Input) -> Path:
    """Where an input lies, of a pair the magnitude."""
    if isinstance(image, Pair):
        return image.magnitude
    return image.path if isinstance(image, Series) else image


def input_files(image: Input) -> list[Path]:
    """The files of an input: both of a pair, else the file, or where a series lies."""
    return [image.magnitude, image.phase] if isinstance(image, Pair) else [input_path(image)]


def refuse_phase(image: Input) -> None:
    """Raise MRCascadeError for a phase by itself, which is no image that could be enlarged."""
    if isinstance(image, Path) and is_phase(image):
        raise MRCascadeError(
            f"{image} is the phase of a complex image, which means nothing without its magnitude;"
            " put the _part-mag file beside it and use a complex prior, or name that file alone"
        )


def only_series(
    path: Path, selector: str | None = None, note: Callable[[str], None] | None = None
) -> Series:
    """The series in a folder, archive or file; MRCascadeError where there are none or several.

    selector: a series number or UID that chooses one. note: is told what is left out.
    """
    found = find_below(path, tuple(SUFFIXES))
    chosen = choose_series(found, selector, str(path))
    if len(chosen) > 1:
        raise MRCascadeError(
            f"{path} holds {len(chosen)} series; choose one, such as {chosen[0].label}"
        )
    if note is not None:
        for line in found.notes():
            note(line)
    return chosen[0]


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
    """Voxel size along each spatial axis; ones without an affine."""
    axes = min(len(shape), 3)
    if affine is None:
        return (1.0,) * axes
    return tuple(float(s) for s in np.linalg.norm(affine[:3, :axes], axis=0))


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


class _ValueCheck:
    """Converts blocks and remembers what is wrong with them."""

    def __init__(self, dtype: np.dtype) -> None:
        self._dtype = dtype
        self._bad = self._beyond = 0
        self._first: np.generic | None = None
        self._constant = True

    def converted(self, values: np.ndarray) -> np.ndarray:
        """A new array of the source's dtype."""
        with np.errstate(all="ignore"):  # what overflows is counted, NaN as well
            self._bad += count_non_finite(values)
            data = values.astype(self._dtype)
            self._beyond += count_non_finite(data)
            if self._first is None:
                self._first = data.flat[0]
            self._constant = self._constant and bool((data == self._first).all())
        return data

    def finish(self, path: Path) -> None:
        refuse_non_finite(self._bad, f"{path} holds", "replace them (for instance by 0)")
        refuse_non_finite(self._beyond, f"{path} holds values beyond float32:", "rescale them")
        if self._constant:
            raise MRCascadeError(
                f"{path} is constant (every voxel is {self._first:g}); "
                "check that it is the right file"
            )
