"""Base class of the linear operators, and the checks of shapes that they share."""

import math
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from mrcascade.errors import MRCascadeError

Shape = tuple[int, int]

_DTYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128)


class LinearOperator(ABC):
    """Linear map H from images ``(..., *in_shape)`` to measurements ``(..., *out_shape)``.

    Leading dimensions are batch and channels; results keep them. Tensors are float32, float64 or
    complex of either precision; results keep dtype and device. NumPy arrays are accepted by ``@``.
    ``A @ x`` equals ``A(x)``, ``A.H`` is the adjoint operator, and ``A @ B`` applies B first.

    A subclass writes ``_apply``, ``_adjoint`` and ``_correction``. This class checks shapes, dtypes
    and ``tau``; every method raises MRCascadeError where one does not fit.

    Example:
        >>> import numpy as np
        >>> from mrcascade import SeparableOperator
        >>> A = SeparableOperator.from_kernel("area", 2, (4, 4))
        >>> A
        SeparableOperator('area 2x', (4, 4) -> (2, 2))
        >>> y = A @ np.ones((4, 4))
        >>> y.shape, (A.H @ y).shape
        ((2, 2), (4, 4))
        >>> A @ A.H
        SeparableOperator('area 2x of adjoint of area 2x', (2, 2) -> (2, 2))
    """

    def __init__(self, in_shape: Shape, out_shape: Shape, name: str) -> None:
        self.in_shape = _as_shape(in_shape, "input", name)
        self.out_shape = _as_shape(out_shape, "output", name)
        self.name = name

    def __call__(self, x: Tensor) -> Tensor:
        """Return H x: image ``(..., *in_shape)`` to measurement ``(..., *out_shape)``."""
        self._check(x, self.in_shape, "an image")
        return self._apply(x)

    def adjoint(self, y: Tensor) -> Tensor:
        """Return H^T y (the conjugate transpose if H is complex): ``(..., *in_shape)``."""
        self._check(y, self.out_shape, "a measurement")
        return self._adjoint(y)

    @cached_property
    def H(self) -> "LinearOperator":
        """Adjoint operator, from measurements ``(..., *out_shape)`` to images ``(..., *in_shape)``.

        It has no proximal step unless the class of H provides one.
        """
        return self._adjoint_operator()

    @overload
    def __matmul__(self, x: Tensor) -> Tensor: ...

    @overload
    def __matmul__(self, x: np.ndarray) -> np.ndarray: ...

    @overload
    def __matmul__(self, x: "LinearOperator") -> "LinearOperator": ...

    def __matmul__(self, x: Any) -> Any:
        """Return H x for an image ``(..., *in_shape)``, or the product with an operator.

        An image may be a tensor or an array. `compose` makes the product.
        """
        if isinstance(x, LinearOperator):
            return self.compose(x)
        if isinstance(x, np.ndarray):
            return self(torch.from_numpy(np.array(x))).numpy()
        return self(x) if isinstance(x, Tensor) else NotImplemented

    def compose(self, right: "LinearOperator") -> "LinearOperator":
        """Return the operator that applies ``right`` first.

        Raises MRCascadeError where the product has no closed form, as one of the two operators
        is not separable.
        """
        raise MRCascadeError(
            f"operators '{self.name}' and '{right.name}' have no product in closed form; give a"
            " CallableOperator that applies one after the other"
        )

    def prox(self, v: Tensor, y: Tensor, tau: float | Tensor) -> Tensor:
        """Return argmin_u ||y - H u||^2 + tau ||u - v||^2, an image ``(..., *in_shape)``.

        This is the paper's eq. 2 and the data step of DiffPIR (Zhu et al. 2023), where
        tau = lambda sigma_y^2 / sigma_t^2.

        Args:
            v: image ``(..., *in_shape)``.
            y: measurement ``(..., *out_shape)``; its leading dimensions broadcast with v's.
            tau: >= 0, without unit; a float, or a tensor that broadcasts to the leading
                dimensions of v (for v of shape (N, C, H, W) one value per image is ``(N, 1)``).
                At 0 the result is the limit tau -> 0, the projection v + H^+ (y - H v).
        """
        self._check(v, self.in_shape, "an image")
        self._check(y, self.out_shape, "a measurement")
        residual = y - self._apply(v)
        return v + self._correction(residual, self._checked_tau(tau, residual))

    def project(self, v: Tensor, y: Tensor) -> Tensor:
        """Return the image closest to v among those that fit y best: v + H^+ (y - H v)."""
        return self.prox(v, y, 0.0)

    def pinv(self, y: Tensor) -> Tensor:
        """Return H^+ y, the smallest image among those that fit y best: ``(..., *in_shape)``."""
        self._check(y, self.out_shape, "a measurement")
        return self._correction(y, self._checked_tau(0.0, y))

    def _adjoint_operator(self) -> "LinearOperator":
        return _Adjoint(self)

    @abstractmethod
    def _apply(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def _adjoint(self, y: Tensor) -> Tensor: ...

    @abstractmethod
    def _correction(self, residual: Tensor, tau: Tensor) -> Tensor:
        """Return argmin_d ||residual - H d||^2 + tau ||d||^2, the smallest such d where tau = 0.

        `tau` is real, has the residual's precision, and ends in two axes of length one.
        """

    def _check(self, tensor: Tensor, shape: Shape, what: str) -> None:
        if tuple(tensor.shape[-2:]) != shape:
            raise MRCascadeError(
                f"operator '{self.name}' expects {what} of shape (..., {shape[0]}, {shape[1]}); "
                f"got {tuple(tensor.shape)}"
            )
        if tensor.dtype not in _DTYPES:
            raise MRCascadeError(
                f"operator '{self.name}' needs float32, float64 or complex tensors; "
                f"got {tensor.dtype}: convert first"
            )

    def _checked_tau(self, tau: float | Tensor, residual: Tensor) -> Tensor:
        dtype, device, lead = residual.dtype.to_real(), residual.device, residual.shape[:-2]
        if not isinstance(tau, Tensor):
            # Filled on the device, so that the steps of a chain do not wait for a copy each.
            valid, tensor = 0 <= tau < math.inf, torch.full((), tau, dtype=dtype, device=device)
        else:
            if not _broadcasts_to(tau.shape, lead):
                raise MRCascadeError(
                    f"operator '{self.name}': tau of shape {tuple(tau.shape)} does not broadcast "
                    f"to the leading dimensions {tuple(lead)}"
                )
            valid = bool(((tau >= 0) & tau.isfinite()).all())
            tensor = tau.to(dtype=dtype, device=device)
        if not valid:
            raise MRCascadeError(f"operator '{self.name}': tau must be finite and >= 0; got {tau}")
        return tensor[..., None, None]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.in_shape} -> {self.out_shape})"


class _Adjoint(LinearOperator):
    """Adjoint for classes that do not define their own."""

    def __init__(self, operator: LinearOperator) -> None:
        super().__init__(operator.out_shape, operator.in_shape, adjoint_name(operator))
        self._operator = operator

    def _adjoint_operator(self) -> LinearOperator:
        return self._operator

    def _apply(self, x: Tensor) -> Tensor:
        return self._operator._adjoint(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._operator._apply(y)

    def _correction(self, residual: Tensor, tau: Tensor) -> Tensor:
        raise MRCascadeError(
            f"operator '{self.name}' has no proximal step; give the adjoint as an operator of its"
            " own, such as a CallableOperator"
        )


def adjoint_name(operator: LinearOperator) -> str:
    """Return the name of an operator's adjoint."""
    return f"adjoint of {operator.name}"


def _as_shape(shape: Shape, what: str, name: str) -> Shape:
    if len(shape) != 2 or min(shape) < 1:
        raise MRCascadeError(
            f"operator '{name}': {what} shape must be two positive sizes; got {tuple(shape)}"
        )
    return int(shape[0]), int(shape[1])


def _broadcasts_to(shape: torch.Size, target: torch.Size) -> bool:
    if len(shape) > len(target) or math.prod(shape) == 0:
        return False
    return all(a in (1, b) for a, b in zip(reversed(shape), reversed(target), strict=False))
