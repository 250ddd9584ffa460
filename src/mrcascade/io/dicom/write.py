"""A derived series written as a folder of files, which continue the files of the source."""

import hashlib
import io
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.io.derivation import Derivation
from mrcascade.io.dicom.derive import NewGrid, SeriesFacts, derived_header
from mrcascade.io.dicom.frames import FileFacts
from mrcascade.io.dicom.header import parsing, read_header, text
from mrcascade.io.dicom.new_frames import NewFrame, new_files, new_slices
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
        shape: (columns, rows, slices, ...) of the new pixels; volumes are those of the source.
        affine: affine of the new grid, as in `Stack`.
        fetch: returns the values of a frame.
        storage: conversion of values to integers.
        derivation: provenance.
        folder: output.

    Raises:
        MRCascadeError: a source file has changed, or its header cannot be written again.
    """
    facts = _series_facts(series, shape, affine, storage, derivation)
    for count, (file, frames) in enumerate(new_files(series, shape), start=1):
        head = _header_bytes(file, facts, count, frames)
        with (folder / f"{count:04d}.dcm").open("wb") as stream:
            stream.write(head)
            stream.write(_pixel_element(file, shape, len(frames)))
            for frame in frames:
                values = fetch(frame.number)
                stream.write(storage.encoded(values, frame.source).tobytes())


def check_headers(series: Series, derivation: Derivation) -> None:
    """Raise MRCascadeError now for a source whose headers could not be written again later."""
    shape = series.stack.shape
    facts = _series_facts(series, shape, series.stack.affine, Storage(False), derivation)
    for count, (file, frames) in enumerate(new_files(series, shape), start=1):
        _header_bytes(file, facts, count, frames)


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
    slices = new_slices(series, shape, affine)
    grid = NewGrid(shape[1], shape[0], (scale[1], scale[0]), tuple(map(float, shift)), slices)
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


def _header_bytes(
    file: FileFacts, facts: SeriesFacts, count: int, frames: Sequence[NewFrame]
) -> bytes:
    import pydicom

    with file.file.open() as stream:
        header = read_header(file.file, stream)
    with parsing(file.file):
        dataset = header.dataset
        if text(dataset, "SOPInstanceUID") != file.instance:
            raise MRCascadeError(f"{file.file} was changed while it was in use; try again")
        dataset = derived_header(dataset, file, facts, count, frames)
        written = io.BytesIO()
        pydicom.dcmwrite(written, dataset, enforce_file_format=True)
    return written.getvalue()


def _pixel_element(file: FileFacts, shape: Sequence[int], frames: int) -> bytes:
    """Return tag, VR and length of the pixel data in explicit VR, little endian."""
    length = 2 * shape[0] * shape[1] * frames
    if length > _LARGEST_VALUE:
        raise MRCascadeError(
            f"{file.file}: the result has {length / 2**30:.1f} GiB of pixels, and a DICOM file"
            " holds 4; write NIfTI with --format nifti"
        )
    return struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, length)
