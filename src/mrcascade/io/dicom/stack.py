"""The frames of a series as one array: sorted by position, with the affine of their grid."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.io.dicom.frames import FileFacts, Frame
from mrcascade.io.dicom.parts import MAGNITUDE
from mrcascade.io.dicom.timing import volume_seconds
from mrcascade.io.dicom.volumes import by_number, in_volumes

# Frames closer than this along the slice normal (mm) lie in one slice: scanners write positions
# with few digits, and slices are never this thin.
_SAME_SLICE = 0.01
# Direction cosines and pixel spacings of one series differ by less than this.
_SAME_DIRECTION = 1e-3
_SAME_SPACING = 1e-3
# A slice may be off the regular grid by this share of the distance between slices.
_IRREGULAR = 0.1
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Stack:
    """A series in the order in which its pixels are read.

    Attributes:
        frames: slice by slice, volume by volume.
        shape: (columns, rows, slices), and volumes where there are several.
        affine: (4, 4) float64, index -> RAS mm; None where the files do not state it.
        irregular: deviation of the slices from the affine's grid, in words; None where there is
            none.
        seconds: time from one volume to the next, None where unknown (`volume_seconds`).
    """

    frames: tuple[Frame, ...]
    shape: tuple[int, ...]
    affine: np.ndarray | None
    irregular: str | None
    seconds: float | None


def stack_of(files: Sequence[FileFacts], where: str) -> Stack:
    """Sort the frames of one series.

    Args:
        files: facts of its files.
        where: name of the series in messages.

    Raises:
        MRCascadeError: frames differ in size, orientation or kind; slices have different numbers
            of frames; or nothing distinguishes the frames at a position.
    """
    frames = [frame for f in files for frame in f.frames]
    _refuse_mixtures(files, frames, where)
    slices = _slices(frames, where)
    volumes = len(slices[0])
    if any(len(s) != volumes for s in slices):
        counts = " to ".join(str(f(len(s) for s in slices)) for f in (min, max))
        raise MRCascadeError(
            f"{where} has {counts} images per slice position, so some are missing or belong to"
            " another series; export it again"
        )
    slices = in_volumes(slices, where)
    ordered = tuple(s[v] for v in range(volumes) for s in slices)
    pixels = files[0].format
    shape = (pixels.columns, pixels.rows, len(slices)) + (volumes,) * (volumes > 1)
    affine, irregular = _grid([s[0] for s in slices], files[0].thickness)
    seconds = volume_seconds([frame.marks for frame in slices[0]], files[0].timing)
    return Stack(ordered, shape, affine, irregular, seconds)


def _refuse_mixtures(files: Sequence[FileFacts], frames: Sequence[Frame], where: str) -> None:
    sizes = sorted({(f.format.rows, f.format.columns) for f in files})
    if len(sizes) > 1:
        raise _mixed(where, " and ".join(f"{r} x {c} pixels" for r, c in sizes[:2]))
    parts = sorted({frame.part for frame in frames})
    if len(parts) > 1:
        raise _mixed(where, f"{parts[0]} and {parts[1]}")
    kinds = sorted({frame.kind for frame in frames})
    if len(kinds) > 1:
        raise _mixed(where, f"images of type {kinds[0] or 'none'} and {kinds[1]}")
    if parts[0] != MAGNITUDE:
        raise MRCascadeError(
            f"{where} holds {parts[0]}, not magnitudes; give the magnitudes, or magnitude and phase"
            " as complex NIfTI for a prior of complex images"
        )
    for name, tolerance in (("orientation", _SAME_DIRECTION), ("spacing", _SAME_SPACING)):
        values = [getattr(frame, name) for frame in frames]
        if any((v is None) != (values[0] is None) for v in values):
            raise _mixed(where, f"images with and without {name}")
        if values[0] is not None and np.ptp(values, axis=0).max() > tolerance:
            raise _mixed(where, f"images of different {name}")
    if any((f.position is None) != (frames[0].position is None) for f in frames):
        raise _mixed(where, "images with and without position")
    if len({f.format.inverted for f in files}) > 1:
        raise _mixed(where, "images with black as zero and with white as zero")


def _mixed(where: str, what: str) -> MRCascadeError:
    return MRCascadeError(f"{where} mixes {what}; give the files of one of them")


def _slices(frames: Sequence[Frame], where: str) -> list[list[Frame]]:
    """Group frames by position along the slice normal, in its direction."""
    first = frames[0]
    if first.position is None or first.orientation is None:
        return [[f] for f in sorted(frames, key=by_number)]
    normal = np.cross(first.orientation[:3], first.orientation[3:])
    heights = [float(np.dot(normal, frame.position)) for frame in frames]  # type: ignore[arg-type]
    ordered = sorted(zip(heights, frames, strict=True), key=lambda pair: pair[0])
    groups: list[list[Frame]] = []
    top = -np.inf
    for height, frame in ordered:
        if height - top > _SAME_SLICE:
            groups.append([])
        groups[-1].append(frame)
        top = height
    return groups


def _grid(slices: Sequence[Frame], thickness: float) -> tuple[np.ndarray | None, str | None]:
    """Return the affine of one frame per slice, and the irregularity of their positions."""
    first = slices[0]
    if first.position is None or first.orientation is None or first.spacing is None:
        return None, None
    along_row, along_column = np.reshape(first.orientation, (2, 3))
    between_rows, between_columns = first.spacing
    positions = np.array([frame.position for frame in slices])
    if len(slices) > 1:
        step = (positions[-1] - positions[0]) / (len(slices) - 1)
    else:
        step = np.cross(along_row, along_column) * thickness
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack(
        [along_row * between_columns, along_column * between_rows, step]
    )
    affine[:3, 3] = positions[0]
    return _LPS_TO_RAS @ affine, _irregularity(positions, step)


def _irregularity(positions: np.ndarray, step: np.ndarray) -> str | None:
    expected = positions[0] + np.arange(len(positions))[:, None] * step
    if np.linalg.norm(positions - expected, axis=1).max() <= _IRREGULAR * np.linalg.norm(step):
        return None
    gaps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    return f"its slices are {gaps.min():.4g} to {gaps.max():.4g} mm apart"
