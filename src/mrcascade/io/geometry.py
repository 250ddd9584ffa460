"""Which axes are in-plane, volumes as stacks of slices, and the affine of a resampled grid."""

import math
from pathlib import Path
from typing import Protocol

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.io.blocks import Axes, StackOrder
from mrcascade.io.image import Image

# Kernels by what they keep in place: the edges of the field of view, or the centre of voxel 0.
EDGE_KERNELS = ("area", "bicubic")
ORIGIN_KERNELS = ("fourier", "gaussian")

# (rows, columns) of the images of a DICOM series in the array that they are read into.
DICOM_PLANE: Axes = (1, 0)
# Voxel sizes that differ by less than this count as equal.
SPACING_TOLERANCE = 0.10
# A plane keeps its name up to this angle between its normal and the world axis.
_NAMED_WITHIN_DEGREES = 30.0
_PLANES = ("sagittal", "coronal", "axial")  # by the world axis (R, A, S) along the normal


class Grid(Protocol):
    """What geometry needs of an image: an `Image`, or a `Source` that is yet to be read."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def affine(self) -> np.ndarray | None: ...

    @property
    def source(self) -> Path: ...

    @property
    def format(self) -> str: ...

    @property
    def spacing(self) -> tuple[float, ...]: ...


def choose_axes(image: Grid, override: str | tuple[int, ...] | None = None) -> Axes:
    """The in-plane axes (rows, columns) of an image.

    DICOM says what a slice is: there they are (1, 0), the rows and columns of the stored images,
    whose headers the results continue. In all other formats they are in ascending order:
    The coarsest spatial axis is the slice axis, so the two finest are in-plane. Axes within
    `SPACING_TOLERANCE` of the coarsest are as good: of these the one nearest to the world's
    inferior-superior axis is the slice axis, so an isotropic volume is cut into axial slices.
    An axis of size 1 is never in-plane. Without an affine the slices are axis 2, (rows, columns,
    slices): an array has no geometry to tell otherwise. Axis 3 is never in-plane.

    override: two axis numbers, as a tuple or as text ("0,2"), returned in the order given.
    Raises MRCascadeError if the override is not two usable axes, or no two axes are.
    """
    if override is not None:
        return _checked_override(image, override)
    if image.format == "dicom" and min(image.shape[:2]) > 1:
        return DICOM_PLANE
    wide = [axis for axis in range(min(len(image.shape), 3)) if image.shape[axis] > 1]
    if len(wide) < 2:
        raise MRCascadeError(
            f"{image.source} (shape {image.shape}) is a single line of voxels; "
            "give an image with at least two axes longer than 1"
        )
    if len(wide) == 3:
        wide.remove(2 if image.affine is None else _slice_axis(image.affine))
    return wide[0], wide[1]


def plane_name(image: Grid, axes: Axes) -> str:
    """The world plane of `axes`: "axial", "coronal" or "sagittal".

    "oblique" where the normal is more than 30 degrees off all three, "unknown" without an affine.
    """
    if image.affine is None:
        return "unknown"
    normal = np.cross(image.affine[:3, axes[0]], image.affine[:3, axes[1]])
    alignment = np.abs(normal) / np.linalg.norm(normal)
    nearest = int(alignment.argmax())
    if alignment[nearest] < np.cos(np.deg2rad(_NAMED_WITHIN_DEGREES)):
        return "oblique"
    return _PLANES[nearest]


def describe_axes(image: Grid, axes: Axes) -> str:
    """`axes` in words: "axes 0,2 (axial), 217 x 182 pixels of 1 x 1 mm, 9 slices"."""
    (rows, columns), shape = axes, image.shape
    slices = math.prod(shape) // (shape[rows] * shape[columns])
    size = ""
    if image.affine is not None:
        size = f" of {image.spacing[rows]:.4g} x {image.spacing[columns]:.4g} mm"
    return (
        f"axes {rows},{columns} ({plane_name(image, axes)}), {shape[rows]} x {shape[columns]} "
        f"pixels{size}, {slices} slice{'s' * (slices != 1)}"
    )


def to_slices(image: Image, axes: Axes) -> np.ndarray:
    """`image.data` as a new, contiguous stack of slices, (S, H, W); type unchanged.

    A fourth dimension of T volumes of S0 slices gives S = T S0, slice s of volume t at t S0 + s.
    """
    moved = np.transpose(image.data, _stacked(image, axes))
    return np.array(moved, order="C").reshape(-1, *moved.shape[-2:])


def from_slices(stack: np.ndarray, image: Image, axes: Axes) -> np.ndarray:
    """The inverse of `to_slices`, for slices of any in-plane size.

    stack: (S, H', W') with the S of `to_slices(image, axes)`. Returns the array in the axis order
    of `image.data` with H' and W' along `axes`. Raises ValueError for another S.
    """
    order = _stacked(image, axes)
    outer = tuple(image.shape[axis] for axis in order[:-2])
    if stack.ndim != 3 or stack.shape[0] != int(np.prod(outer)):
        raise ValueError(f"stack of shape {stack.shape} does not fit slices {outer} of the image")
    moved = stack.reshape(*outer, *stack.shape[1:])
    return np.ascontiguousarray(np.transpose(moved, np.argsort(order)))


def resampled_affine(
    affine: np.ndarray, axes: Axes, kernel: str, shape_in: Axes, shape_out: Axes
) -> np.ndarray:
    """The affine of the grid that `kernel` makes of the in-plane grid of `affine`.

    affine: (4, 4), voxel index -> world, of the grid of `shape_in` = (H, W) samples along `axes`.
    shape_out: the new (H', W'). With f = H'/H and W'/W (f < 1 when downsampling), M the 3x3 part
    of the affine and t its translation, M' = M diag(1/f) for every kernel, and
      area, bicubic (pixels share the edges of the field of view): t' = t + M (1/(2f) - 1/2),
      fourier, gaussian (the centre of voxel 0 stays): t' = t.
    Where "area" is given for a "fourier" grid, the image lies (f - 1)/(2f) input voxels off.
    Raises ValueError for an unknown kernel.
    """
    if kernel not in EDGE_KERNELS + ORIGIN_KERNELS:
        raise ValueError(f"unknown kernel {kernel!r}; known are {EDGE_KERNELS + ORIGIN_KERNELS}")
    step = np.ones(3)  # 1/f per axis, the size of an output voxel in input voxels
    step[list(axes)] = np.divide(shape_in, shape_out)
    result = np.array(affine, dtype=np.float64)
    result[:3, :3] *= step
    if kernel in EDGE_KERNELS:
        result[:3, 3] += affine[:3, :3] @ (step / 2 - 0.5)
    return result


def _slice_axis(affine: np.ndarray) -> int:
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    coarse = [a for a in range(3) if spacing[a] * (1 + SPACING_TOLERANCE) >= spacing.max()]
    return max(coarse, key=lambda axis: abs(affine[2, axis]) / spacing[axis])


def _checked_override(image: Grid, override: str | tuple[int, ...]) -> Axes:
    named = override if isinstance(override, str) else ",".join(str(axis) for axis in override)
    try:
        axes = tuple(int(axis) for axis in named.split(","))
    except ValueError:
        axes = ()
    shape = image.shape
    if len(axes) != 2 or axes[0] == axes[1]:
        problem = "are not two different axis numbers"
    elif not all(0 <= axis < min(len(shape), 3) for axis in axes):
        problem = f"are not both spatial axes of an image of shape {shape}"
    elif any(shape[axis] == 1 for axis in axes):
        problem = f"name an axis of size 1 (shape {shape})"
    else:
        return axes[0], axes[1]
    usable = [str(a) for a in range(min(len(shape), 3)) if shape[a] > 1]
    raise MRCascadeError(
        f"in-plane axes '{named}' for {image.source} {problem}; "
        f"give two of {', '.join(usable)}, such as {','.join(usable[:2])}"
    )


def _stacked(image: Image, axes: Axes) -> tuple[int, ...]:
    """Axes of the image in the order (fourth, slice, rows, columns), as far as it has them."""
    shape = image.shape
    return (*StackOrder(shape, tuple(range(len(shape))), axes).outer, *axes)
