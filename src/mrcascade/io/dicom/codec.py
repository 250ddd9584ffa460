"""DICOM series as a file format: opening one, and writing one derived from it."""

from contextlib import ExitStack
from pathlib import Path

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.io.blocks import Axes
from mrcascade.io.derivation import Derivation, check_derivation
from mrcascade.io.dicom import write
from mrcascade.io.dicom.files import is_dicom_name
from mrcascade.io.dicom.new_frames import frame_of
from mrcascade.io.dicom.pixels import open_pixels, series_sha256
from mrcascade.io.dicom.series import Series, only_series
from mrcascade.io.dicom.storage import storage_for
from mrcascade.io.file import Codec, ImageFile
from mrcascade.io.formats import FORMATS
from mrcascade.io.new_pixels import Grid, NewPixels
from mrcascade.io.raw import RawPixels


class _DICOM(Codec):
    def open(self, file: ImageFile, stack: ExitStack, complex_valued: bool) -> RawPixels:
        return stack.enter_context(open_pixels(_series_of(file)))

    def resolve(self, file: ImageFile) -> ImageFile:
        return _series_of(file)

    def digest(self, file: ImageFile) -> str:
        return series_sha256(_series_of(file))

    def recognises(self, path: Path) -> bool:
        return is_dicom_name(path)

    def check(
        self,
        image: Grid,
        path: Path,
        derivation: Derivation | None,
        axes: Axes | None,
        headers: bool,
    ) -> None:
        series = _series(image)
        if axes is not None and sorted(axes) != [0, 1]:
            raise MRCascadeError(
                f"{image.source}: a DICOM result keeps the planes of its source's images, axes 1,0;"
                " leave --axes out, or add --format nifti"
            )
        derivation = check_derivation(derivation)
        if headers:
            write.check_headers(series, derivation)

    def write(self, new: NewPixels, path: Path) -> None:
        assert new.extremes is not None and new.derivation is not None  # noqa: PT018 (check)
        series, shape = _series(new.image), new.shape
        plane = (slice(0, shape[1]), slice(0, shape[0]))

        def frame(number: int) -> np.ndarray:
            volume, place = divmod(number, shape[2])
            outer = (volume, place) if len(shape) == 4 else (place,)
            block = (*(slice(i, i + 1) for i in outer), *plane)
            (values,) = new.windows([block])
            return values.reshape(shape[1], shape[0])

        storage = storage_for(series, *new.extremes, new.derivation.quantity)
        write.encode(series, shape, new.affine, frame, storage, new.derivation, path)

    def as_stored(
        self,
        image: Grid,
        stack: np.ndarray,
        start: int,
        extremes: tuple[float, float],
        shape: tuple[int, ...],
    ) -> np.ndarray:
        """Return the slices as the integers of the file decode to."""
        series = _series(image)
        storage = storage_for(series, *extremes)
        numbers = range(start, start + len(stack))
        frames = [frame_of(series, shape, number).source for number in numbers]
        pairs = zip(stack, frames, strict=True)
        stored = [storage.decoded(storage.encoded(values, f), f) for values, f in pairs]
        return np.stack(stored).astype(stack.dtype)


CODEC = _DICOM()


def _series_of(file: ImageFile) -> Series:
    return file if isinstance(file, Series) else only_series(file.path)


def _series(image: Grid) -> Series:
    """Return the series that a result continues.

    Raises MRCascadeError where the source is not a series.
    """
    if not isinstance(image.header, Series):
        raise MRCascadeError(f"{image.source}{FORMATS['dicom'].own_only}")
    return image.header
