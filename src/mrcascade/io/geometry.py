"""Volumes as stacks of slices, the names of planes, and the affine of a resampled grid."""

import numpy as np

from mrcascade.io.blocks import Axes, StackOrder
from mrcascade.io.formats import format_named
from mrcascade.io.image import Image
from mrcascade.io.new_pixels import Grid
from mrcascade.operators.kernels import kernel_named

# Largest angle between the normal of a named plane and the world axis.
_NAMED_WITHIN_DEGREES = 30.0
_PLANES = ("sagittal", "coronal", "axial")  # by the world axis (R, A, S) along the normal


def plane_name(image: Grid, axes: Axes) -> str:
    """Return the name of the plane of `axes`: "axial", "coronal" or "sagittal".

    "oblique" where the normal is more than 30 degrees off all three axes; "unknown" without an
    affine and where the affine gives distances only (`Format.oriented`).
    """
    if image.affine is None or not format_named(image.format).oriented:
        return "unknown"
    normal = np.cross(image.affine[:3, axes[0]], image.affine[:3, axes[1]])
    alignment = np.abs(normal) / np.linalg.norm(normal)
    nearest = int(alignment.argmax())
    if alignment[nearest] < np.cos(np.deg2rad(_NAMED_WITHIN_DEGREES)):
        return "oblique"
    return _PLANES[nearest]


def to_slices(image: Image, axes: Axes) -> np.ndarray:
    """Return `image.data` as a new, contiguous stack of slices (S, H, W) of the same type.

    A fourth dimension of T volumes of S0 slices gives S = T S0, with slice s of volume t at t S0 +
    s.
    """
    moved = np.transpose(image.data, _stacked(image, axes))
    return np.array(moved, order="C").reshape(-1, *moved.shape[-2:])


def from_slices(stack: np.ndarray, image: Image, axes: Axes) -> np.ndarray:
    """Return the array of an image from its slices, the inverse of `to_slices`.

    Args:
        stack: (S, H', W') with the S of `to_slices(image, axes)`; H' and W' are free.
        image: image that gives the order of axes and the number of slices.
        axes: in-plane axes (rows, columns).

    Returns:
        The array in the axis order of `image.data`, with H' and W' along `axes`.

    Raises:
        ValueError: S does not fit the image.
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
    """Return the affine of the grid that a kernel makes of the in-plane grid of `affine`.

    With f = H'/H and W'/W (f < 1 when downsampling), M the 3x3 part of the affine and t its
    translation, M' = M diag(1/f) for every kernel. The translation follows the kernel's origin:

      "edges" (the edges of the field of view stay, as for "area"): t' = t + M (1/(2f) - 1/2),
      "voxel" (the centre of voxel 0 stays, as for "fourier"): t' = t.

    Mixing the two moves the image by (f - 1)/(2f) input voxels.

    Args:
        affine: (4, 4), voxel index -> world.
        axes: in-plane axes (rows, columns).
        kernel: name of the kernel.
        shape_in: (H, W), samples of the grid of `affine` along `axes`.
        shape_out: (H', W'), samples of the new grid.

    Raises:
        MRCascadeError: the kernel is unknown.

    Example:
        >>> import numpy as np
        >>> import mrcascade
        >>> low = np.diag([2.0, 2.0, 5.0, 1.0])
        >>> mrcascade.resampled_affine(low, (0, 1), "fourier", (32, 32), (64, 64)).diagonal()
        array([1., 1., 5., 1.])
        >>> mrcascade.resampled_affine(low, (0, 1), "area", (32, 32), (64, 64))[:3, 3]
        array([-0.5, -0.5,  0. ])
    """
    step = np.ones(3)  # 1/f per axis, the size of an output voxel in input voxels
    step[list(axes)] = np.divide(shape_in, shape_out)
    result = np.array(affine, dtype=np.float64)
    result[:3, :3] *= step
    shift = kernel_named(kernel).shift(step)
    if shift.any():
        result[:3, 3] += affine[:3, :3] @ shift
    return result


def _stacked(image: Image, axes: Axes) -> tuple[int, ...]:
    """Axes of the image in the order (fourth, slice, rows, columns), as far as it has them."""
    shape = image.shape
    return (*StackOrder(shape, tuple(range(len(shape))), axes).outer, *axes)
