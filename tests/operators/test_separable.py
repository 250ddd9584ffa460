"""Properties of separable operators: composition, closed forms, precision, autograd."""

import numpy as np
import pytest
import torch
from torch import Tensor

from mrcascade.errors import MRCascadeError
from mrcascade.operators import (
    KERNELS,
    IdentityOperator,
    SeparableOperator,
    down_matrix,
    downsampler,
    up_matrix,
    upsampler,
)

EXACT = 1000 * torch.finfo(torch.float64).eps  # as in test_battery


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kernel", KERNELS)
def test_four_fold_operator_is_two_two_fold_operators(kernel: str) -> None:
    four = SeparableOperator.from_kernel(kernel, 4, (24, 16))
    first = SeparableOperator.from_kernel(kernel, 2, (24, 16))
    second = SeparableOperator.from_kernel(kernel, 2, (12, 8))
    chain = second.compose(first)
    np.testing.assert_array_equal(chain.rows, four.rows)
    np.testing.assert_array_equal(chain.cols, four.cols)
    x = normal(24, 16)
    torch.testing.assert_close(chain(x), second(first(x)), rtol=0, atol=EXACT)


def test_sampling_hold_the_kernel_matrices() -> None:
    down, up = downsampler("bicubic", (9, 8), (6, 4)), upsampler("gaussian", (9, 8), (6, 4))
    np.testing.assert_array_equal(down.rows, down_matrix("bicubic", 9, 6))
    np.testing.assert_array_equal(down.cols, down_matrix("bicubic", 8, 4))
    np.testing.assert_array_equal(up.rows, up_matrix("gaussian", 9, 6))
    np.testing.assert_array_equal(up.cols, up_matrix("gaussian", 8, 4))


@pytest.mark.parametrize("kernel", KERNELS)
def test_constants_are_kept(kernel: str) -> None:
    """Float32: a weighted mean of equal values, off by at most the weights' rounding."""
    image = torch.full((1, 18, 12), 3.7)
    down = SeparableOperator.from_kernel(kernel, (1.5, 2), (18, 12))
    up = upsampler(kernel, (18, 12), (12, 6))
    small = down(image)
    torch.testing.assert_close(small, torch.full((1, 12, 6), 3.7), rtol=1e-6, atol=0)
    torch.testing.assert_close(up(small), image, rtol=2e-6, atol=0)


@pytest.mark.parametrize("factor", [2, 4, 3, 1.5, (2, 1)])
@pytest.mark.parametrize("tau", [0.0, 0.3])
def test_fourier_has_a_one_line_prox(factor, tau: float) -> None:
    """H H^T = c I with c = 1 / (f_r f_c) gives u = v + H^T (y - H v) / (c + tau)."""
    operator = SeparableOperator.from_kernel("fourier", factor, (12, 24))
    fr, fc = factor if isinstance(factor, tuple) else (factor, factor)
    v, y = normal(12, 24), normal(*operator.out_shape, seed=1)
    expected = v + operator.adjoint(y - operator(v)) / (1 / (fr * fc) + tau)
    torch.testing.assert_close(operator.prox(v, y, tau), expected, rtol=0, atol=fr * fc * EXACT)


def test_identity() -> None:
    v, y = normal(5, 6), normal(5, 6, seed=1)
    operator = IdentityOperator((5, 6))
    assert torch.equal(operator(v), v)
    torch.testing.assert_close(operator.prox(v, y, 3.0), (y + 3 * v) / 4, rtol=0, atol=EXACT)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("size", [256, 384])
def test_projection_meets_the_data_in_float32(kernel: str, factor: int, size: int) -> None:
    """Relative residual of noise-free data, from a start far away, at most 1e-5.

    Expected size: rounding errors of a matrix product grow at most like sqrt(n) eps = 2.3e-6 at
    n = 384 and are seen through H; the ones of the correction are of the size of the data.
    """
    operator = SeparableOperator.from_kernel(kernel, factor, (size, size))
    r = torch.linspace(-1, 1, size, dtype=torch.float64)
    truth = torch.exp(-4 * (r[:, None] ** 2 + r**2)) + 0.02 * normal(size, size)
    y = operator(truth).float()
    for v in (normal(size, size, seed=1).float(), torch.zeros(size, size)):
        residual = (y - operator(operator.project(v, y))).norm() / y.norm()
        assert float(residual) <= 1e-5


def test_vanishing_singular_values_are_left_alone() -> None:
    """A measured row that sees nothing: no NaN, and its pixels keep the value of v."""
    operator = SeparableOperator(np.diag([1.0, 1e-9]), np.eye(3))
    v, y = normal(2, 3), normal(2, 3, seed=1)
    u = operator.project(v, y)
    torch.testing.assert_close(u[0], y[0], rtol=0, atol=EXACT)
    assert torch.equal(u[1], v[1])


def test_rank_deficient_matrices_do_not_amplify_rounding() -> None:
    """The SVD of ones finds 1e-17 for zero; with tau = 1e-25 that would become a gain of 1e8."""
    operator = SeparableOperator(np.ones((3, 5)), np.eye(4))
    v, y = normal(5, 4), normal(3, 4, seed=1)
    expected = v + (y.mean(0) - v.sum(0)) / 5
    for tau in (0.0, 1e-25):
        torch.testing.assert_close(operator.prox(v, y, tau), expected, rtol=0, atol=EXACT)


def test_gradients_pass_after_inference_mode() -> None:
    operator = SeparableOperator.from_kernel("bicubic", 2, (6, 4))
    v, y = normal(6, 4), normal(3, 2, seed=1)
    with torch.inference_mode():
        operator.prox(v, y, 0.1)
    v.requires_grad_()
    y.requires_grad_()
    assert torch.autograd.gradcheck(operator, (v,))
    assert torch.autograd.gradcheck(lambda a, b: operator.prox(a, b, 0.1), (v, y))


def test_autocast_does_not_lower_the_precision() -> None:
    operator = SeparableOperator.from_kernel("gaussian", 2, (16, 16))
    v, y = normal(16, 16).float(), normal(8, 8, seed=1).float()
    with torch.autocast("cpu", torch.bfloat16):
        u = operator.project(v, y)
    assert torch.equal(u, operator.project(v, y))


def test_the_operator_keeps_its_own_matrices() -> None:
    rows = np.eye(3)[:2]
    operator = SeparableOperator(rows, np.eye(3))
    rows[:] = 7
    assert operator.rows.max() == 1
    with pytest.raises(ValueError, match="read-only"):
        operator.rows[0, 0] = 2


@pytest.mark.parametrize("rows", [np.ones(3), np.ones((0, 3)), np.array([[np.nan, 1.0]])])
def test_bad_matrices_are_refused(rows: np.ndarray) -> None:
    with pytest.raises(MRCascadeError, match="operator 'mine': rows must be a finite 2-D matrix"):
        SeparableOperator(rows, np.eye(2), "mine")


def test_composition_of_unequal_shapes_names_both() -> None:
    down = SeparableOperator.from_kernel("area", 2, (8, 8))
    with pytest.raises(MRCascadeError, match=r"'area 2x' .* 'area 2x': .*\(8, 8\).*\(4, 4\)"):
        down.compose(down)


def test_repr_names_kernel_and_shapes() -> None:
    text = repr(SeparableOperator.from_kernel("area", (2, 1), (8, 6)))
    assert text == "SeparableOperator('area 2x1', (8, 6) -> (4, 6))"


@pytest.mark.parametrize("sizes", [(16, 8), (15, 8), (9, 6), (16, 4)])
def test_rows_that_are_orthogonal_need_no_decomposition(
    sizes: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Fourier kernel's D D^T = (m / n) I: its proximal step without an SVD is that with one,
    (H^T H + tau) u = H^T y + tau v."""
    n, m = sizes
    monkeypatch.setattr(np.linalg, "svd", None)
    operator = SeparableOperator(down_matrix("fourier", n, m), down_matrix("fourier", n, m))
    v, y, tau = normal(n, n), normal(m, m, seed=1), 0.3
    h = torch.tensor(np.kron(operator.rows, operator.cols))
    right = h.T @ y.flatten() + tau * v.flatten()
    u = torch.linalg.solve(h.T @ h + tau * torch.eye(n * n, dtype=h.dtype), right)
    torch.testing.assert_close(operator.prox(v, y, tau), u.reshape(n, n), rtol=0, atol=1e-12)
