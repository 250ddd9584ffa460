"""A stack of any place and direction as a measurement of a volume."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import special_ortho_group

from mrcascade.errors import MRCascadeError
from mrcascade.operators.profile import FWHM, GAUSSIAN
from mrcascade.operators.stack import Size, StackOperator

SHAPE: Size = (14, 18, 16)


def centred(directions: np.ndarray, spacing: tuple[float, ...], shape: Size) -> np.ndarray:
    """Affine of a grid around the origin."""
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def turned(degrees: float, about: int) -> np.ndarray:
    p, q = [axis for axis in range(3) if axis != about]
    turn = np.eye(3)
    turn[[p, q], [p, q]] = np.cos(np.deg2rad(degrees))
    turn[p, q], turn[q, p] = -np.sin(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return turn


@pytest.mark.parametrize("seed", range(8))
def test_the_adjoint_is_the_transpose(seed: int) -> None:
    """Random directions, mirrored or not, voxel sizes and places, also in part outside."""
    rng = np.random.default_rng(seed)
    own = special_ortho_group.rvs(3, random_state=rng)
    affine = centred(own, tuple(rng.uniform(0.8, 1.2, 3)), SHAPE)
    shape = (5, 12, 11)
    directions = special_ortho_group.rvs(3, random_state=rng) * rng.choice([-1, 1], 3)
    stack = centred(directions, (rng.uniform(1.5, 4), *rng.uniform(0.7, 1.5, 2)), shape)
    stack[:3, 3] += rng.uniform(-4, 4, 3)
    operator = StackOperator(SHAPE, affine, shape, stack, 3.0, GAUSSIAN, ends=seed % 2 == 0)
    x, y = rng.normal(size=SHAPE), rng.normal(size=shape)
    seen, back = operator(x), operator.adjoint(y)
    assert seen.shape == shape
    assert back.shape == SHAPE
    # Both sums have rounding errors of some 1e-16 of their terms.
    assert abs(np.vdot(y, seen) - np.vdot(back, x)) < 1e-12 * np.abs(y * seen).sum()


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("direction", [1, -1])
def test_a_stack_on_the_voxels_is_the_slice_profile(axis: int, direction: int) -> None:
    """Slices of 4 voxels across any axis, whose pixels are voxels: one small matrix."""
    volume = np.random.default_rng(0).normal(size=(16, 20, 12))
    slices = volume.shape[axis] // 4
    order = [axis, *(a for a in range(3) if a != axis)]
    stack = np.eye(4)[:, [*order, 3]]
    stack[:, 0] *= 4
    stack[axis, 3] = 1.5  # the first slice is the mean of voxels 0 to 3
    seen = np.moveaxis(volume, axis, 0)
    expected = np.tensordot(GAUSSIAN.matrix(4 * slices, slices), seen, 1)
    if direction < 0:
        expected = expected[:, ::-1]
        stack[:, 1] *= -1
        stack[:3, 3] -= stack[:3, 1] * (expected.shape[1] - 1)
    affine, ends = np.eye(4), {}
    for name in (True, False):
        ends[name] = StackOperator(
            volume.shape, affine, expected.shape, stack, 4.0, GAUSSIAN, ends=name
        )
    np.testing.assert_allclose(ends[True](volume), expected, atol=1e-14)
    assert ends[True].inside.all()
    # A Gaussian slice of 4 reaches 5.1 voxels from its centre: the outer ones reach beyond.
    inner = ends[False].inside.all((1, 2))
    assert inner.tolist() == [False, *[True] * (slices - 2), False]
    np.testing.assert_allclose(ends[False](volume)[inner], expected[inner], atol=1e-14)


@pytest.mark.parametrize("angles", [(0, 0, 0), (6, 0, 0), (10, -14, 21), (-40, 30, 5)])
def test_a_smooth_volume_is_seen_through_the_profile(angles: tuple[float, ...]) -> None:
    """A Gaussian blob seen by slices of any direction is known in closed form."""
    width, thickness = 3.0, 4.0
    shape, slices = (30, 32, 34), (9, 20, 22)
    affine = centred(turned(25, 1), (1.0, 1.0, 1.0), shape)
    turn = turned(angles[0], 0) @ turned(angles[1], 1) @ turned(angles[2], 2)
    stack = centred(affine[:3, :3] @ turn[:, [1, 2, 0]], (3.0, 1.3, 1.1), slices)
    middle = np.array([0.4, -0.3, 0.2])

    def offsets(grid: np.ndarray, size: Size) -> np.ndarray:
        places = np.moveaxis(np.indices(size), 0, -1) @ grid[:3, :3].T + grid[:3, 3]
        return np.asarray(places - middle)

    volume = np.exp(-(offsets(affine, shape) ** 2).sum(-1) / (2 * width**2))
    operator = StackOperator(shape, affine, slices, stack, thickness, GAUSSIAN)
    apart = offsets(stack, slices)
    across = apart @ (stack[:3, 0] / 3.0)
    through = width**2 + (thickness / FWHM) ** 2
    expected = np.exp(-((apart**2).sum(-1) - across**2) / (2 * width**2))
    expected *= np.exp(-(across**2) / (2 * through)) * width / np.sqrt(through)
    error = np.abs(operator(volume) - expected)[operator.inside]
    assert operator.inside.mean() > 0.5
    # Two interpolations in plane and two per rotation; the profile ends at 3 standard deviations,
    # beyond which a Gaussian has 0.3 % of its weight.
    interpolations = 2 + 2 * np.count_nonzero(angles)
    assert error.max() < interpolations * interpolation_error(width) + 0.003


def interpolation_error(width: float) -> float:
    """Largest error of a Lanczos kernel of three lobes for a Gaussian, over all places."""
    at = np.linspace(-3 * width, 3 * width, 997)[:, None]
    samples = np.arange(-20.0, 21.0)
    apart = at - samples
    kernel = np.where(np.abs(apart) < 3, np.sinc(apart) * np.sinc(apart / 3), 0)
    kernel /= kernel.sum(1, keepdims=True)
    error = kernel @ np.exp(-(samples**2) / (2 * width**2)) - np.exp(
        -(at[:, 0] ** 2) / (2 * width**2)
    )
    return float(np.abs(error).max())


def test_coarser_pixels_hold_lower_frequencies() -> None:
    """Pixels of two voxels keep a wave below their Nyquist frequency and lose one above it."""
    shape, pixels = (8, 64, 64), (8, 26, 26)
    stack = np.diag([1.0, 2.0, 2.0, 1.0])
    stack[1:3, 3] = 6.5
    operator = StackOperator(shape, np.eye(4), pixels, stack, 1.0, None)
    assert operator.inside.all()
    rows = np.arange(64.0)
    for cycles, least, most in ((0.125, 0.98, 1.02), (0.4, 0.0, 0.02)):
        wave = np.broadcast_to(np.exp(2j * np.pi * cycles * rows)[:, None], shape)
        seen = operator(wave.real.copy()) + 1j * operator(wave.imag.copy())
        assert least <= np.abs(seen).min() <= np.abs(seen).max() <= most


def test_what_cannot_be_placed() -> None:
    sheared = np.eye(4)
    sheared[0, 1] = 0.1
    with pytest.raises(MRCascadeError, match="the axes of a stack are not perpendicular"):
        StackOperator(SHAPE, np.eye(4), (3, 4, 4), sheared, 1.0, GAUSSIAN)
    far = np.eye(4)
    far[2, 3] = 100
    with pytest.raises(MRCascadeError, match="no place in common"):
        StackOperator(SHAPE, np.eye(4), (3, 4, 4), far, 1.0, GAUSSIAN)
