"""A stack of slices of any place and direction, as a linear measurement of a volume.

Volume and stack are placed by their affines. The volume is turned into the directions of the stack:
one interpolation for each axis of rotation, none for stacks along the volume's axes. Along the
three axes the stack is then separable: the slice profile, and the rows and columns of its pixels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.operators.kernels import Matrix
from mrcascade.operators.profile import SliceProfile

Size = tuple[int, int, int]
Box = list[tuple[int, int]]

# Half the width of the interpolation kernel, in samples.
_LANCZOS = 3
# Displacement that a rotation may cause anywhere without being one (samples).
_STILL = 1e-3
# Largest cosine of two axes that count as perpendicular.
_SKEW = 1e-3
# Largest difference from 1 of the weight that a voxel has within the volume.
_INSIDE = 1e-2
# Weights below this are rounding errors of places.
_ROUNDING = 1e-6
# Planes in which a rotation acts, by its axis.
_PLANES = ((1, 2), (2, 0), (0, 1))


class StackOperator:
    """What a stack of slices (S, h, w) sees of a volume (n, H, W).

    Across the slices a voxel is the mean by the slice profile. In plane it is a sample of the image
    that a k-space of the stack's matrix holds: of the volume up to the Nyquist frequency of the
    stack's pixels (Lanczos kernel of three lobes, as wide as a pixel, and at least as a voxel of
    the volume). Pixels that lie on voxels of their size are these voxels.

    Attributes:
        in_shape: (n, H, W).
        out_shape: (S, h, w).
        inside: (S, h, w), whether the volume holds what a voxel sees, to 1 % of its weight. Beyond
            its field of view the operator takes the volume as zero.

    Example:
        >>> import numpy as np
        >>> from mrcascade.operators.profile import GAUSSIAN
        >>> from mrcascade.operators.stack import StackOperator
        >>> coronal = np.eye(4)[:, [1, 0, 2, 3]] @ np.diag([4.0, 1.0, 1.0, 1.0])
        >>> coronal[1, 3] = 1.5  # centre of the first slice, whose edge is that of the volume
        >>> stack = StackOperator((8, 16, 12), np.eye(4), (4, 8, 12), coronal, 4.0, GAUSSIAN)
        >>> seen = stack(np.ones((8, 16, 12)))
        >>> seen.shape, seen[1:3].round(6).min(), stack.inside.any((1, 2))
        ((4, 8, 12), 1.0, array([False,  True,  True, False]))
    """

    def __init__(
        self,
        shape: Size,
        affine: np.ndarray,
        stack_shape: Size,
        stack_affine: np.ndarray,
        thickness: float,
        profile: SliceProfile | None,
        *,
        ends: bool = False,
        dtype: Any = np.float64,
    ) -> None:
        """Make the operator.

        Args:
            shape: (n, H, W) of the volume.
            affine: (4, 4), from an index of the volume to millimetres.
            stack_shape: (S, h, w) of the stack.
            stack_affine: (4, 4), from an index of the stack to millimetres.
            thickness: thickness of its slices (mm).
            profile: their profile; None takes all three axes as in-plane ones, so that the operator
                interpolates the volume on another grid.
            ends: whether the first and the last sample of the volume go on beyond it along the
                slice axis, as for the volume's own slices (`SliceProfile.matrix`).
            dtype: type of the weights, best that of the volumes.

        Raises:
            MRCascadeError: the axes of the volume or of the stack are not perpendicular.
        """
        self.in_shape, self.out_shape = shape, stack_shape
        frame = _Frame.of(affine, stack_affine)
        boxes = _boxes(frame, shape, stack_shape, thickness)
        self._window = tuple(slice(low, high) for low, high in boxes[0])
        whole: Box = [(0, n) for n in shape]
        turned = [
            _turn(frame, axis, boxes[axis], boxes[axis + 1], dtype)
            for axis in range(3)
            if frame.turns(axis, whole)
        ]
        separable = []
        for axis, own in enumerate(frame.order):
            low, high = boxes[-1][axis]
            places = frame.places(axis, stack_shape[own]) - low
            count = high - low
            if own or profile is None:
                rows, sums = _lanczos(places, count, frame.pixels[own] / frame.spacing[axis])
            else:
                width = thickness / frame.spacing[axis]
                rows, sums = _slices(profile, places, count, width, ends)
            separable.append(_Pass.of((axis,), (count,), (len(places),), rows, sums, dtype))
        # Passes that leave few samples come first.
        separable.sort(key=lambda one: one.sizes[0] / one.before[0])
        self._passes = [one for one in (*turned, *separable) if not one.idle]
        self._order = frame.order
        held = np.ones([high - low for low, high in boxes[0]], dtype)
        for one in self._passes:
            held = one.held(held)
        self.inside: np.ndarray = held.transpose(np.argsort(self._order)) >= 1 - _INSIDE

    def __call__(self, volume: np.ndarray) -> np.ndarray:
        """Return the stack (S, h, w) that sees a volume (n, H, W)."""
        x = volume[self._window]
        for one in self._passes:
            x = one.forward(x)
        return np.ascontiguousarray(x.transpose(np.argsort(self._order)))

    def adjoint(self, stack: np.ndarray) -> np.ndarray:
        """Return the transpose of the operator times a stack (S, h, w), a volume (n, H, W)."""
        x = stack.transpose(self._order)
        for one in reversed(self._passes):
            x = one.adjoint(x)
        volume = np.zeros(self.in_shape, x.dtype)
        volume[self._window] = x
        return volume


@dataclass(frozen=True)
class _Pass:
    """A sparse matrix along one axis of a volume, or on its planes of two axes."""

    axes: tuple[int, ...]
    before: tuple[int, ...]  # sizes of the axes
    sizes: tuple[int, ...]  # their sizes afterwards
    matrix: Any
    transposed: Any
    sums: np.ndarray  # of the magnitudes of a row's weights, also of those beyond the volume

    @classmethod
    def of(
        cls,
        axes: Sequence[int],
        before: Sequence[int],
        sizes: Sequence[int],
        rows: Any,
        sums: np.ndarray,
        dtype: Any,
    ) -> _Pass:
        from scipy.sparse import csr_array

        matrix = csr_array(rows, dtype=dtype)
        return cls(tuple(axes), tuple(before), tuple(sizes), matrix, csr_array(matrix.T), sums)

    @property
    def idle(self) -> bool:
        """Whether the pass changes nothing."""
        m, n = self.matrix, self.matrix.shape[0]
        return bool(m.shape == (n, n) and m.nnz == n and np.all(m.diagonal() == 1))

    def forward(self, x: np.ndarray) -> np.ndarray:
        return self._through(x, self.matrix, self.sizes)

    def adjoint(self, x: np.ndarray) -> np.ndarray:
        return self._through(x, self.transposed, self.before)

    def held(self, share: np.ndarray) -> np.ndarray:
        """Return the share of its weights that each sample has within the volume.

        share: the same before the pass.
        """
        from scipy.sparse import diags_array

        magnitudes = (diags_array(1 / self.sums) @ abs(self.matrix)).astype(share.dtype)
        return self._through(share, magnitudes, self.sizes)

    def _through(self, x: np.ndarray, matrix: Any, sizes: tuple[int, ...]) -> np.ndarray:
        front = range(len(self.axes))
        moved = np.moveaxis(x, self.axes, front)
        flat = matrix @ moved.reshape(matrix.shape[1], -1)
        return np.moveaxis(flat.reshape(*sizes, *moved.shape[len(sizes) :]), front, self.axes)


@dataclass(frozen=True)
class _Frame:
    """How the axes of a stack lie in a volume.

    A point u (index of the stack) lies at ``g = R v`` in the volume's own directions (mm from its
    first voxel), where the axes of v are those of the stack: ``v[a] = start[a] + step[a] u[b]``
    with ``b = order[a]``.

    Attributes:
        order: axis b of the stack along each axis a of the volume.
        step, start: see above (mm).
        spacing: size of the volume's voxels (mm).
        pixels: size of the stack's voxels (mm), by axes of the stack.
        angles: rotations about the volume's axes 0, 1, 2, the last one acting first on v.
    """

    order: tuple[int, ...]
    step: np.ndarray
    start: np.ndarray
    spacing: np.ndarray
    pixels: np.ndarray
    angles: np.ndarray

    @classmethod
    def of(cls, affine: np.ndarray, stack_affine: np.ndarray) -> _Frame:
        from scipy.spatial.transform import Rotation

        directions, spacing = _directions(affine, "the volume")
        own, pixels = _directions(stack_affine, "a stack")
        turn = directions.T @ own
        orders = list(itertools.permutations(range(3)))
        order = max(orders, key=lambda o: np.prod([abs(turn[a, b]) for a, b in enumerate(o)]))
        signs = np.array([np.sign(turn[a, b]) for a, b in enumerate(order)])
        rotation = turn[:, order] * signs
        angles = Rotation.from_matrix(rotation).as_euler("XYZ")
        start = rotation.T @ directions.T @ (stack_affine[:3, 3] - affine[:3, 3])
        return cls(order, signs * pixels[list(order)], start, spacing, pixels, angles)

    def places(self, axis: int, count: int) -> Matrix:
        """Return where ``count`` samples of the stack lie along an axis of v, in voxels."""
        return np.asarray(
            (self.start[axis] + self.step[axis] * np.arange(count)) / self.spacing[axis]
        )

    def turns(self, axis: int, box: Box) -> bool:
        """Return whether the rotation about an axis moves a part of a box by more than rounding."""
        extent = np.array([b - a for a, b in box]) * self.spacing
        return bool(abs(self.angles[axis]) * extent.max() > _STILL * self.spacing.min())

    def rotation(self, axis: int, angle: float) -> np.ndarray:
        """Return a rotation about an axis of the volume, from index to index."""
        p, q = _PLANES[axis]
        result = np.eye(3)
        result[[p, q], [p, q]] = math.cos(angle)
        result[q, p], result[p, q] = math.sin(angle), -math.sin(angle)
        return result * self.spacing / self.spacing[:, None]


def _directions(affine: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the unit vectors of an affine's axes, as columns, and their lengths."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    directions = affine[:3, :3] / lengths
    if np.abs(directions.T @ directions - np.eye(3)).max() > _SKEW:
        raise MRCascadeError(f"the axes of {what} are not perpendicular; resample it first")
    left, _, right = np.linalg.svd(directions)
    return left @ right, lengths


def _boxes(frame: _Frame, shape: Size, stack_shape: Size, thickness: float) -> list[Box]:
    """Return what is needed of the volume, and after the rotation about each axis in turn.

    Boxes are (first, end) per axis, in voxels from the volume's first one.
    """
    whole: Box = [(0, n) for n in shape]
    most = [whole]
    for axis, angle in enumerate(frame.angles):
        turned = _reached(most[-1], frame.rotation(axis, -angle))
        most.append(turned if frame.turns(axis, whole) else most[-1])
    needed = []
    for axis, own in enumerate(frame.order):
        places = frame.places(axis, stack_shape[own])
        width = max(1.0, (frame.pixels[own] if own else thickness) / frame.spacing[axis])
        reach = _LANCZOS * width + 1
        needed.append((math.floor(places.min() - reach), math.ceil(places.max() + reach) + 1))
    boxes = [_common(needed, most[-1])]
    for axis in (2, 1, 0):
        after = boxes[0]
        boxes.insert(0, after)
        if frame.turns(axis, whole):
            reached = _reached(after, frame.rotation(axis, frame.angles[axis]))
            grown = [(a - _LANCZOS, b + _LANCZOS) for a, b in reached]
            grown[axis] = after[axis]
            boxes[0] = _common(grown, most[axis])
    if any(low >= high for low, high in boxes[0]):
        raise MRCascadeError("a stack and the volume have no place in common")
    return boxes


def _reached(box: Box, turn: np.ndarray) -> Box:
    """Return the box of what a rotation makes of a box."""
    corners = np.array(list(itertools.product(*((a, b - 1) for a, b in box)))) @ turn.T
    low, high = np.floor(corners.min(0)), np.ceil(corners.max(0))
    return [(int(a), int(b) + 1) for a, b in zip(low, high, strict=True)]


def _common(box: Box, other: Box) -> Box:
    return [(max(a, c), min(b, d)) for (a, b), (c, d) in zip(box, other, strict=True)]


def _turn(frame: _Frame, axis: int, before: Box, after: Box, dtype: Any) -> _Pass:
    """Return the rotation of a volume about an axis, between two boxes.

    A point v of the new volume has the value of the old one at ``R v``.
    """
    from scipy.sparse import coo_array

    plane = _PLANES[axis]
    old, new = [before[a] for a in plane], [after[a] for a in plane]
    turn = frame.rotation(axis, frame.angles[axis])[np.ix_(plane, plane)]
    grid = np.stack(np.meshgrid(*(np.arange(*ends) for ends in new), indexing="ij"))
    places = np.einsum("ij,j...->i...", turn, grid).reshape(2, -1)
    sizes, counts = [b - a for a, b in old], [b - a for a, b in new]
    taps = np.arange(1 - _LANCZOS, _LANCZOS + 1)
    first, second = (np.floor(place).astype(int)[:, None] + taps for place in places)
    weights = [
        _kernel(at - place[:, None]) for at, place in zip((first, second), places, strict=True)
    ]
    for one in weights:
        one /= one.sum(1, keepdims=True)
    value = weights[0][:, :, None] * weights[1][:, None, :]
    row, column = first[:, :, None] - old[0][0], second[:, None, :] - old[1][0]
    held = (row >= 0) & (row < sizes[0]) & (column >= 0) & (column < sizes[1])
    held &= np.abs(value) > _ROUNDING
    number = np.broadcast_to(np.arange(len(value))[:, None, None], value.shape)
    index = (row * sizes[1] + column)[held]
    shape = math.prod(counts), math.prod(sizes)
    matrix = coo_array((value[held], (number[held], index)), shape)
    return _Pass.of(plane, sizes, counts, matrix, np.abs(value).sum((1, 2)), dtype)


def _lanczos(places: Matrix, n: int, width: float) -> tuple[Matrix, np.ndarray]:
    """Return the weights (m, n) of pixels ``width`` samples wide, and the sums of all magnitudes.

    places: where the pixels lie, in samples.
    """
    width = max(width, 1.0)
    reach = math.ceil(_LANCZOS * width + max(0.0, -min(places), max(places) - n + 1))
    rows = _kernel((np.arange(-reach, n + reach)[None, :] - places[:, None]) / width)
    rows[np.abs(rows) < _ROUNDING] = 0
    rows /= rows.sum(1, keepdims=True)
    return np.asarray(rows[:, reach : reach + n]), np.abs(rows).sum(1)


def _slices(
    profile: SliceProfile, places: Matrix, n: int, width: float, ends: bool
) -> tuple[Matrix, np.ndarray]:
    """Return the weights (m, n) of slices ``width`` samples thick, and the sums of magnitudes.

    ends: as in `StackOperator`.
    """
    ones = np.ones(len(places))
    if ends:
        return profile.rows(places, n, width), ones
    beyond = math.ceil(_LANCZOS * max(width, 1.0) + max(0.0, -min(places), max(places) - n + 1))
    return profile.rows(places + beyond, n + 2 * beyond, width)[:, beyond : beyond + n], ones


def _kernel(t: Matrix) -> Matrix:
    """Return the Lanczos kernel, a windowed sinc, at distances in samples."""
    return np.asarray(np.where(np.abs(t) < _LANCZOS, np.sinc(t) * np.sinc(t / _LANCZOS), 0.0))
