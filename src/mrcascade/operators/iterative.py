"""Operators given by a forward and an adjoint function, with an iterative proximal step."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from mrcascade.errors import MRCascadeError
from mrcascade.operators.base import LinearOperator, Shape, adjoint_name

Function = Callable[[Tensor], Tensor]

_ROUNDING_UNITS = 10.0  # smaller gradients, in rounding errors, count as zero


class CallableOperator(LinearOperator):
    """H given by a forward and an adjoint function, for operators that are not separable.

    The proximal step minimises ||y - H v - H d||^2 + tau ||d||^2 over d by conjugate gradients from
    d = 0, without building H^T H (CGLS; Bjorck, "Numerical Methods for Least Squares Problems",
    1996, algorithm 7.4.1, with a shift). Every iterate stays in the range of H^T. Hence tau = 0
    gives the smallest correction, the projection. Each image has its own step lengths and its own
    end, so that the rest of a batch does not change its result.

    Args:
        forward: maps an image ``(..., *in_shape)`` to a measurement ``(..., *out_shape)``.
        adjoint: the (conjugate) transpose of ``forward``.
        in_shape, out_shape: rows and columns.
        name: name of the operator in error messages.
        tolerance: an image ends where its gradient norm falls to this fraction of the first, or
            to the level of rounding errors.
        max_iterations: most iterations; a RuntimeWarning says that an image had not ended.
        mixed_dims: number of dimensions before the rows that H mixes; 1 where it mixes the two
            channels of ``(N, 2, H, W)``. All images of such a group share their steps.

    Raises:
        MRCascadeError: an argument is out of range, or a function returns a wrong shape.

    Example:
        >>> import torch
        >>> from mrcascade import CallableOperator
        >>> def every_second_row(x):
        ...     return x[..., ::2, :]
        >>> def into_every_second_row(y):
        ...     x = y.new_zeros((*y.shape[:-2], 2 * y.shape[-2], y.shape[-1]))
        ...     x[..., ::2, :] = y
        ...     return x
        >>> H = CallableOperator(every_second_row, into_every_second_row, (4, 3), (2, 3), "rows")
        >>> H
        CallableOperator('rows', (4, 3) -> (2, 3))
        >>> H.pinv(torch.ones(2, 3))[:2]
        tensor([[1., 1., 1.],
                [0., 0., 0.]])
    """

    def __init__(
        self,
        forward: Function,
        adjoint: Function,
        in_shape: Shape,
        out_shape: Shape,
        name: str = "callable",
        *,
        tolerance: float = 1e-6,
        max_iterations: int = 200,
        mixed_dims: int = 0,
    ) -> None:
        super().__init__(in_shape, out_shape, name)
        if not (tolerance > 0 and max_iterations >= 1 and mixed_dims >= 0):
            raise MRCascadeError(
                f"operator '{name}' needs tolerance > 0, max_iterations >= 1, mixed_dims >= 0; "
                f"got {tolerance}, {max_iterations}, {mixed_dims}"
            )
        self.tolerance = tolerance
        self.max_iterations = max_iterations
        self.mixed_dims = mixed_dims
        self._functions = forward, adjoint

    def _adjoint_operator(self) -> LinearOperator:
        forward, adjoint = self._functions
        return CallableOperator(
            adjoint,
            forward,
            self.out_shape,
            self.in_shape,
            adjoint_name(self),
            tolerance=self.tolerance,
            max_iterations=self.max_iterations,
            mixed_dims=self.mixed_dims,
        )

    def _apply(self, x: Tensor) -> Tensor:
        return self._checked(self._functions[0](x), "forward", self.out_shape)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._checked(self._functions[1](y), "adjoint", self.in_shape)

    def _checked(self, result: Tensor, which: str, shape: Shape) -> Tensor:
        if tuple(result.shape[-2:]) != shape:
            raise MRCascadeError(
                f"the {which} function of operator '{self.name}' returned shape "
                f"{tuple(result.shape)}; expected (..., {shape[0]}, {shape[1]})"
            )
        return result

    def _correction(self, residual: Tensor, tau: Tensor) -> Tensor:
        r = residual
        s = self._adjoint(r)  # minus half the gradient: H^T r - tau d
        d, p = torch.zeros_like(s), s
        gamma = self._dot(s, s)
        target = self.tolerance**2 * gamma
        largest = torch.zeros_like(gamma)  # estimate of the largest eigenvalue of H^T H + tau
        for _ in range(self.max_iterations):
            q = self._apply(p)
            curvature = self._dot(q, q) + self._dot(p, tau * p)
            largest = torch.maximum(largest, _ratio(curvature, self._dot(p, p)))
            active = gamma > torch.maximum(target, self._rounding(largest, r))
            if not bool(active.any()):
                return d
            alpha = active * _ratio(gamma, curvature)  # images that have ended keep their d and r
            d, r = d + alpha * p, r - alpha * q
            s = self._adjoint(r) - tau * d
            previous, gamma = gamma, self._dot(s, s)
            p = s + _ratio(gamma, previous) * p
        if bool((gamma > torch.maximum(target, self._rounding(largest, r))).any()):
            self._warn(gamma, target)
        return d

    def _rounding(self, largest: Tensor, r: Tensor) -> Tensor:
        """Squared gradient norm that rounding errors of H^T r alone produce."""
        return (_ROUNDING_UNITS * torch.finfo(r.dtype).eps) ** 2 * largest * self._dot(r, r)

    def _dot(self, a: Tensor, b: Tensor) -> Tensor:
        """Real inner product per image (or per group of mixed images); dimensions are kept."""
        dims = tuple(range(-2 - self.mixed_dims, 0))
        return (a.conj() * b).real.sum(dim=dims, keepdim=True)

    def _warn(self, gamma: Tensor, target: Tensor) -> None:
        worst = float(_ratio(gamma, target).max()) ** 0.5 * self.tolerance
        warnings.warn(
            f"operator '{self.name}': conjugate gradients stopped after {self.max_iterations} "
            f"iterations with the gradient at {worst:.1e} of its first norm (tolerance "
            f"{self.tolerance:.1e}); raise max_iterations or tolerance",
            RuntimeWarning,
            stacklevel=2,
        )


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """Return a / b, and 0 where b is 0 (an image that was solved at the start)."""
    return torch.where(b > 0, a / torch.where(b > 0, b, 1.0), 0.0)
