"""Borders at which the field of view was cut in the image, and how to restore such slices.

The model of a periodic kernel, such as ``fourier``, takes the last sample for the neighbour of the
first. A measurement made by a crop of k-space follows it, whatever the image shows at its edges. A
scanner that oversamples the readout and crops the image breaks it: the step between opposite edges
is not in the data, and the model rings from it. Such an axis gets margins that lead smoothly from
one edge to the other; it is restored on the larger grid, and the result is cropped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.operators import KERNELS, Kernel, LinearOperator, SeparableOperator, down_matrix

# Root mean square step between opposite edges, as a share of the robust maximum, below which the
# periodic model does little harm.
LEAST_STEP = 0.12
# The same, in units of the steps between neighbours inside: noise and fine texture, which the
# periodic model can hold, step everywhere.
LEAST_RATIO = 1.5
# A step that lies in band-limited data pulls the sample next to it towards the other side. The
# second difference there is 0.4 of the step at 2x and 0.6 at 4x, and about 0 at a cut. Anatomy
# bends lines as well: the same number some samples further in is subtracted.
MOST_PULL = 0.18
# Standard errors that are added to what is measured, for single slices and for several.
DEVIATIONS_OF_ONE, DEVIATIONS = 4.0, 3.0
SEVERAL = 8
INNER = (3, 4, 5, 6)  # places of the comparison, in samples from the border
LINES = 8  # neighbours that count as one observation
REACH = 12  # samples from the border that are looked at
# Samples of both margins of an axis together, at least; then up to a size that halves as often as
# a pyramid does.
MARGIN = 8
MULTIPLE = 8

Pair = tuple[int, int]
_WEIGHTS = np.array([1.0, 2.0]) / 3  # of y[1] and y[2], so that noise of -2 y[1] + y[2] is no step
_SAME_MATRIX = 1e-9


@dataclass(frozen=True)
class Margins:
    """Samples of a measurement that are added (before, after) along rows and columns."""

    rows: Pair = (0, 0)
    columns: Pair = (0, 0)

    def __bool__(self) -> bool:
        return any((*self.rows, *self.columns))

    def extend(self, stack: np.ndarray) -> np.ndarray:
        """Slices (S, h, w) with margins: their mirror images at both edges, blended into each
        other, so that the slices are smooth and periodic."""
        for axis, (before, after) in ((1, self.rows), (2, self.columns)):
            if before + after:
                lines = np.moveaxis(stack, axis, -1)
                gap = _gap(lines, before + after)
                parts = [gap[..., after:], lines, gap[..., :after]]
                whole = np.concatenate(parts, -1).astype(stack.dtype)
                stack = np.ascontiguousarray(np.moveaxis(whole, -1, axis))
        return stack

    def operator(self, operator: LinearOperator) -> LinearOperator:
        """The operator of the same kernel on the extended grid; without margins, itself."""
        if not self:
            return operator
        assert isinstance(operator, SeparableOperator)  # others have no margins
        rows, columns = (
            _extended(matrix, sum(margins))
            for matrix, margins in ((operator.rows, self.rows), (operator.cols, self.columns))
        )
        return SeparableOperator(rows, columns, operator.name)

    def inside(self, operator: LinearOperator) -> tuple[slice, slice]:
        """Rows and columns of the extended result that are the field of view."""
        rows, columns = (
            slice(before * n // m, before * n // m + n)
            for n, m, (before, _) in zip(
                operator.in_shape, operator.out_shape, (self.rows, self.columns), strict=True
            )
        )
        return rows, columns

    def measured(self, shape: Pair) -> tuple[slice, slice]:
        """Rows and columns of an extended measurement that are the measurement of ``shape``."""
        (top, _), (left, _) = self.rows, self.columns
        return slice(top, top + shape[0]), slice(left, left + shape[1])


NO_MARGINS = Margins()


def find_margins(slices: Iterable[np.ndarray], operator: LinearOperator, scale: float) -> Margins:
    """The margins that slices (h, w), real or complex, need: none along axes that were not cut.

    scale: robust maximum of the slices' volume. An axis counts as cut where the operator reduces
    it by a periodic kernel, opposite edges differ by more than ``LEAST_STEP`` of ``scale``,
    and neither is pulled towards the other. In doubt it is not cut.
    """
    if not isinstance(operator, SeparableOperator):
        return NO_MARGINS
    shapes = operator.rows.shape, operator.cols.shape
    matrices = enumerate((operator.rows, operator.cols))
    edges: dict[int, list[np.ndarray]] = {axis: [] for axis, m in matrices if _is_periodic(m)}
    for image in slices if edges else ():
        for axis, found in edges.items():
            found.append(_edges(np.moveaxis(image, axis, -1)) / scale)
    rows, columns = (
        _margin(*shape) if axis in edges and _is_cut(np.stack(edges[axis])) else (0, 0)
        for axis, shape in enumerate(shapes)
    )
    return Margins(rows, columns)


def _is_periodic(matrix: np.ndarray) -> bool:
    """Whether a side is reduced by a periodic kernel, and long enough to be looked at."""
    coarse, fine = matrix.shape
    return 2 * REACH <= coarse < fine and _periodic_kernel(matrix) is not None


def _periodic_kernel(matrix: np.ndarray) -> Kernel | None:
    """The periodic kernel whose ``down`` a matrix is."""
    coarse, fine = matrix.shape
    for kernel in KERNELS.values():
        if kernel.periodic and np.allclose(
            matrix, down_matrix(kernel.name, fine, coarse), rtol=0, atol=_SAME_MATRIX
        ):
            return kernel
    return None


def _extended(matrix: np.ndarray, total: int) -> np.ndarray:
    coarse, fine = matrix.shape
    if not total:
        return matrix
    kernel = _periodic_kernel(matrix)
    if kernel is None:
        raise MRCascadeError("only an axis that a periodic kernel reduces can have margins")
    return down_matrix(kernel.name, (coarse + total) * fine // coarse, coarse + total)


def _margin(coarse: int, fine: int) -> Pair:
    """Margins whose places in the result are whole pixels; none where they would be too wide."""
    unit = Fraction(fine, coarse).denominator
    multiple = math.lcm(MULTIPLE, unit)
    total = -(-(coarse + MARGIN) // multiple) * multiple - coarse
    before = total // 2 // unit * unit
    return (before, total - before) if total <= coarse else (0, 0)


def _gap(lines: np.ndarray, count: int) -> np.ndarray:
    """``count`` samples that lead from the end of lines (..., n) to their beginning."""
    place = np.arange(count)
    share = 0.5 + 0.5 * np.cos(np.pi * (place + 1) / (count + 1))
    return share * lines[..., -1 - place] + (1 - share) * lines[..., count - 1 - place]


def _edges(lines: np.ndarray) -> np.ndarray:
    """The ``REACH`` samples next to the border of lines (N, n), counted from it; (N, 2, REACH)."""
    edges = np.stack([lines[:, :REACH], lines[:, : -REACH - 1 : -1]], 1)
    return edges.astype(np.complex128 if np.iscomplexobj(lines) else np.float64)


def _is_cut(edges: np.ndarray) -> bool:
    """edges: (slices, lines, 2, REACH), as shares of the robust maximum."""
    step, inside = _size(edges[..., 1, 0] - edges[..., 0, 0]), _size(np.diff(edges))
    if step < max(LEAST_STEP, LEAST_RATIO * inside):
        return False
    first, last = edges[..., 0, :], edges[..., 1, :]
    return _unpulled(first, last) and _unpulled(last, first)


def _size(values: np.ndarray) -> float:
    """Root mean square magnitude."""
    return float(np.sqrt(np.mean(np.abs(values) ** 2)))


def _unpulled(near: np.ndarray, far: np.ndarray) -> bool:
    """Whether near[..., 0] goes on smoothly from the other samples of its side.

    near, far: (slices, lines, samples), counted from the border on either side of it.
    """
    beyond = far[..., 1:3] @ _WEIGHTS
    border, inner = _Slope(near, beyond, (0,)), _Slope(near, beyond, INNER)
    places = np.arange(0, near.shape[1], LINES)
    errors = border.errors - inner.errors  # of slices and lines
    groups = [np.add.reduceat(errors.sum(0), places)]
    deviations = DEVIATIONS_OF_ONE
    if len(near) >= SEVERAL:  # the lines of a slice are as much alike as those of one place
        groups.append(errors.sum(1))
        deviations = DEVIATIONS
    error = max(float(np.linalg.norm(group)) for group in groups)
    return border.value - inner.value + deviations * error < MOST_PULL


class _Slope:
    """Regression, over lines, of second differences on the step to the other side of the border.

    Attributes:
        value: the slope.
        errors: what each line (slices, lines) adds to its error. The standard error is the norm of
            the sums over groups of dependent lines (the sandwich estimator for clusters).
    """

    def __init__(self, near: np.ndarray, beyond: np.ndarray, places: Sequence[int]) -> None:
        pull, square = np.zeros(beyond.shape), np.zeros(beyond.shape)
        for k in places:
            step = beyond - near[..., k + 1 : k + 3] @ _WEIGHTS
            bent = near[..., k] - 2 * near[..., k + 1] + near[..., k + 2]
            pull += (np.conj(step) * bent).real
            square += np.abs(step) ** 2
        total = max(float(square.sum()), np.finfo(np.float64).tiny)
        self.value = float(pull.sum()) / total
        self.errors = (pull - self.value * square) / total
