"""Muon against the singular value decomposition and PyTorch's own implementation."""

from __future__ import annotations

import pytest
import torch

from mrcascade.training.muon import COEFFICIENTS, ITERATIONS, Muon, orthogonalised


def polynomial(s: torch.Tensor) -> torch.Tensor:
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        s = a * s + b * s**3 + c * s**5
    return s


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (6, 6)])
def test_singular_vectors_stay_and_values_go_through_the_polynomial(
    shape: tuple[int, int],
) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
    expected = u @ torch.diag(polynomial(s / (s.norm() + 1e-7))) @ vt
    # The quintic's slope is at most 3.5 per iteration, so rounding grows by 3.5^5 = 525.
    torch.testing.assert_close(orthogonalised(matrix), expected, rtol=0, atol=1e-12)


def test_values_of_a_gradient_become_alike() -> None:
    s = torch.logspace(-2, 0, 200, dtype=torch.float64)
    assert float(polynomial(s).min()) > 0.6
    assert float(polynomial(s).max()) < 1.3


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this PyTorch has no Muon")
def test_steps_are_those_of_pytorch() -> None:
    """PyTorch's works in bfloat16: each of its 15 products has a relative error of 2^-8, and the
    iteration's slope carries that on; a wrong scale or momentum would be off by 10 % and more."""
    generator = torch.Generator().manual_seed(1)
    start = torch.randn((8, 24), generator=generator)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    mine = Muon([ours], lr=0.1)
    reference = torch.optim.Muon([theirs], lr=0.1, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        gradient = torch.randn((8, 24), generator=generator)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        mine.step()
        reference.step()
    moved = (theirs - start).norm()
    assert float((ours - theirs).detach().norm() / moved.detach()) < 0.05


def test_a_convolution_is_a_matrix_of_one_row_per_output_channel() -> None:
    generator = torch.Generator().manual_seed(2)
    start, gradient = (torch.randn((5, 3, 3, 3), generator=generator) for _ in range(2))
    convolution = torch.nn.Parameter(start.clone())
    matrix = torch.nn.Parameter(start.flatten(1).clone())
    convolution.grad, matrix.grad = gradient, gradient.flatten(1)
    frozen = torch.nn.Parameter(start.clone())
    Muon([convolution, frozen], lr=0.1).step()
    Muon([matrix], lr=0.1).step()
    torch.testing.assert_close(convolution.flatten(1), matrix, rtol=0, atol=0)
    assert torch.equal(frozen, start)


def test_weights_of_one_shape_move_as_each_does_alone() -> None:
    generator = torch.Generator().manual_seed(3)
    shapes = [(4, 3, 3, 3), (6, 2), (4, 3, 3, 3), (4, 3, 3, 3)]
    together = [torch.nn.Parameter(torch.randn(s, generator=generator)) for s in shapes]
    alone = [torch.nn.Parameter(weight.detach().clone()) for weight in together]
    optimizers = [Muon(together, lr=0.1), *(Muon([weight], lr=0.1) for weight in alone)]
    for _ in range(3):
        for a, b in zip(together, alone, strict=True):
            a.grad = torch.randn(a.shape, generator=generator)
            b.grad = a.grad.clone()
        together[2].grad = alone[2].grad = None
        for optimizer in optimizers:
            optimizer.step()
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
