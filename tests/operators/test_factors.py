"""Factors, and the sizes that they divide."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcascade.arrays.factors import legal_size
from mrcascade.errors import MRCascadeError
from mrcascade.operators import SeparableOperator


@pytest.mark.parametrize(
    ("n", "factor", "expected"),
    [
        (256, 2, 256),
        (255, 2, 254),
        (255, 4, 252),
        (10, 1.5, 9),
        (10, 4 / 3, 8),
        (10, 1.333, 8),
        (7, 1, 7),
        (100, 2.5, 100),
        (9, Fraction(9, 4), 9),
    ],
)
def test_legal_size(n: int, factor: float, expected: int) -> None:
    assert legal_size(n, factor) == expected


@settings(max_examples=50, deadline=None)
@given(n=st.integers(20, 400), p=st.integers(1, 20), q=st.integers(1, 20))
def test_legal_size_is_the_largest_that_divides(n: int, p: int, q: int) -> None:
    factor = Fraction(max(p, q), min(p, q))
    legal = legal_size(n, float(factor))
    assert (legal / factor).denominator == 1
    assert all((size / factor).denominator > 1 for size in range(legal + 1, n + 1))


@pytest.mark.parametrize("factor", [0.5, 0, -2, float("nan"), float("inf")])
def test_factor_below_one_is_refused(factor: float) -> None:
    with pytest.raises(MRCascadeError, match=r"must be a number from 1 to 1000; got"):
        legal_size(8, factor)


def test_factor_that_is_no_simple_fraction_is_refused() -> None:
    with pytest.raises(MRCascadeError, match=r"factor 1\.003 is not a simple fraction"):
        legal_size(8, 1.003)


def test_size_below_the_smallest_legal_one() -> None:
    with pytest.raises(MRCascadeError, match=r"size 3 is too small for factor 4; .* size is 4"):
        legal_size(3, 4)


def test_from_kernel_names_size_factor_and_legal_size() -> None:
    with pytest.raises(MRCascadeError, match=r"size 255 .* factor 2 .* nearest legal size 254"):
        SeparableOperator.from_kernel("area", 2, (256, 255))
    with pytest.raises(MRCascadeError, match=r"size 100 .* factor 1\.5 .* legal size 99"):
        SeparableOperator.from_kernel("area", (1.5, 2), (100, 100))


@pytest.mark.parametrize("factor", [(2,), (2, 2, 2)])
def test_factor_must_be_a_number_or_a_pair(factor: tuple[int, ...]) -> None:
    with pytest.raises(MRCascadeError, match=r"a number or a \(row, col\) pair"):
        SeparableOperator.from_kernel("area", factor, (8, 8))


@pytest.mark.parametrize(
    ("factor", "expected"), [(2, (6, 9)), (1.5, (8, 12)), ((3, 1), (4, 18)), ([1, 4.5], (12, 4))]
)
def test_from_kernel_shapes(factor, expected: tuple[int, int]) -> None:
    operator = SeparableOperator.from_kernel("bicubic", factor, (12, 18))
    assert operator.in_shape == (12, 18)
    assert operator.out_shape == expected
