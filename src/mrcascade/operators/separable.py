"""Operators that act on rows and columns separately, with an exact proximal step."""

import weakref
from collections.abc import Sequence
from typing import NamedTuple, overload

import numpy as np
import torch
from torch import Tensor

from mrcascade.arrays.factors import Factor, coarse_size, factor_pair
from mrcascade.errors import MRCascadeError
from mrcascade.operators.base import LinearOperator, Shape, adjoint_name
from mrcascade.operators.kernels import Matrix, down_matrix, up_matrix
from mrcascade.operators.products import product_dtype

_ROUNDING = 1e-12  # relative; largest inner product of two rows that count as orthogonal
_ZERO_SINGULAR_VALUE = 1e-6  # relative to the largest; see SeparableOperator


class SeparableOperator(LinearOperator):
    """H x = rows @ x @ cols^T, that is H = rows (x) cols.

    The proximal step is exact for any pair of matrices: with thin SVDs ``rows = U_r s_r V_r^T``,
    ``cols = U_c s_c V_c^T`` and ``S = s_r s_c^T``,

        prox(v, y, tau) = v + V_r [S / (S^2 + tau) * (U_r^T (y - H v) U_c)] V_c^T.

    At tau = 0, values of S below 1e-6 of the largest count as zero. Kernels, also composed with
    `up`, stay above 1e-3 up to factor 4. The SVDs are computed once, in float64, on first use;
    their casts are kept per dtype and device. Products that a library might round further than
    float32 are taken in float64 (`product_dtype`), so that no switch, such as that of TF32,
    changes how well results fit their data.

    Args:
        rows: ``(h, H)``, acts on the row index of the image; may be tall (h > H).
        cols: ``(w, W)``, acts on the column index.
        name: name of the operator in error messages.

    Raises:
        MRCascadeError: a matrix is not two-dimensional and finite.

    Example:
        >>> import numpy as np
        >>> from mrcascade import SeparableOperator
        >>> H = SeparableOperator.from_kernel("fourier", (2, 1), (8, 6))
        >>> H
        SeparableOperator('fourier 2x1', (8, 6) -> (4, 6))
        >>> y = H @ np.ones((5, 8, 6))
        >>> y.shape, bool(np.allclose(y, 1))
        ((5, 4, 6), True)
    """

    def __init__(self, rows: Matrix, cols: Matrix, name: str = "separable") -> None:
        self.rows = _as_matrix(rows, f"operator '{name}': rows")
        self.cols = _as_matrix(cols, f"operator '{name}': cols")
        super().__init__(
            (self.rows.shape[1], self.cols.shape[1]),
            (self.rows.shape[0], self.cols.shape[0]),
            name,
        )
        self._exact_svds: tuple[SVD, SVD] | None = None
        self._matrices: dict[_Key, tuple[Tensor | None, Tensor | None]] = {}
        self._svds: dict[_Key, _Spectral] = {}

    @classmethod
    def from_kernel(
        cls, kernel: str, factor: Factor | Sequence[Factor], in_shape: Shape
    ) -> "SeparableOperator":
        """Return the operator that downsamples images of ``in_shape`` by a kernel.

        Args:
            kernel: one of ``operators.KERNELS``.
            factor: one number or (row, column), >= 1.
            in_shape: rows and columns of the image.

        Raises:
            MRCascadeError: the kernel is unknown, or a factor is below 1 or does not divide its
                size.
        """
        height, width = in_shape
        row_factor, col_factor = factor_pair(factor)
        rows = down_matrix(kernel, height, coarse_size(height, row_factor))
        cols = down_matrix(kernel, width, coarse_size(width, col_factor))
        row, col = float(row_factor), float(col_factor)
        label = f"{row:g}x" if row == col else f"{row:g}x{col:g}"
        return cls(rows, cols, name=f"{kernel} {label}")

    @overload
    def compose(self, right: "SeparableOperator") -> "SeparableOperator": ...

    @overload
    def compose(self, right: LinearOperator) -> LinearOperator: ...

    def compose(self, right: LinearOperator) -> LinearOperator:
        """Return the separable operator x -> self(right(x)).

        Raises MRCascadeError where right's output shape is not self's input shape, or right is not
        separable.
        """
        if not isinstance(right, SeparableOperator):
            return super().compose(right)
        if right.out_shape != self.in_shape:
            raise MRCascadeError(
                f"cannot apply operator '{self.name}' to the result of '{right.name}': "
                f"it expects {self.in_shape} and gets {right.out_shape}"
            )
        return SeparableOperator(
            self.rows @ right.rows, self.cols @ right.cols, f"{self.name} of {right.name}"
        )

    @property
    def singular_range(self) -> tuple[float, float]:
        """Smallest and largest singular value of H; the smallest is 0 where H is tall."""
        rows, cols = (svd.s for svd in self._decomposed())
        tall = self.out_shape[0] > self.in_shape[0] or self.out_shape[1] > self.in_shape[1]
        smallest = 0.0 if tall else float(rows.min() * cols.min())
        return smallest, float(rows.max() * cols.max())

    @property
    def svds(self) -> "tuple[SVD, SVD]":
        """Thin factors of ``rows`` and of ``cols``, in float64; not to be changed."""
        return self._decomposed()

    def _adjoint_operator(self) -> LinearOperator:
        return SeparableOperator(self.rows.T, self.cols.T, adjoint_name(self))

    def _apply(self, x: Tensor) -> Tensor:
        return _sandwich(*self._cast_matrices(x), x)

    def _adjoint(self, y: Tensor) -> Tensor:
        rows, cols = self._cast_matrices(y)
        return _sandwich(_transposed(rows), _transposed(cols), y)

    def _correction(self, residual: Tensor, tau: Tensor) -> Tensor:
        spectral = self._cast_svds(residual)
        coefficients = _sandwich(spectral.u_rows_t, spectral.u_cols_t, residual)
        coefficients = coefficients * spectral_gain(spectral.s, tau).to(tau.dtype)
        return _sandwich(spectral.v_rows, spectral.v_cols, coefficients)

    def _cast_matrices(self, like: Tensor) -> tuple[Tensor | None, Tensor | None]:
        key = _key(like)
        if key not in self._matrices:
            with torch.inference_mode(False):  # gradients may pass through the matrices later
                self._matrices[key] = _cast(self.rows, key), _cast(self.cols, key)
        return self._matrices[key]

    def _cast_svds(self, like: Tensor) -> "_Spectral":
        key = _key(like)
        if key not in self._svds:
            with torch.inference_mode(False):
                self._svds[key] = _spectral(*self._decomposed(), key)
        return self._svds[key]

    def _decomposed(self) -> "tuple[SVD, SVD]":
        if self._exact_svds is None:
            self._exact_svds = _svd(self.rows), _svd(self.cols)
        return self._exact_svds


class IdentityOperator(SeparableOperator):
    """Identity: H = I on images ``(..., *shape)``, which are their own measurements.

    Example:
        >>> from mrcascade import IdentityOperator
        >>> IdentityOperator((3, 2))
        IdentityOperator('identity', (3, 2) -> (3, 2))
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__(np.eye(shape[0]), np.eye(shape[1]), "identity")


def downsampler(kernel: str, in_shape: Shape, out_shape: Shape) -> SeparableOperator:
    """Return ``down`` of a kernel between two grids, ``out_shape <= in_shape`` on both axes."""
    rows, cols = (down_matrix(kernel, n, m) for n, m in zip(in_shape, out_shape, strict=True))
    return SeparableOperator(rows, cols, f"{kernel} down")


def upsampler(kernel: str, out_shape: Shape, in_shape: Shape) -> SeparableOperator:
    """Return ``up`` of a kernel from ``in_shape`` to the finer ``out_shape``."""
    rows, cols = (up_matrix(kernel, n, m) for n, m in zip(out_shape, in_shape, strict=True))
    return SeparableOperator(rows, cols, f"{kernel} up")


# ---- matrices and tensors ----


class SVD(NamedTuple):
    """Thin factors of one matrix: u (m, r), s (r,), v (n, r)."""

    u: Matrix
    s: Matrix
    v: Matrix


# SVD by the identity of a matrix, while that lives: operators of one kernel share matrices.
_svds: dict[int, SVD] = {}


class _Spectral(NamedTuple):
    """Both SVDs in one dtype and on one device; None stands for an identity matrix."""

    u_rows_t: Tensor | None
    u_cols_t: Tensor | None
    s: Tensor
    v_rows: Tensor | None
    v_cols: Tensor | None


_Key = tuple[torch.dtype, torch.device]


def _key(tensor: Tensor) -> _Key:
    """Precision and device of products with a tensor; matrices are real for complex images, too."""
    return product_dtype(tensor), tensor.device


def _as_matrix(matrix: Matrix, what: str) -> Matrix:
    shared = isinstance(matrix, np.ndarray) and _is_constant(matrix)
    array = np.array(matrix, dtype=np.float64, copy=None if shared else True)
    if array.ndim != 2 or array.size == 0 or not np.isfinite(array).all():
        raise MRCascadeError(f"{what} must be a finite 2-D matrix; got shape {array.shape}")
    array.setflags(write=False)
    return array


def _is_constant(matrix: Matrix) -> bool:
    """Return whether nothing can change the values, neither by the array nor by one it views."""
    if matrix.flags.writeable:
        return False
    return matrix.base is None or (
        isinstance(matrix.base, np.ndarray) and _is_constant(matrix.base)
    )


def _is_identity(matrix: Matrix) -> bool:
    return matrix.shape[0] == matrix.shape[1] and np.array_equal(matrix, np.eye(len(matrix)))


def _svd(matrix: Matrix) -> SVD:
    if _is_identity(matrix):
        return SVD(matrix, np.ones(len(matrix)), matrix)
    key = id(matrix)
    if key not in _svds:
        _svds[key] = _decomposition(matrix)
        weakref.finalize(matrix, _svds.pop, key, None).atexit = False
    return _svds[key]


def _decomposition(matrix: Matrix) -> SVD:
    if (factors := _of_orthogonal_rows(matrix)) is not None:
        return factors
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    s[s <= max(matrix.shape) * np.finfo(np.float64).eps * s[0]] = 0.0  # zero up to rounding
    return SVD(u, s, vt.T)


def _of_orthogonal_rows(matrix: Matrix) -> SVD | None:
    """Return the SVD of a matrix with orthogonal rows of equal length; None for other matrices.

    The rows, divided by their length, are then the right factor. The Fourier kernel has such rows,
    and a general SVD of a long side takes minutes.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return None
    identity = np.eye(len(matrix))
    length = float(np.linalg.norm(matrix[0]))
    away = matrix @ matrix.T
    away -= length**2 * identity
    if not length or np.abs(away, out=away).max() > _ROUNDING * length**2:
        return None
    return SVD(identity, np.full(len(matrix), length), matrix.T / length)


def _spectral(rows: SVD, cols: SVD, key: _Key) -> _Spectral:
    return _Spectral(
        u_rows_t=_cast(rows.u.T, key),
        u_cols_t=_cast(cols.u.T, key),
        s=torch.tensor(np.outer(rows.s, cols.s), dtype=key[0], device=key[1]),
        v_rows=_cast(rows.v, key),
        v_cols=_cast(cols.v, key),
    )


def _cast(matrix: Matrix, key: _Key) -> Tensor | None:
    if _is_identity(matrix):
        return None
    return torch.tensor(np.ascontiguousarray(matrix), dtype=key[0], device=key[1])


def _transposed(matrix: Tensor | None) -> Tensor | None:
    return None if matrix is None else matrix.T


def _sandwich(rows: Tensor | None, cols: Tensor | None, x: Tensor) -> Tensor:
    """Return rows @ x @ cols^T, computed in the matrices' precision and rounded to that of x.

    The matrices are real, or None for the identity; x is real or complex.
    """
    if x.is_complex():
        return torch.complex(_sandwich(rows, cols, x.real), _sandwich(rows, cols, x.imag))
    product = x
    with torch.autocast(x.device.type, enabled=False):  # half precision would lose the data
        if cols is not None:
            product = product.to(cols.dtype) @ cols.T
        if rows is not None:
            product = rows @ product.to(rows.dtype)
    return product.to(x.dtype)


def spectral_gain(s: Tensor, tau: Tensor) -> Tensor:
    """Return S / (S^2 + tau), at tau = 0 the pseudo-inverse of S; shape (..., r_rows, r_cols)."""
    vanishing = (tau == 0) & (s <= _ZERO_SINGULAR_VALUE * s.max())
    return (s / (s**2 + tau).masked_fill(vanishing, 1.0)).masked_fill(vanishing, 0.0)
