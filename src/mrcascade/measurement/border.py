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

# Smallest root mean square step between opposite edges, as a share of the robust maximum. The
# periodic model does little harm below it.
LEAST_STEP = 0.12
# Smallest ratio of that step to the steps between neighbours inside. Noise and fine texture have
# such steps everywhere, and the periodic model can represent them.
LEAST_RATIO = 1.5
# Largest pull at a cut. A step in band-limited data pulls the sample next to it towards the other
# side: the second difference there is 0.4 of the step at 2x and 0.6 at 4x, and about 0 at a cut.
# Anatomy bends lines as well, so the same number some samples further in is subtracted.
MOST_PULL = 0.18
# Standard errors that are added to the measured pull: below SEVERAL slices, and from there on.
DEVIATIONS_OF_ONE, DEVIATIONS = 4.0, 3.0
SEVERAL = 8
INNER = (3, 4, 5, 6)  # places of the comparison, in samples from the border
LINES = 8  # neighbouring lines that count as one observation
REACH = 12  # samples from the border that are examined
# Smallest sum of an axis' two margins in samples. The extended side is a multiple of MULTIPLE, so
# that a pyramid can halve it.
MARGIN = 8
MULTIPLE = 8

Pair = tuple[int, int]
# Weights of y[1] and y[2]. For white noise this mean is uncorrelated with -2 y[1] + y[2].
_WEIGHTS = np.array([1.0, 2.0]) / 3
_SAME_MATRIX = 1e-9


@dataclass(frozen=True)
class Margins:
    """Samples that are added to the edges of a measurement.

    Attributes:
        rows: numbers of rows added (above, below).
        columns: numbers of columns added (left, right).
    """

    rows: Pair = (0, 0)
    columns: Pair = (0, 0)

    def __bool__(self) -> bool:
        return any((*self.rows, *self.columns))

    def extend(self, stack: np.ndarray) -> np.ndarray:
        """Add the margins to slices (S, h, w), so that they are smooth and periodic.

        A margin blends the mirror images at the two edges into each other.
        """
        for axis, (before, after) in ((1, self.rows), (2, self.columns)):
            if before + after:
                lines = np.moveaxis(stack, axis, -1)
                gap = _gap(lines, before + after)
                parts = [gap[..., after:], lines, gap[..., :after]]
                whole = np.concatenate(parts, -1).astype(stack.dtype)
                stack = np.ascontiguousarray(np.moveaxis(whole, -1, axis))
        return stack

    def operator(self, operator: LinearOperator) -> LinearOperator:
        """Return the operator of the same kernel on the extended grid."""
        if not self:
            return operator
        assert isinstance(operator, SeparableOperator)  # only these get margins
        rows, columns = (
            _extended(matrix, sum(margins))
            for matrix, margins in ((operator.rows, self.rows), (operator.cols, self.columns))
        )
        return SeparableOperator(rows, columns, operator.name)

    def inside(self, operator: LinearOperator) -> tuple[slice, slice]:
        """Return the rows and columns of an extended result that are the field of view.

        operator: the measurement's own operator, on the grid without margins.
        """
        rows, columns = (
            slice(before * n // m, before * n // m + n)
            for n, m, (before, _) in zip(
                operator.in_shape, operator.out_shape, (self.rows, self.columns), strict=True
            )
        )
        return rows, columns

    def measured(self, shape: Pair) -> tuple[slice, slice]:
        """Return the rows and columns of an extended measurement that hold the original (h, w)."""
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
    """Return margins that are whole pixels of the result, (0, 0) where they would be too wide."""
    unit = Fraction(fine, coarse).denominator
    multiple = math.lcm(MULTIPLE, unit)
    total = -(-(coarse + MARGIN) // multiple) * multiple - coarse
    before = total // 2 // unit * unit
    return (before, total - before) if total <= coarse else (0, 0)


def _gap(lines: np.ndarray, count: int) -> np.ndarray:
    """Return ``count`` samples that lead smoothly from the end of lines (..., n) to their start.

    They mirror both ends; of lines shorter than that, the farthest sample goes on.
    """
    place, last = np.arange(count), lines.shape[-1] - 1
    share = 0.5 + 0.5 * np.cos(np.pi * (place + 1) / (count + 1))
    behind, ahead = (np.minimum(one, last) for one in (place, place[::-1]))
    return share * lines[..., -1 - behind] + (1 - share) * lines[..., ahead]


def _edges(lines: np.ndarray) -> np.ndarray:
    """Return the samples next to both ends of lines (N, n), from the border in: (N, 2, REACH)."""
    edges = np.stack([lines[:, :REACH], lines[:, : -REACH - 1 : -1]], 1)
    return edges.astype(np.complex128 if np.iscomplexobj(lines) else np.float64)


def _is_cut(edges: np.ndarray) -> bool:
    """Return whether an axis was cut in the image.

    edges: (slices, lines, 2, REACH), as shares of the robust maximum.
    """
    step, inside = _size(edges[..., 1, 0] - edges[..., 0, 0]), _size(np.diff(edges))
    if step < max(LEAST_STEP, LEAST_RATIO * inside):
        return False
    first, last = edges[..., 0, :], edges[..., 1, :]
    return _unpulled(first, last) and _unpulled(last, first)


def _size(values: np.ndarray) -> float:
    """Return the root mean square magnitude."""
    return float(np.sqrt(np.mean(np.abs(values) ** 2)))


def _unpulled(near: np.ndarray, far: np.ndarray) -> bool:
    """Return whether a side's border sample continues it, and is not pulled to the other side.

    near, far: (slices, lines, samples) on the two sides, each from the border in.
    """
    beyond = far[..., 1:3] @ _WEIGHTS
    border, inner = _Slope(near, beyond, (0,)), _Slope(near, beyond, INNER)
    places = np.arange(0, near.shape[1], LINES)
    errors = border.errors - inner.errors  # (slices, lines)
    groups = [np.add.reduceat(errors.sum(0), places)]
    deviations = DEVIATIONS_OF_ONE
    if len(near) >= SEVERAL:  # the lines of a slice depend on each other, too
        groups.append(errors.sum(1))
        deviations = DEVIATIONS
    error = max(float(np.linalg.norm(group)) for group in groups)
    return border.value - inner.value + deviations * error < MOST_PULL


class _Slope:
    """Regression of second differences on the step across the border, over all lines.

    Attributes:
        value: the slope.
        errors: (slices, lines), each line's contribution to the error of the slope. The standard
            error is the norm of the sums over groups of dependent lines (the sandwich estimator
            for clusters).
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
