"""One battery that every operator passes, against dense matrices.

Tolerances: entries are of order one and images have at most a few hundred samples, so that two
correct float64 evaluations differ by less than 1000 units of rounding (about 2e-13); where a
linear system is solved, the bound is multiplied by its condition number.
"""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from tests.quick import each
from torch import Tensor

from mrcascade.errors import MRCascadeError
from mrcascade.operators import (
    KERNELS,
    CallableOperator,
    IdentityOperator,
    LinearOperator,
    SeparableOperator,
    downsampler,
    upsampler,
)

UNITS = 1000
EPS = {torch.float64: torch.finfo(torch.float64).eps, torch.float32: torch.finfo(torch.float32).eps}

FACTORS = {
    "2x": (2, (12, 8)),
    "4x": (4, (16, 8)),
    "3x": (3, (9, 15)),
    "1.5x": (1.5, (9, 12)),
    "2x1": ((2, 1), (8, 7)),
    "2x-odd": (2, (10, 14)),
}


def composed(kernel: str, prior: str, factor: float) -> SeparableOperator:
    """H after `up`: what a coarse level sees. 2x and 1.5x give more samples than unknowns."""
    measure = SeparableOperator.from_kernel(kernel, factor, (12, 12))
    return measure.compose(upsampler(prior, (12, 12), (3, 6)))


def circular_blur() -> CallableOperator:
    """Diagonal motion blur and decimation, which is not separable; its adjoint by hand."""

    def blur(x: Tensor) -> Tensor:
        return (x + torch.roll(x, (1, 1), (-2, -1)) + 0.5 * torch.roll(x, (2, 2), (-2, -1))) / 2.5

    def adjoint(y: Tensor) -> Tensor:
        x = y.new_zeros((*y.shape[:-2], 8, 8))
        x[..., ::2, ::2] = y
        back = torch.roll(x, (-1, -1), (-2, -1)) + 0.5 * torch.roll(x, (-2, -2), (-2, -1))
        return (x + back) / 2.5

    return CallableOperator(
        lambda x: blur(x)[..., ::2, ::2], adjoint, (8, 8), (4, 4), "blur", tolerance=1e-14
    )


def as_callable(kernel: str) -> CallableOperator:
    separable = SeparableOperator.from_kernel(kernel, 2, (8, 10))
    return CallableOperator(
        separable, separable.adjoint, (8, 10), (4, 5), f"{kernel} CG", tolerance=1e-14
    )


CASES: dict[str, Callable[[], LinearOperator]] = {
    f"{kernel}-{label}": lambda kernel=kernel, case=case: SeparableOperator.from_kernel(
        kernel, *case
    )
    for kernel in KERNELS
    for label, case in FACTORS.items()
}
CASES |= {
    f"{kernel}-{factor}x-of-{prior}-up": lambda k=kernel, p=prior, f=factor: composed(k, p, f)
    for kernel, prior in itertools.pairwise([*KERNELS, next(iter(KERNELS))])
    for factor in (2, 4, 1.5)
}
CASES |= {f"{kernel}-up": lambda k=kernel: upsampler(k, (9, 8), (5, 4)) for kernel in KERNELS}
CASES |= {"identity": lambda: IdentityOperator((5, 6)), "blur": circular_blur}
CASES |= {f"{kernel}-cg": lambda k=kernel: as_callable(k) for kernel in ("fourier", "gaussian")}
CASES |= {
    "area-adjoint": lambda: SeparableOperator.from_kernel("area", (2, 1.5), (8, 9)).H,
    "cg-adjoint": lambda: as_callable("gaussian").H,
}
CASES["missing-row"] = lambda: SeparableOperator(
    np.diag([1.0, 0.5, 0.0, 2.0]), np.ones((3, 5)), "missing row"
)


every_operator = each("operator", CASES)


def normal(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def dense(operator: LinearOperator) -> Tensor:
    """The matrix of H, from the images of one pixel each."""
    size = operator.in_shape[0] * operator.in_shape[1]
    basis = torch.eye(size, dtype=torch.float64).reshape(size, *operator.in_shape)
    return operator(basis).reshape(size, -1).T


def assert_near(a: Tensor, b: Tensor, condition: float = 1.0) -> None:
    assert a.dtype == b.dtype
    scale = max(float(b.abs().max()), 1.0)
    assert float((a - b).abs().max()) <= UNITS * EPS[a.dtype] * condition * scale


# ---- forward and adjoint ----


@every_operator
def test_linear(operator: LinearOperator) -> None:
    x, z = normal(2, *operator.in_shape)
    assert_near(operator(3.0 * x - 0.5 * z), 3.0 * operator(x) - 0.5 * operator(z))


@every_operator
def test_adjoint(operator: LinearOperator) -> None:
    x, y = normal(3, *operator.in_shape), normal(3, *operator.out_shape, seed=1)
    assert_near((operator(x) * y).sum(), (x * operator.adjoint(y)).sum())


@every_operator
def test_matrix(operator: LinearOperator) -> None:
    matrix = dense(operator)
    if isinstance(operator, SeparableOperator):
        assert_near(matrix, torch.from_numpy(np.kron(operator.rows, operator.cols)))
    size = matrix.shape[0]
    basis = torch.eye(size, dtype=torch.float64).reshape(size, *operator.out_shape)
    assert_near(operator.adjoint(basis).reshape(size, -1), matrix)


@every_operator
def test_the_adjoint_is_an_operator(operator: LinearOperator) -> None:
    matrix = dense(operator)
    assert_near(dense(operator.H), matrix.T)
    assert_near(dense(operator.H.H), matrix)
    assert (operator.H.in_shape, operator.H.out_shape) == (operator.out_shape, operator.in_shape)


@every_operator
def test_at_applies_to_tensors_and_arrays(operator: LinearOperator) -> None:
    x = normal(2, *operator.in_shape)
    assert torch.equal(operator @ x, operator(x))
    array = operator @ x.numpy()
    assert isinstance(array, np.ndarray)
    np.testing.assert_array_equal(array, operator(x).numpy())
    with pytest.raises(TypeError, match="unsupported operand"):
        operator @ "x"  # type: ignore[operator]


@every_operator
def test_at_composes_separable_operators(operator: LinearOperator) -> None:
    if not isinstance(operator, SeparableOperator):
        with pytest.raises(MRCascadeError, match="no product in closed form"):
            operator @ operator.H
        return
    matrix = dense(operator)
    assert_near(dense(operator @ operator.H), matrix @ matrix.T)


def test_the_adjoint_of_an_operator_of_ones_own_has_no_proximal_step() -> None:
    class Half(LinearOperator):
        def _apply(self, x: Tensor) -> Tensor:
            return x / 2

        def _adjoint(self, y: Tensor) -> Tensor:
            return y / 2

        def _correction(self, residual: Tensor, tau: Tensor) -> Tensor:
            return residual / 2 / (0.25 + tau)

    half, y = Half((3, 3), (3, 3), "half"), normal(3, 3)
    assert torch.equal(half.H @ y, y / 2)
    assert half.H.H is half
    with pytest.raises(MRCascadeError, match="no proximal step"):
        half.H.pinv(y)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@every_operator
def test_leading_dimensions_and_dtype_are_kept(operator: LinearOperator, dtype) -> None:
    v, y = normal(2, 3, *operator.in_shape), normal(2, 3, *operator.out_shape, seed=1)
    v, y = v.to(dtype), y.to(dtype)
    before = v.clone(), y.clone()
    results = {
        "H": (operator(v), operator.out_shape),
        "adjoint": (operator.adjoint(y), operator.in_shape),
        "prox": (operator.prox(v, y, 0.3), operator.in_shape),
        "pinv": (operator.pinv(y), operator.in_shape),
    }
    for result, shape in results.values():
        assert result.shape == (2, 3, *shape)
        assert result.dtype == dtype
    assert_near(operator(v)[1, 2], operator(v[1, 2]))
    assert torch.equal(v, before[0])
    assert torch.equal(y, before[1])


@every_operator
def test_complex_acts_on_both_parts(operator: LinearOperator) -> None:
    v = torch.complex(*normal(2, 2, *operator.in_shape))
    y = torch.complex(*normal(2, 2, *operator.out_shape, seed=1))
    assert_near(operator(v).real, operator(v.real))
    assert_near(operator(v).imag, operator(v.imag))
    u = operator.prox(v, y, 0.3)
    channels = operator.prox(
        torch.stack([v.real, v.imag], 1), torch.stack([y.real, y.imag], 1), 0.3
    )
    condition = 1 + float(torch.linalg.matrix_norm(dense(operator), 2)) ** 2 / 0.3
    assert u.dtype == torch.complex128
    assert_near(u.real, channels[:, 0], condition)
    assert_near(u.imag, channels[:, 1], condition)
    assert_near(operator.adjoint(y).imag, operator.adjoint(y.imag))


# ---- proximal step and projection; y is not in the range of a tall H ----


@pytest.mark.parametrize("tau", [1e-3, 0.3, 50.0])
@every_operator
def test_prox_is_the_dense_solution(operator: LinearOperator, tau: float) -> None:
    v, y = normal(*operator.in_shape), normal(*operator.out_shape, seed=1)
    matrix = dense(operator)
    system = matrix.T @ matrix + tau * torch.eye(matrix.shape[1], dtype=torch.float64)
    expected = torch.linalg.solve(system, matrix.T @ y.flatten() + tau * v.flatten())
    condition = float(torch.linalg.cond(system))
    assert_near(operator.prox(v, y, tau).flatten(), expected, condition)


@pytest.mark.parametrize("tau", [1e-2, 1.0])
@every_operator
def test_prox_is_optimal_in_float32(operator: LinearOperator, tau: float) -> None:
    """The gradient vanishes up to the rounding of its own terms, added in norm; 30 units cover
    the half dozen matrix products behind it. The CG cases end at 10 units."""
    v, y = normal(*operator.in_shape).float(), normal(*operator.out_shape, seed=1).float()
    u = operator.prox(v, y, tau).double()
    gradient = operator.adjoint(operator(u) - y.double()) + tau * (u - v.double())
    norm = float(torch.linalg.matrix_norm(dense(operator), 2))
    terms = norm * (norm * u.norm() + y.norm()) + tau * (u.norm() + v.norm())
    assert float(gradient.norm()) <= 30 * EPS[torch.float32] * float(terms)


@every_operator
def test_projection_is_the_dense_pseudo_inverse(operator: LinearOperator) -> None:
    v, y = normal(*operator.in_shape), normal(*operator.out_shape, seed=1)
    matrix = dense(operator)
    inverse = torch.linalg.pinv(matrix, rtol=1e-9)
    values = torch.linalg.svdvals(matrix)
    condition = float(values[0] / values[values > 1e-9 * values[0]].min()) ** 2
    expected = v.flatten() + inverse @ (y.flatten() - matrix @ v.flatten())
    assert_near(operator.project(v, y).flatten(), expected, condition)
    assert_near(operator.pinv(y).flatten(), inverse @ y.flatten(), condition)
    assert torch.equal(operator.project(v, y), operator.prox(v, y, 0.0))


@every_operator
def test_projection_meets_a_consistent_measurement(operator: LinearOperator) -> None:
    v, y = normal(*operator.in_shape), operator(normal(*operator.in_shape, seed=1))
    u = operator.project(v, y)
    assert_near(operator(u), y, condition=100)
    assert_near(operator.project(u, y), u, condition=100)


@every_operator
def test_tau_per_image(operator: LinearOperator) -> None:
    v, y = normal(3, 2, *operator.in_shape), normal(3, 2, *operator.out_shape, seed=1)
    taus = torch.tensor([[0.0], [0.01], [2.0]], dtype=torch.float64)
    together = operator.prox(v, y, taus)
    full = operator.prox(v, y, taus.expand(3, 2))
    for n, tau in enumerate(taus):
        assert_near(together[n], operator.prox(v[n], y[n], float(tau)), condition=1000)
    assert_near(full, together, condition=1000)


@every_operator
def test_measurement_broadcasts_over_images(operator: LinearOperator) -> None:
    v, y = normal(4, 1, *operator.in_shape), normal(*operator.out_shape, seed=1)
    assert_near(operator.prox(v, y, 0.3)[2, 0], operator.prox(v[2, 0], y, 0.3), condition=10)


# ---- errors ----


@every_operator
def test_errors_name_operator_and_shapes(operator: LinearOperator) -> None:
    (h, w), (a, b) = operator.in_shape, operator.out_shape
    good_v, good_y = normal(1, h, w), normal(1, a, b)
    image = rf"operator '{operator.name}' expects an image of shape \(\.\.\., {h}, {w}\)"
    measurement = rf"'{operator.name}' expects a measurement of shape \(\.\.\., {a}, {b}\)"
    with pytest.raises(MRCascadeError, match=image + rf"; got \(2, {h + 1}, {w}\)"):
        operator(normal(2, h + 1, w))
    with pytest.raises(MRCascadeError, match=measurement + rf"; got \({a}, {b + 1}\)"):
        operator.adjoint(normal(a, b + 1))
    with pytest.raises(MRCascadeError, match=image):
        operator.prox(normal(1, h, w + 1), good_y, 0.1)
    for step in (operator.pinv, lambda y: operator.prox(good_v, y, 0.1)):
        with pytest.raises(MRCascadeError, match=measurement):
            step(normal(1, a, b + 1))


@every_operator
def test_dtypes_without_the_precision_are_refused(operator: LinearOperator) -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.int64):
        with pytest.raises(MRCascadeError, match=rf"'{operator.name}' needs float32.*{dtype}"):
            operator(torch.ones(operator.in_shape, dtype=dtype))


@pytest.mark.parametrize("tau", [-1e-9, float("nan"), float("inf"), torch.tensor([0.1, -1.0])])
@every_operator
def test_tau_must_be_finite_and_positive(operator: LinearOperator, tau) -> None:
    v, y = normal(2, *operator.in_shape), normal(2, *operator.out_shape)
    with pytest.raises(MRCascadeError, match=r"tau must be finite and >= 0; got"):
        operator.prox(v, y, tau)


@pytest.mark.parametrize("shape", [(3,), (2, 1), (1, 2), (2, 2, 1, 1), (0,)])
def test_tau_must_broadcast_to_the_leading_dimensions(shape: tuple[int, ...]) -> None:
    operator = downsampler("area", (4, 4), (2, 2))
    with pytest.raises(MRCascadeError, match=r"tau of shape .* leading dimensions \(2,\)"):
        operator.prox(normal(2, 4, 4), normal(2, 2, 2), torch.ones(shape))
