"""Choice of the planes of a volume that are restored, with its reason and its certainty."""

import math
from dataclasses import dataclass

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.io import sidecar
from mrcascade.io.blocks import Axes
from mrcascade.io.file import codec_of
from mrcascade.io.formats import format_named
from mrcascade.io.geometry import plane_name
from mrcascade.io.new_pixels import Grid

# Largest relative difference of voxel sizes that count as equal.
SPACING_TOLERANCE = 0.10
# Slices thicker than the pixels by less than this leave a doubt: many three-dimensional scans have
# voxels of 1 x 1 x 1.2 mm.
_CLOSE_SPACING = 0.25
# A slab is thinner than this share of its other sides.
_SLAB = 0.5


@dataclass(frozen=True)
class Planes:
    """The planes of an image.

    Attributes:
        axes: (rows, columns) of the array.
        reason: reason of the choice, such as "the spacing of its slices"; empty for an image that
            has no other planes.
        close: whether other planes are nearly as likely.
    """

    axes: Axes
    reason: str
    close: bool = False


def choose_planes(
    image: Grid, override: str | tuple[int, ...] | None = None, by: str = "--axes"
) -> Planes:
    """Choose the in-plane axes of an image by the first of these that decides:

    1. ``override``: two axis numbers, as a tuple or as text ("0,2"), kept in the order given.
    2. The format (`Format.plane`): a DICOM series has the rows and columns of its images, (1, 0),
       fastMRI (0, 1).
    3. The JSON file beside the image: `InPlaneAxes`, which this library writes, then
       `SliceEncodingDirection` (BIDS) and `ImageOrientationPatientDICOM` (dcm2niix).
    4. The header (`Codec.slice_axis`): for NIfTI, `dim_info`, then the range of its slice timing.
    5. The voxel sizes. Two that differ by less than `SPACING_TOLERANCE` are the sides of square
       pixels; otherwise slices follow the coarsest axis. A nearly isotropic volume is cut across
       its thinnest side if it is a slab, else into axial slices. An axis of phase encoding
       (`PhaseEncodingDirection` in the JSON file) is in-plane.

    The spacing along the slices alone can mislead: a 2-D scan with a coarse matrix may have pixels
    larger than its slices are thick.

    Axes that are chosen are in ascending order. An axis of size 1 is never in-plane, and neither is
    axis 3. Without an affine the slices follow axis 2, as an array has no geometry.

    Args:
        image: image or source.
        override: the user's choice, if any.
        by: name of the override in messages.

    Raises:
        MRCascadeError: the override is not two usable axes, or no two axes are usable.
    """
    if override is not None:
        return Planes(_checked_override(image.shape, override, str(image.source)), by)
    record = format_named(image.format)
    if record.plane is not None and min(image.shape[:2]) > 1:
        return Planes(record.plane, "its stored images")
    wide = _wide(image.shape)
    if len(wide) < 2:
        raise _single_line(f"{image.source} (shape {image.shape})")
    if record.sidecars and (own := sidecar.stated_axes(image.source, image.shape)):
        return Planes(own, "InPlaneAxes in its JSON file")
    if len(wide) == 2:
        return Planes((wide[0], wide[1]), "")
    axis, reason, close = _slice_axis(image)
    rows, columns = (a for a in wide if a != axis)
    return Planes((rows, columns), reason, close)


def choose_axes(image: Grid, override: str | tuple[int, ...] | None = None) -> Axes:
    """Return the axes that `choose_planes` chooses, without the reason."""
    return choose_planes(image, override).axes


def axes_of_array(
    shape: tuple[int, ...], affine: np.ndarray | None, override: tuple[int, ...] | None = None
) -> Axes:
    """Choose the in-plane axes of an array of two or three spatial axes that is of no file.

    The override decides, else rule 5 of `choose_planes`. Raises MRCascadeError as `choose_planes`.

    Example:
        >>> import numpy as np
        >>> from mrcascade.io.planes import axes_of_array
        >>> axes_of_array((64, 20, 64), np.diag([1.0, 5.0, 1.0, 1.0]))
        (0, 2)
    """
    if override is not None:
        return _checked_override(shape, override, "an array")
    wide = _wide(shape)
    if len(wide) < 2:
        raise _single_line(f"an array of shape {shape}")
    if len(wide) > 2:
        wide.remove(2 if affine is None else _by_voxel_size(shape, affine)[0])
    return wide[0], wide[1]


def describe_planes(image: Grid, planes: Planes) -> str:
    """Describe planes, with the reason of the choice.

    For example "axes 0,2 (axial), 217 x 182 pixels of 1 x 1 mm, 9 slices, by the spacing of its
    slices". Where the choice is close, it adds how to override it.
    """
    (rows, columns), shape = planes.axes, image.shape
    slices = math.prod(shape) // (shape[rows] * shape[columns])
    size = ""
    if image.affine is not None:
        size = f" of {image.spacing[rows]:.4g} x {image.spacing[columns]:.4g} mm"
    text = (
        f"{_named(image, planes)}, {shape[rows]} x {shape[columns]} pixels{size},"
        f" {slices} slice{'s' * (slices != 1)}"
    )
    if planes.reason:
        text += f", by {planes.reason}"
    if planes.close and (others := _others(image, planes)):
        text += f"; other planes are nearly as likely: choose them with --axes {others}"
    return text


def with_planes(
    error: MRCascadeError, image: Grid, planes: Planes, remedy: str | None = None
) -> MRCascadeError:
    """Add to an error about sizes the planes in which they were counted.

    Args:
        error: the error.
        image: image or source.
        planes: its planes. Without other possible planes the error stays as it is.
        remedy: how to choose other planes; by default ``--axes`` with their numbers.
    """
    others = _others(image, planes)
    if not others:
        return error
    return MRCascadeError(
        f"{error} (the planes are {_named(image, planes)}, by {planes.reason};"
        f" {remedy or f'--axes {others}'} chooses others)"
    )


def _named(image: Grid, planes: Planes) -> str:
    rows, columns = planes.axes
    return f"axes {rows},{columns} ({plane_name(image, planes.axes)})"


def _others(image: Grid, planes: Planes) -> str:
    """Return the other pairs of axes, as ``--axes`` takes them; "" where there are none."""
    wide = _wide(image.shape)
    pairs = [(a, b) for a in wide for b in wide if a < b and {a, b} != set(planes.axes)]
    return " or ".join(f"{a},{b}" for a, b in pairs)


def _wide(shape: tuple[int, ...]) -> list[int]:
    return [axis for axis in range(min(len(shape), 3)) if shape[axis] > 1]


def _single_line(what: str) -> MRCascadeError:
    return MRCascadeError(
        f"{what} is a single line of voxels; give an image with at least two axes longer than 1"
    )


def _slice_axis(image: Grid) -> tuple[int, str, bool]:
    """Return the slice axis, the reason, and whether the choice is close."""
    if image.affine is None:
        rows, columns, slices = image.shape[:3]
        return 2, "the order rows, columns, slices", slices > min(rows, columns)
    phase = None
    axis, reason, close = _by_voxel_size(image.shape, image.affine)
    record = format_named(image.format)
    stated = codec_of(record).slice_axis(image.header)
    if record.sidecars:
        stated = sidecar.slice_axis(image.source, image.shape, image.affine) or stated
        phase = sidecar.phase_axis(image.source)
    if stated is not None:
        return *stated, not close and stated[0] != axis
    if axis == phase:
        left = [a for a in range(3) if a != phase]
        axis = max(left, key=lambda a: image.spacing[a])
        return axis, "PhaseEncodingDirection in its JSON file and the voxel sizes", True
    return axis, reason, close


def _by_voxel_size(shape: tuple[int, ...], affine: np.ndarray) -> tuple[int, str, bool]:
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    first, _, third = order = [int(axis) for axis in np.argsort(spacing, kind="stable")]
    fine, middle, coarse = (float(spacing[axis]) for axis in order)
    slab = _slab_axis(shape, spacing)
    if coarse <= fine * (1 + SPACING_TOLERANCE):
        if slab is not None:
            return slab, "its thinnest side, as its voxels are nearly isotropic", True
        upwards = max(range(3), key=lambda axis: abs(affine[2, axis]) / spacing[axis])
        return upwards, "the convention for nearly isotropic voxels", True
    thick = coarse / middle
    if middle / fine <= min(thick, 1 + SPACING_TOLERANCE):
        close = thick <= 1 + _CLOSE_SPACING or slab not in (None, third)
        return third, "the spacing of its slices", close
    if thick <= 1 + SPACING_TOLERANCE:
        return first, "its square pixels", slab != first
    clear = thick > middle / fine
    if slab is None or slab == third:
        return third, "the spacing of its slices", slab is None and not clear
    if clear:
        return third, "the spacing of its slices", True
    return slab, "its thinnest side", True


def _slab_axis(shape: tuple[int, ...], spacing: np.ndarray) -> int | None:
    """Return the axis along which the volume has the fewest samples and is by far the thinnest.

    Unlike the spacing, the extent in mm does not depend on the matrix.
    """
    extent = np.multiply(shape[:3], spacing)
    axis = int(extent.argmin())
    others = [a for a in range(3) if a != axis]
    thin = extent[axis] < _SLAB * extent[others].min()
    return axis if thin and shape[axis] < min(shape[a] for a in others) else None


def _checked_override(shape: tuple[int, ...], override: str | tuple[int, ...], what: str) -> Axes:
    named = override if isinstance(override, str) else ",".join(str(axis) for axis in override)
    try:
        axes = tuple(int(axis) for axis in named.split(","))
    except ValueError:
        axes = ()
    if len(axes) != 2 or axes[0] == axes[1]:
        problem = "are not two different axis numbers"
    elif not all(0 <= axis < min(len(shape), 3) for axis in axes):
        problem = f"are not both spatial axes of an image of shape {shape}"
    elif any(shape[axis] == 1 for axis in axes):
        problem = f"name an axis of size 1 (shape {shape})"
    else:
        return axes[0], axes[1]
    usable = [str(a) for a in _wide(shape)]
    raise MRCascadeError(
        f"in-plane axes '{named}' for {what} {problem}; "
        f"give two of {', '.join(usable)}, such as {','.join(usable[:2])}"
    )
