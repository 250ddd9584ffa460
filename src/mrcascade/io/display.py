"""Orientation in which slices are drawn: radiological display derived from the affine."""

from dataclasses import dataclass

import numpy as np

from mrcascade.io.blocks import Axes
from mrcascade.io.formats import format_named
from mrcascade.io.new_pixels import Grid

# Letters of the ends of the RAS axes, where the coordinate is large and where it is small.
_LARGE, _SMALL = "RAS", "LPI"
# Along both axes of a radiological picture the RAS coordinate falls: rows run down to P or I,
# columns to L (axial, coronal) or P (sagittal). The notation is that of nibabel's orientations.
_RADIOLOGICAL = np.array([[0, -1], [1, -1]])

Orientation = tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class Display:
    """Orientation of a slice (rows, columns) in a picture.

    Attributes:
        orientation: for each axis of the slice, the picture's axis that it becomes (0: rows
            downwards, 1: columns to the right) and 1, or -1 where it is reversed, as
            `nibabel.orientations.apply_orientation` takes it.
        left, right, top, bottom: letter of the patient's side (R, L, A, P, S or I) at that edge
            of the picture, "" where it is unknown.
        aspect: height of a pixel of the picture divided by its width.
    """

    orientation: Orientation = ((0, 1), (1, 1))
    left: str = ""
    right: str = ""
    top: str = ""
    bottom: str = ""
    aspect: float = 1.0

    def turn(self, plane: np.ndarray) -> np.ndarray:
        """Return the pixels of a slice (rows, columns) as drawn, from the top left."""
        from nibabel.orientations import apply_orientation

        turned: np.ndarray = apply_orientation(plane, np.array(self.orientation))
        return turned


AS_STORED = Display()


def radiological(steps: np.ndarray) -> Display:
    """Return the radiological display of a plane.

    The world axis nearest to the plane's normal makes it axial, coronal or sagittal. Its rows and
    columns follow the world axes nearest to them:

      axial: anterior at the top, the patient's left on the right of the picture,
      coronal: superior at the top, the patient's left on the right,
      sagittal: superior at the top, anterior on the left.

    Args:
        steps: (3, 2), the steps in mm from row to row (first column) and from column to column, in
            RAS coordinates: two columns of an affine. They are not parallel.
    """
    from nibabel.orientations import io_orientation, ornt_transform

    normal = np.abs(np.cross(steps[:, 0], steps[:, 1]))
    horizontal, vertical = (axis for axis in range(3) if axis != normal.argmax())
    plane = np.eye(3)
    plane[:2, :2] = steps[[vertical, horizontal]]
    orientation = ornt_transform(io_orientation(plane), _RADIOLOGICAL)
    size = np.linalg.norm(steps, axis=0)
    height, width = size[np.argsort(orientation[:, 0])]
    first, second = ((int(axis), int(direction)) for axis, direction in orientation)
    return Display(
        orientation=(first, second),
        left=_LARGE[horizontal],
        right=_SMALL[horizontal],
        top=_LARGE[vertical],
        bottom=_SMALL[vertical],
        aspect=float(height / width),
    )


def display_of(image: Grid, axes: Axes, affine: np.ndarray | None = None) -> Display:
    """Return the display of the slices of an image along `axes` (rows, columns).

    It is radiological where the image lies in the patient. Without an affine, and where the affine
    gives distances only (`Format.oriented`), slices are shown as stored, with rows down.

    Args:
        image: image or source.
        axes: in-plane axes (rows, columns).
        affine: (4, 4) affine of the grid to draw, where it is not that of the image.
    """
    affine = image.affine if affine is None else affine
    if affine is None:
        return AS_STORED
    steps = affine[:3, list(axes)]
    if not format_named(image.format).oriented:
        height, width = np.linalg.norm(steps, axis=0)
        return Display(aspect=float(height / width))
    return radiological(steps)


def plane_steps(image: Grid, axes: Axes, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return the steps that `radiological` takes, for slices resampled to `shape`.

    Args:
        image: image or source.
        axes: in-plane axes (rows, columns).
        shape: rows and columns after resampling.

    Returns:
        (3, 2) in mm; None where `display_of` draws the image as stored.
    """
    if image.affine is None or not format_named(image.format).oriented:
        return None
    stored = [image.shape[axis] for axis in axes]
    steps: np.ndarray = image.affine[:3, list(axes)] * np.divide(stored, shape)
    return steps
