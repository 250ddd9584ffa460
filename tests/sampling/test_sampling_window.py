"""Window of the body: its edges, and the conditional mean inside and outside it."""

from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor

from mrcascade.operators import SeparableOperator
from mrcascade.operators.pyramid import LaplacianPyramid
from mrcascade.sampling import Recipe, cascade_mean, plan_cascade
from mrcascade.sampling.orientations import ORIENTATIONS
from mrcascade.sampling.window import Window, by_window

MEAN = Recipe("mean", steps=None)


def body(shape: tuple[int, int], window: tuple[int, int, int, int], air: float = 0.0) -> Tensor:
    top, bottom, left, right = window
    image = torch.full((1, *shape), air, dtype=torch.float64)
    image[:, top:bottom, left:right] = -1  # the magnitude counts
    return image


def body_window(image: Tensor) -> Window:
    (window,) = by_window(image[None])
    return window


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ((40, 60, 33, 40), (24, 80, 16, 56)),  # 24 to 76 and 17 to 56, rounded outwards
        ((5, 60, 20, 99), (0, 80, 0, 100)),  # no further than the image
        ((10, 30, 84, 95), (0, 48, 64, 100)),  # 111 is past the edge, which is no multiple of 8
    ],
)
def test_the_window_is_the_body_and_a_margin(
    inside: tuple[int, int, int, int], expected: tuple[int, int, int, int]
) -> None:
    assert body_window(body((120, 100), inside)) == expected
    assert body_window(body((120, 100), inside, air=0.04)) == expected
    assert body_window(body((120, 100), inside, air=0.06)) == (0, 120, 0, 100)
    complex_channels = torch.cat([torch.zeros(1, 120, 100), body((120, 100), inside)])
    assert body_window(complex_channels) == expected


def test_a_bright_spot_does_not_hide_the_body() -> None:
    image = body((120, 100), (40, 60, 33, 83))
    image[0, 50:55, 40:45] = -100  # 25 of the brightest hundredth, 120 pixels
    assert body_window(image) == body_window(body((120, 100), (40, 60, 33, 83)))


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_all_of_an_image_where_nothing_stands_out(value: float) -> None:
    assert body_window(torch.full((1, 40, 60), value)) == (0, 40, 0, 60)


def test_images_share_windows() -> None:
    a, b = body((96, 96), (40, 50, 40, 50)), body((96, 96), (60, 70, 40, 50))
    shared = {(24, 72, 24, 72): [0, 2], (40, 88, 24, 72): [1], (0, 96, 0, 96): [3]}
    assert by_window(torch.stack([a, b, a, torch.zeros_like(a)])) == shared


@dataclass
class _Ramp:
    """A level whose conditional mean is its condition's square plus 0.1."""

    std: float = 1.0
    sigma_max: float = 80.0
    sigma_min: float = 0.01
    seen: list[Tensor] = field(default_factory=list)

    def condition(self, coarse: Tensor | None, error: float) -> "_Conditioned":
        assert coarse is not None
        self.seen.append(coarse)
        return _Conditioned(coarse.square() + 0.1)


@dataclass
class _Conditioned:
    band: Tensor

    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        raise AssertionError("noise-free means need no denoiser")

    def mean(self) -> Tensor:
        return self.band


@dataclass
class _Prior:
    levels: list[_Ramp]


def test_the_mean_is_sought_in_the_window_and_zero_outside() -> None:
    """``area`` ends at its blocks' edges, so that a body in y is one of the same extent in c."""
    shape = (96, 128)
    operator = SeparableOperator.from_kernel("area", 2, shape)
    y = torch.stack([body((48, 64), (16, 24, 20, 30)), body((48, 64), (2, 40, 40, 60))])
    settings = replace(MEAN, orientations=8, band_constraint=False)
    plan = plan_cascade("area", 3, operator, 0.0, settings)
    level = _Ramp()
    result = cascade_mean(_Prior([level, _Ramp(), _Ramp()]), plan, y)

    # Bilinear expansion widens a body by one pixel on each side: 31 to 49 by 39 to 61 pixels and
    # 3 to 81 by 79 to 121, before margin and rounding.
    windows = [(8, 72, 16, 80), (0, 96, 56, 128)]
    context = LaplacianPyramid("area", shape, 3).up(y, 1)
    band = torch.zeros_like(context)
    for index, (top, bottom, left, right) in enumerate(windows):
        inside = (slice(index, index + 1), slice(None), slice(top, bottom), slice(left, right))
        band[inside] = context[inside].square() + 0.1
        sizes = {(bottom - top, right - left), (right - left, bottom - top)}
        assert {tuple(c.shape[-2:]) for c in level.seen[index::2]} == sizes
    expected = operator.project(context + band, y)
    assert len(level.seen) == 2 * len(ORIENTATIONS)
    assert result.evaluations == {1: 8, 2: 0, 3: 0}  # of a batch, in each orientation
    # Sums of eight equal terms of order one, in float64.
    torch.testing.assert_close(result.image, expected, rtol=0, atol=1e-13)
