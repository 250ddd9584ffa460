"""The table of kernels: one record with all facts about each kernel.

Matrices are one-dimensional, float64, and defined by a kernel and two sizes: ``n`` fine and
``m <= n`` coarse samples. Factors need not be whole. For ``n = m * 2**k`` the matrix is the product
of its ``k`` two-fold steps, so that a four-fold step is exactly two two-fold steps for every
kernel. All other sizes use the kernel's formula directly.

========  ===============================  ============================  =======================
kernel    down                             up                            samples, boundary
========  ===============================  ============================  =======================
fourier   crop of k-space                  zero filling, ``(n/m) D^T``   voxel 0 kept, periodic
area      mean over the covered interval   bilinear                      shared edges, clamped
bicubic   anti-aliased Keys, a = -1/2      Keys cubic, a = -1/2          shared edges, truncated
                                                                         and renormalised
gaussian  5 taps (1 4 6 4 1) / 16          Burt-Adelson expansion        voxel 0 kept, mirrored
                                                                         about the edge samples
========  ===============================  ============================  =======================

`register_kernel` adds a kernel.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from mrcascade.arrays.factors import check_side
from mrcascade.errors import MRCascadeError
from mrcascade.operators import kernel_matrices as formulas
from mrcascade.operators.kernel_matrices import Matrix

Formula = Callable[[int, int], Matrix]

_CACHED_MATRICES = 128
_NAME = re.compile(r"[a-z][a-z0-9_-]*")
_ROUNDING = 1e-6  # largest difference of a row's sum from one


@dataclass(frozen=True)
class Kernel:
    """Downsampling from a fine to a coarse grid, and the way back.

    Attributes:
        name: name in commands, files and messages: lower-case letters, digits, ``-`` and ``_``.
        down: function of the sizes ``(n, m)``, fine and coarse, ``1 <= m < n``. It returns the
            matrix ``(m, n)`` from ``n`` to ``m`` samples. Each row sums to one.
        up: function of the same sizes that returns the matrix ``(n, m)`` of the way back. Each
            row sums to one.
        origin: point that fine and coarse grid share. "voxel": the centre of voxel 0; coarse
            sample ``j`` lies at fine position ``j n / m``. "edges": the edges of the field of
            view; coarse sample ``j`` lies at ``(j + 1/2) n / m - 1/2``. The affine of a
            resampled image follows from it.
        periodic: whether the first and the last sample of a line are neighbours.
        pseudo_inverse: whether ``up`` is the pseudo-inverse of ``down`` for all sizes. The
            smallest image that fits the data is then a smooth interpolation (zero filling of
            k-space) and serves as the baseline. The baseline of other kernels is bicubic.

    Example:
        >>> from mrcascade.operators import KERNELS
        >>> KERNELS["area"].down(4, 2)
        array([[0.5, 0.5, 0. , 0. ],
               [0. , 0. , 0.5, 0.5]])
        >>> KERNELS["area"].origin
        'edges'
    """

    name: str
    down: Formula
    up: Formula
    origin: Literal["voxel", "edges"]
    periodic: bool = False
    pseudo_inverse: bool = False

    def places(self, n: int, m: int) -> Matrix:
        """Positions (n,) of the ``n`` fine samples, in units of the coarse samples."""
        fine = np.arange(n)
        return (fine + 0.5) * m / n - 0.5 if self.origin == "edges" else fine * m / n

    def shift(self, step: Matrix) -> Matrix:
        """Position of the first sample of a grid with spacing ``step``.

        The unit is the sample of a grid with spacing 1; elementwise.
        """
        return step / 2 - 0.5 if self.origin == "edges" else np.zeros_like(step)


#: All kernels by name.
KERNELS: dict[str, Kernel] = {
    kernel.name: kernel
    for kernel in (
        Kernel(
            "fourier",
            formulas.fourier_down,
            formulas.fourier_up,
            origin="voxel",
            periodic=True,
            pseudo_inverse=True,
        ),
        Kernel("area", formulas.area_down, formulas.bilinear_up, origin="edges"),
        Kernel("bicubic", formulas.bicubic_down, formulas.bicubic_up, origin="edges"),
        Kernel("gaussian", formulas.gaussian_down, formulas.gaussian_up, origin="voxel"),
    )
}


def register_kernel(kernel: Kernel) -> Kernel:
    """Add a kernel to the table for the operators and commands of this process.

    Returns the kernel. Raises MRCascadeError where its name is taken, or has characters that
    cannot stand in a command's option.

    Example:
        >>> import numpy as np
        >>> from mrcascade import Kernel, SeparableOperator, register_kernel
        >>> from mrcascade.operators import KERNELS
        >>> def first(n, m):
        ...     return np.eye(n)[: m * (n // m) : n // m]
        >>> def repeated(n, m):
        ...     return np.repeat(np.eye(m), n // m, axis=0)
        >>> register_kernel(Kernel("first-sample", first, repeated, origin="voxel")).name
        'first-sample'
        >>> SeparableOperator.from_kernel("first-sample", 2, (4, 4)) @ np.eye(4)
        array([[1., 0.],
               [0., 1.]])
        >>> del KERNELS["first-sample"]
    """
    if not _NAME.fullmatch(kernel.name):
        raise MRCascadeError(
            f"kernel name {kernel.name!r}: use lower-case letters, digits, '-' and '_'"
        )
    if kernel.name in KERNELS:
        raise MRCascadeError(f"a kernel {kernel.name!r} exists already; choose another name")
    KERNELS[kernel.name] = kernel
    return kernel


def kernel_named(name: str) -> Kernel:
    """Return the record of a kernel. Raises MRCascadeError for an unknown name."""
    if name not in KERNELS:
        raise MRCascadeError(f"unknown kernel {name!r}; choose one of {', '.join(KERNELS)}")
    return KERNELS[name]


def down_matrix(kernel: str, n: int, m: int) -> Matrix:
    """Return the matrix of ``kernel`` from ``n`` samples to ``m``, ``1 <= m <= n``.

    The read-only float64 array of shape ``(m, n)`` is shared between callers.

    Raises MRCascadeError for an unknown kernel, for sizes out of order, and for a matrix that
    would not fit memory.
    """
    return _down(_checked(kernel, n, m), int(n), int(m))


def up_matrix(kernel: str, n: int, m: int) -> Matrix:
    """Return the matrix of ``kernel`` from ``m`` samples back to ``n``, ``1 <= m <= n``.

    The read-only float64 array of shape ``(n, m)`` is shared between callers.

    Raises MRCascadeError as `down_matrix` does.
    """
    return _up(_checked(kernel, n, m), int(n), int(m))


def _checked(name: str, n: int, m: int) -> Kernel:
    kernel = kernel_named(name)
    if not 1 <= m <= n:
        raise MRCascadeError(
            f"kernel {name} needs 1 <= coarse size <= fine size; got {m} coarse, {n} fine"
        )
    check_side(int(n), int(m))
    return kernel


@lru_cache(maxsize=_CACHED_MATRICES)
def _down(kernel: Kernel, n: int, m: int) -> Matrix:
    if n == m:
        return _frozen(np.eye(n))
    if _has_inner_steps(n, m):
        return _frozen(_down(kernel, n // 2, m) @ _down(kernel, n, n // 2))
    return _frozen(_computed(kernel, kernel.down(n, m), (m, n)))


@lru_cache(maxsize=_CACHED_MATRICES)
def _up(kernel: Kernel, n: int, m: int) -> Matrix:
    if n == m:
        return _frozen(np.eye(n))
    if _has_inner_steps(n, m):
        return _frozen(_up(kernel, n, n // 2) @ _up(kernel, n // 2, m))
    return _frozen(_computed(kernel, kernel.up(n, m), (n, m)))


def forget_matrices() -> None:
    """Empty the cache of matrices. Operators keep those that they have."""
    _down.cache_clear()
    _up.cache_clear()


def _has_inner_steps(n: int, m: int) -> bool:
    """Return whether n = m 2^k with k >= 2; the matrix is then a product of smaller steps."""
    ratio, remainder = divmod(n, m)
    return remainder == 0 and ratio > 2 and ratio & (ratio - 1) == 0


def _computed(kernel: Kernel, matrix: Matrix, shape: tuple[int, int]) -> Matrix:
    """Return the matrix of a formula in float64.

    Raises MRCascadeError where its shape is wrong or a row does not sum to one.
    """
    if np.shape(matrix) != shape:
        raise MRCascadeError(
            f"kernel {kernel.name!r} returned a matrix of shape {np.shape(matrix)}, expected"
            f" {shape}: correct its formulas"
        )
    matrix = np.asarray(matrix, np.float64)
    if not np.abs(matrix.sum(axis=1) - 1).max() < _ROUNDING:
        raise MRCascadeError(
            f"kernel {kernel.name!r} changes constants: each row of its matrices must sum to one;"
            " correct its formulas"
        )
    return matrix


def _frozen(matrix: Matrix) -> Matrix:
    matrix.setflags(write=False)
    return matrix
