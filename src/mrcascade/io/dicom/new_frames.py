"""The frames of a derived series: each continues the header of a frame of the source."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np

from mrcascade.io.dicom.files import DicomFile
from mrcascade.io.dicom.frames import FileFacts, Frame
from mrcascade.io.dicom.header import item
from mrcascade.io.dicom.series import Series

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])
# Elements along which a dimension of frames runs from slice to slice (PS3.3 C.7.6.17).
_POSITION, _IN_STACK = 0x00200032, 0x00209057


@dataclass(frozen=True)
class NewFrame:
    """A frame to be written.

    Attributes:
        source: frame whose header it continues: that of its volume in whose slice its centre lies.
        number: number in the new stack, slice by slice and volume by volume.
        place: number of its slice.
    """

    source: Frame
    number: int
    place: int


@dataclass(frozen=True)
class NewSlices:
    """Slices that take the place of a source's slices.

    Attributes:
        spacing: distance and thickness of the new slices, mm.
        first, step: position of the first pixel of the first slice, and from slice to slice, in
            patient coordinates (LPS, mm).
        count: number of slices.
    """

    spacing: float
    first: np.ndarray
    step: np.ndarray
    count: int

    def position(self, place: int) -> list[float]:
        """Return the position of a slice's first pixel (LPS, mm)."""
        return [float(v) for v in self.first + place * self.step]


def new_slices(series: Series, shape: Sequence[int], affine: np.ndarray | None) -> NewSlices | None:
    """Return the slices of a new grid; None where they are those of the source.

    Args:
        series: the source.
        shape: (columns, rows, slices, ...) of the new pixels.
        affine: affine of the new grid.
    """
    if affine is None or shape[2] == series.stack.shape[2]:
        return None
    step = affine[:3, 2]
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    spacing = abs(normal @ step) / np.linalg.norm(normal)
    return NewSlices(float(spacing), _RAS_TO_LPS @ affine[:3, 3], _RAS_TO_LPS @ step, shape[2])


def frame_of(series: Series, shape: Sequence[int], number: int) -> NewFrame:
    """Return a frame of a new stack of this shape by its number."""
    old = series.stack.shape[2]
    volume, place = divmod(number, shape[2])
    nearest = (2 * place + 1) * old // (2 * shape[2])
    return NewFrame(series.stack.frames[volume * old + nearest], number, place)


def new_files(series: Series, shape: Sequence[int]) -> Iterator[tuple[FileFacts, list[NewFrame]]]:
    """Yield the files of a new series: the source's file that each continues, and its frames.

    Files follow the order in which the source's stack first meets them. A file of one frame leads
    to one file per new frame, a multi-frame file to one file.
    """
    made: dict[tuple[DicomFile, int], list[NewFrame]] = {}
    volumes = len(series.stack.frames) // series.stack.shape[2]
    for number in range(volumes * shape[2]):
        frame = frame_of(series, shape, number)
        made.setdefault((frame.source.file, frame.source.index), []).append(frame)
    by_name = {f.file: f for f in series.files}
    for name in dict.fromkeys(f.file for f in series.stack.frames):
        file = by_name[name]
        frames = [new for frame in file.frames for new in made[frame.file, frame.index]]
        if shape[2] != series.stack.shape[2]:
            frames.sort(key=lambda new: new.number)
        if len(file.frames) > 1:
            yield file, frames
        else:
            yield from ((file, [new]) for new in frames)


def put_frames(dataset: Any, slices: NewSlices, frames: Sequence[NewFrame]) -> None:
    """Describe frames at new places in a dataset that describes those of the source.

    Positions, thickness and distance are the new ones; all else is that of the frame whose header
    each one continues.
    """
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence")
    if not per_frame:
        _put(dataset, dataset, slices, frames[0].place)
        for keyword in ("ImagesInAcquisition", "SliceLocation"):  # of the source's slices
            if keyword in dataset:
                delattr(dataset, keyword)
        if "InStackPositionNumber" in dataset:
            dataset.InStackPositionNumber = frames[0].place + 1
        return
    counted = [
        place
        for place, entry in enumerate(dataset.get("DimensionIndexSequence") or [])
        if entry.get("DimensionIndexPointer") in (_POSITION, _IN_STACK)
    ]
    groups = [deepcopy(per_frame[frame.source.index]) for frame in frames]
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    for measures in (item(group, "PixelMeasuresSequence") for group in shared):
        _measure(measures, slices)
    for group, frame in zip(groups, frames, strict=True):
        position = item(group, "PlanePositionSequence")
        _put(item(group, "PixelMeasuresSequence"), position, slices, frame.place)
        if (content := item(group, "FrameContentSequence")) is not None:
            _count(content, counted, frame.place + 1)
    dataset.PerFrameFunctionalGroupsSequence = groups
    dataset.NumberOfFrames = len(groups)


def _put(measures: Any, position: Any, slices: NewSlices, place: int) -> None:
    from pydicom.valuerep import DSfloat

    at = [DSfloat(v, auto_format=True) for v in slices.position(place)]
    position.ImagePositionPatient = at
    _measure(measures, slices)


def _measure(measures: Any, slices: NewSlices) -> None:
    from pydicom.valuerep import DSfloat

    if measures is not None:
        for keyword in ("SliceThickness", "SpacingBetweenSlices"):
            setattr(measures, keyword, DSfloat(slices.spacing, auto_format=True))


def _count(content: Any, counted: Sequence[int], number: int) -> None:
    """Number a frame by its slice, where the source's frames are numbered so."""
    if "InStackPositionNumber" in content:
        content.InStackPositionNumber = number
    values = list(content.get("DimensionIndexValues") or [])
    for place in counted:
        if place < len(values):
            values[place] = number
    if values:
        content.DimensionIndexValues = values
