"""Mosaics: files that show many slices side by side in one picture."""

from collections.abc import Iterable, Sequence
from typing import Any

from mrcascade.io.dicom.header import private, private_numbers, words

_WORDS = {"MOSAIC", "VFRAME"}  # Siemens' and United Imaging's values of ImageType
# Positions (mm) that differ only in further digits differ by rounding.
_DIGITS = 2


def is_mosaic(dataset: Any, positions: Iterable[tuple[float, ...] | None]) -> bool:
    """Return whether the frames of a file are mosaics.

    Frames at several positions are slices, even where ImageType says otherwise. Without that word,
    Siemens' NumberOfImagesInMosaic (0019,100A) and United Imaging's sequence of slices (0065,1051)
    decide.

    Args:
        dataset: the file's pydicom Dataset.
        positions: positions of its frames, mm.
    """
    places = {tuple(round(v, _DIGITS) for v in at) for at in positions if at is not None}
    if len(places) > 1:
        return False
    if _WORDS & set(words(dataset, "ImageType")):
        return True
    tiles = private_numbers(dataset, 0x0019, 0x0A, "SIEMENS MR HEADER")
    if tiles and tiles[0] > 1:
        return True
    slices = private(dataset, 0x0065, 0x51, "Image Private Header")
    return isinstance(slices, Sequence) and not isinstance(slices, str | bytes) and len(slices) > 1
