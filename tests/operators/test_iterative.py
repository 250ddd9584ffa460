"""Operators given as functions: conjugate gradients against dense and separable solutions."""

import warnings

import pytest
import torch
from torch import Tensor

from mrcascade.errors import MRCascadeError
from mrcascade.operators import CallableOperator, SeparableOperator


def normal(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def as_callable(separable: SeparableOperator, **options) -> CallableOperator:
    return CallableOperator(
        separable, separable.adjoint, separable.in_shape, separable.out_shape, "mine", **options
    )


@pytest.mark.parametrize("tau", [0.0, 0.01, 1.0])
def test_agrees_with_the_separable_prox_in_float32(tau: float) -> None:
    """The gradient ends below 1e-6 of the first; divided by the smallest eigenvalue of
    H^T H + tau on the range of H^T (1-D singular values 0.23 to 0.71), that bounds the error."""
    separable = SeparableOperator.from_kernel("gaussian", 2, (32, 32))
    v, y = normal(2, 1, 32, 32).float(), normal(2, 1, 16, 16, seed=1).float()
    u, expected = as_callable(separable).prox(v, y, tau), separable.prox(v, y, tau)
    first = separable.adjoint(y - separable(v)).norm()
    assert float((u - expected).norm()) <= 1e-6 * float(first) / (0.23**4 + tau) + 1e-5


def test_a_batch_does_not_change_a_result() -> None:
    """One image needs many steps, one needs few, one needs none. With a tolerance of 1e-2 a step
    too many would change a result in its third digit; batched rounding changes the last ones."""
    separable = SeparableOperator.from_kernel("gaussian", 4, (32, 32))
    operator = as_callable(separable, tolerance=1e-2)
    v, y = normal(3, 32, 32), normal(3, 8, 8, seed=1)
    v[1] = 1.0
    y[1] = 3.0
    y[2] = operator(v[2])
    for tau in (0.0, 1e-3):
        together = operator.prox(v, y, tau)
        for n in range(3):
            alone = operator.prox(v[n], y[n], tau)
            torch.testing.assert_close(together[n], alone, rtol=0, atol=1e-11)
        torch.testing.assert_close(together[2], v[2], rtol=0, atol=1e-11)


def kspace_mask(shape: tuple[int, int]) -> Tensor:
    """A disc of k-space, which no separable operator can keep."""
    fr, fc = (torch.fft.fftfreq(n, dtype=torch.float64) for n in shape)
    return ((fr[:, None] ** 2 + fc**2) <= 0.3**2).double()


def test_complex_measurement_of_a_real_image() -> None:
    """Orthonormal masked k-space: H^T H is an orthogonal projector P on real images, so that the
    prox is v + P (b - v) / (1 + tau) with b = H^T y."""
    mask = kspace_mask((8, 10))
    operator = CallableOperator(
        lambda x: torch.fft.fft2(x, norm="ortho") * mask,
        lambda y: torch.fft.ifft2(y * mask, norm="ortho").real,
        (8, 10),
        (8, 10),
        tolerance=1e-13,
    )
    v, truth = normal(8, 10), normal(8, 10, seed=1)
    y = operator(truth)
    for tau in (0.0, 0.5):
        u = operator.prox(v, y, tau)
        expected = v + operator.adjoint(operator(truth - v)) / (1 + tau)
        torch.testing.assert_close(u, expected, rtol=0, atol=1e-12)


def test_channels_that_are_mixed() -> None:
    """A phase that turns real into imaginary parts, on (N, 2, H, W) and on complex images."""
    phase = torch.exp(1j * normal(6, 6, seed=5))
    down = SeparableOperator.from_kernel("gaussian", 2, (6, 6))

    def channels(x: Tensor) -> Tensor:
        return torch.stack([x.real, x.imag], dim=1)

    def joined(x: Tensor) -> Tensor:
        return torch.complex(x[:, 0], x[:, 1])

    as_complex = CallableOperator(
        lambda x: down(phase * x),
        lambda y: phase.conj() * down.adjoint(y),
        (6, 6),
        (3, 3),
        tolerance=1e-13,
    )
    as_channels = CallableOperator(
        lambda x: channels(as_complex(joined(x))),
        lambda y: channels(as_complex.adjoint(joined(y))),
        (6, 6),
        (3, 3),
        tolerance=1e-13,
        mixed_dims=1,
    )
    v, y = torch.complex(*normal(2, 2, 6, 6)), torch.complex(*normal(2, 2, 3, 3, seed=1))
    for tau in (0.0, 0.2):
        expected = as_complex.prox(v, y, tau)
        got = as_channels.prox(channels(v), channels(y), tau)
        plain = down.prox(phase * v, y, tau)  # phase * u solves it for phase * v
        # Tolerance 1e-13 over the smallest eigenvalue, about 0.23^4, times gradients below 10.
        torch.testing.assert_close(phase * expected, plain, rtol=0, atol=1e-9)
        torch.testing.assert_close(joined(got), expected, rtol=0, atol=1e-9)


def test_projecting_twice_ends_at_once_without_a_warning() -> None:
    """y outside the range of a tall H: the second gradient is rounding noise alone."""
    separable = SeparableOperator.from_kernel("bicubic", 2, (8, 8))
    tall = CallableOperator(separable.adjoint, separable, (4, 4), (8, 8))
    v, y = normal(4, 4).float(), normal(8, 8, seed=1).float()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        u = tall.project(v, y)
        torch.testing.assert_close(tall.project(u, y), u, rtol=0, atol=1e-5)


def test_an_early_end_is_announced() -> None:
    operator = as_callable(SeparableOperator.from_kernel("gaussian", 4, (16, 16)), max_iterations=3)
    with pytest.warns(RuntimeWarning, match="'mine': conjugate gradients stopped after 3 iter"):
        operator.project(normal(16, 16), normal(4, 4, seed=1))


@pytest.mark.parametrize("options", [{"tolerance": 0.0}, {"max_iterations": 0}, {"mixed_dims": -1}])
def test_bad_settings_are_refused(options: dict) -> None:
    with pytest.raises(MRCascadeError, match="operator 'mine' needs tolerance > 0"):
        as_callable(SeparableOperator.from_kernel("area", 2, (4, 4)), **options)


def test_functions_that_return_other_shapes_are_named() -> None:
    wrong = CallableOperator(lambda x: x, lambda y: y, (4, 4), (2, 2), "mine")
    with pytest.raises(MRCascadeError, match=r"forward function of operator 'mine' .*\(1, 4, 4\)"):
        wrong(torch.zeros(1, 4, 4))
    with pytest.raises(MRCascadeError, match=r"adjoint function of operator 'mine' .*\(1, 2, 2\)"):
        wrong.adjoint(torch.zeros(1, 2, 2))
    with pytest.raises(MRCascadeError, match=r"input shape must be two positive sizes; got \(0,"):
        CallableOperator(lambda x: x, lambda y: y, (0, 4), (2, 2), "mine")
