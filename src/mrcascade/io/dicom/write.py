"""A derived series written as a folder of files, one per file of the source."""

import hashlib
import io
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.io.derivation import Derivation
from mrcascade.io.dicom.derive import NewGrid, SeriesFacts, derived_header
from mrcascade.io.dicom.frames import FileFacts
from mrcascade.io.dicom.header import parsing, read_header, text
from mrcascade.io.dicom.series import Series
from mrcascade.io.dicom.storage import Storage

_LARGEST_VALUE = 2**32 - 2  # bytes of one element
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])

# From the number of a frame in the stack to its values (rows, columns).
FetchFrame = Callable[[int], np.ndarray]


def encode(
    series: Series,
    shape: Sequence[int],
    affine: np.ndarray | None,
    fetch: FetchFrame,
    storage: Storage,
    derivation: Derivation,
    folder: Path,
) -> None:
    """Write the derived series into an existing, empty ``folder``.

    Args:
        series: the source.
        shape: (columns, rows, ...) of the new pixels; further axes are those of the source.
        affine: affine of the new grid, as in `Stack`.
        fetch: returns the values of a frame.
        storage: conversion of values to integers.
        derivation: provenance.
        folder: output.

    Raises:
        MRCascadeError: a source file has changed, or its header cannot be written again.
    """
    facts = _series_facts(series, shape, affine, storage, derivation)
    numbers = _numbers(series)
    for count, file in enumerate(_in_order(series), start=1):
        head = _header_bytes(file, facts, count)
        with (folder / f"{count:04d}.dcm").open("wb") as stream:
            stream.write(head)
            stream.write(_pixel_element(file, shape))
            for index, frame in enumerate(file.frames):
                values = fetch(numbers[file.file, index])
                stream.write(storage.encoded(values, frame).tobytes())


def check_headers(series: Series, derivation: Derivation) -> None:
    """Raise MRCascadeError now for a source whose headers could not be written again later."""
    shape = series.stack.shape
    facts = _series_facts(series, shape, series.stack.affine, Storage(False), derivation)
    for count, file in enumerate(_in_order(series), start=1):
        _header_bytes(file, facts, count)


def _series_facts(
    series: Series,
    shape: Sequence[int],
    affine: np.ndarray | None,
    storage: Storage,
    derivation: Derivation,
) -> SeriesFacts:
    old = series.stack
    scale = np.divide(old.shape[:2], shape[:2])
    shift = np.zeros(3)
    if affine is not None and old.affine is not None:
        lengths = (np.linalg.norm(a[:3, :2], axis=0) for a in (affine, old.affine))
        scale = np.divide(*lengths)
        shift = _RAS_TO_LPS @ (affine[:3, 3] - old.affine[:3, 3])
    grid = NewGrid(shape[1], shape[0], (scale[1], scale[0]), tuple(map(float, shift)))
    return SeriesFacts(_series_uid(series, derivation), derivation, grid, storage)


def _series_uid(series: Series, derivation: Derivation) -> str:
    """Return the UID of the new series; equal work on equal images gives an equal UID."""
    from pydicom.uid import generate_uid

    if not derivation.identity:
        return str(generate_uid())
    instances = {file.file: file.instance for file in series.files}
    frames = [f"{instances[frame.file]} {frame.index}" for frame in series.stack.frames]
    # Several series may share a file, and then its hash, so that the frames are listed.
    told = "\n".join([derivation.identity, derivation.label, series.uid, *frames])
    digest = hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()
    if derivation.pseudonyms is not None:
        digest = derivation.pseudonyms.digest(f"series {digest}")
    return str(generate_uid(entropy_srcs=[digest]))


def _numbers(series: Series) -> dict[tuple[Any, int], int]:
    """Return (file, index in it) -> number of the frame in the stack."""
    return {(f.file, f.index): n for n, f in enumerate(series.stack.frames)}


def _in_order(series: Series) -> Iterator[FileFacts]:
    """Yield the files in the order in which the stack first meets them."""
    by_name = {f.file: f for f in series.files}
    yield from (by_name[name] for name in dict.fromkeys(f.file for f in series.stack.frames))


def _header_bytes(file: FileFacts, facts: SeriesFacts, count: int) -> bytes:
    import pydicom

    with file.file.open() as stream:
        header = read_header(file.file, stream)
    with parsing(file.file):
        dataset = header.dataset
        if text(dataset, "SOPInstanceUID") != file.instance:
            raise MRCascadeError(f"{file.file} was changed while it was in use; try again")
        dataset = derived_header(dataset, file, facts, count)
        written = io.BytesIO()
        pydicom.dcmwrite(written, dataset, enforce_file_format=True)
    return written.getvalue()


def _pixel_element(file: FileFacts, shape: Sequence[int]) -> bytes:
    """Return tag, VR and length of the pixel data in explicit VR, little endian."""
    length = 2 * shape[0] * shape[1] * len(file.frames)
    if length > _LARGEST_VALUE:
        raise MRCascadeError(
            f"{file.file}: the result has {length / 2**30:.1f} GiB of pixels, and a DICOM file"
            " holds 4; write NIfTI with --format nifti"
        )
    return struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, length)
