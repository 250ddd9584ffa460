"""The largest singular value against dense matrices."""

import numpy as np
import pytest
import torch

from mrcascade.operators import CallableOperator, SeparableOperator, squared_norm


@pytest.mark.parametrize("kernel", ["fourier", "area", "bicubic", "gaussian"])
@pytest.mark.parametrize("factor", [2, (4, 1)])
def test_squared_norm(kernel: str, factor: int | tuple[int, int]) -> None:
    operator = SeparableOperator.from_kernel(kernel, factor, (16, 12))
    dense = np.kron(operator.rows, operator.cols)
    exact = np.linalg.norm(dense, 2) ** 2
    like = torch.zeros(1, 2, *operator.out_shape, dtype=torch.float64)
    assert squared_norm(operator, like) == pytest.approx(exact, rel=1e-12)
    wrapped = CallableOperator(operator, operator.adjoint, operator.in_shape, operator.out_shape)
    found = squared_norm(wrapped, like)
    # From below, on average within 0.871 ln(n) / (k - 1) after k steps, whatever the spectrum
    # (Kuczynski and Wozniakowski 1992, the power method).
    gap = 0.871 * np.log(16 * 12) / 49
    assert exact * (1 - gap) < found < exact * (1 + 1e-12)
