"""The Laplacian pyramid: exact rebuild, band definitions, level sizes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mrcascade.errors import MRCascadeError
from mrcascade.operators import KERNELS, SeparableOperator, downsampler, upsampler
from mrcascade.operators.pyramid import LaplacianPyramid

# Each level adds what it subtracted: a few roundings of values of order one per level.
EXACT = 20 * torch.finfo(torch.float64).eps


def normal(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kernel", KERNELS)
@settings(max_examples=20, deadline=None)
@given(
    shape=st.tuples(st.integers(3, 40), st.integers(1, 40)),
    levels=st.integers(1, 3),
    dtype=st.sampled_from([torch.float64, torch.complex128]),
)
def test_rebuild_is_exact(
    kernel: str, shape: tuple[int, int], levels: int, dtype: torch.dtype
) -> None:
    pyramid = LaplacianPyramid(kernel, shape, levels)
    x = normal(2, 1, *shape, dtype=dtype)
    bands = pyramid.decompose(x)
    assert [tuple(band.shape[-2:]) for band in bands] == pyramid.shapes
    assert all(band.dtype == dtype for band in bands)
    assert float((pyramid.rebuild(bands) - x).abs().max()) <= EXACT


@pytest.mark.parametrize("kernel", KERNELS)
def test_rebuild_is_exact_with_more_levels_in_float32(kernel: str) -> None:
    pyramid = LaplacianPyramid(kernel, (101, 64), 5)
    x = normal(2, 2, 101, 64, dtype=torch.float32)
    error = (pyramid.rebuild(pyramid.decompose(x)) - x).abs().max()
    assert float(error) <= 20 * torch.finfo(torch.float32).eps


def test_level_shapes_round_up() -> None:
    assert LaplacianPyramid("fourier", (13, 8), 4).shapes == [(13, 8), (7, 4), (4, 2), (2, 1)]
    assert LaplacianPyramid("fourier", (13, 8), 1).shapes == [(13, 8)]
    assert LaplacianPyramid("area", (1, 4), 3).shapes == [(1, 4), (1, 2), (1, 1)]
    assert LaplacianPyramid("fourier", (17, 12), 3, step=4).shapes == [(17, 12), (5, 3), (2, 1)]


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_step_of_four_is_two_steps_of_two(kernel: str) -> None:
    x = normal(1, 24, 16)
    (fine, coarse), halves = (
        LaplacianPyramid(kernel, (24, 16), levels, step).decompose(x)
        for levels, step in ((2, 4), (3, 2))
    )
    assert float((coarse - halves[-1]).abs().max()) <= EXACT
    band = LaplacianPyramid(kernel, (24, 16), 2).up(halves[1], 1) + halves[0]
    assert float((fine - band).abs().max()) <= EXACT


@pytest.mark.parametrize("kernel", KERNELS)
def test_bands_are_those_of_the_definition(kernel: str) -> None:
    pyramid = LaplacianPyramid(kernel, (12, 10), 3)
    x = normal(12, 10)
    down = [downsampler(kernel, (12, 10), (6, 5)), downsampler(kernel, (6, 5), (3, 3))]
    up = [upsampler(kernel, (12, 10), (6, 5)), upsampler(kernel, (6, 5), (3, 3))]
    half, quarter = down[0](x), down[1](down[0](x))
    expected = [x - up[0](half), half - up[1](quarter), quarter]
    for band, reference in zip(pyramid.decompose(x), expected, strict=True):
        torch.testing.assert_close(band, reference, rtol=0, atol=EXACT)
    assert torch.equal(pyramid.down(half, 2), quarter)
    assert torch.equal(pyramid.up(quarter, 2), up[1](quarter))


@pytest.mark.parametrize("kernel", KERNELS)
def test_coarsest_band_is_the_four_fold_measurement(kernel: str) -> None:
    pyramid = LaplacianPyramid(kernel, (16, 24), 3)
    x = normal(16, 24)
    measured = SeparableOperator.from_kernel(kernel, 4, (16, 24))(x)
    torch.testing.assert_close(pyramid.decompose(x)[-1], measured, rtol=0, atol=10 * EXACT)


@pytest.mark.parametrize("shape", [(16, 12), (15, 9), (14, 11)])
def test_fourier_bands_hold_nothing_of_the_coarser_level(shape: tuple[int, int]) -> None:
    pyramid = LaplacianPyramid("fourier", shape, 3)
    bands = pyramid.decompose(normal(*shape))
    for level in (1, 2):
        assert float(pyramid.down(bands[level - 1], level).abs().max()) <= 10 * EXACT


def test_real_and_imaginary_parts_are_decomposed_independently() -> None:
    pyramid = LaplacianPyramid("fourier", (10, 12), 3)
    x = normal(10, 12, dtype=torch.complex128)
    parts = zip(pyramid.decompose(x.real), pyramid.decompose(x.imag), strict=True)
    for band, (real, imag) in zip(pyramid.decompose(x), parts, strict=True):
        torch.testing.assert_close(band, torch.complex(real, imag), rtol=0, atol=EXACT)


def test_errors() -> None:
    pyramid = LaplacianPyramid("area", (8, 8), 3)
    for level in (0, 3):
        with pytest.raises(MRCascadeError, match=f"3 levels has steps 1 to 2; got {level}"):
            pyramid.down(normal(8, 8), level)
        with pytest.raises(MRCascadeError, match=f"3 levels has steps 1 to 2; got {level}"):
            pyramid.up(normal(8, 8), level)
    with pytest.raises(MRCascadeError, match="3 levels cannot use 2 bands"):
        pyramid.rebuild([normal(8, 8), normal(4, 4)])
    with pytest.raises(MRCascadeError, match=r"expects an image of shape \(\.\.\., 8, 8\)"):
        pyramid.decompose(normal(7, 8))
    with pytest.raises(MRCascadeError, match="1 level or more"):
        LaplacianPyramid("area", (8, 8), 0)
    with pytest.raises(MRCascadeError, match=r"shape \(4, 2\) has no more than 3 levels; got 4"):
        LaplacianPyramid("area", (4, 2), 4)
    with pytest.raises(MRCascadeError, match="unknown kernel 'box'"):
        LaplacianPyramid("box", (4, 2), 2)
    for step in (1, 3):
        with pytest.raises(MRCascadeError, match="power of 2"):
            LaplacianPyramid("area", (8, 8), 2, step)
