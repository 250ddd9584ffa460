"""The rigid motion between two stacks is found."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from stack_images import Anatomy, stack_affine

from mrcascade.measurement.agreement import Agreement, PlacedVolume, measure_agreement
from mrcascade.restore.volume import ThickSlices, least_squares

RATIO = 4


def placed(
    anatomy: Anatomy, plane: str, motion: np.ndarray | None = None, noise: float = 0.0
) -> PlacedVolume:
    """Least squares of a stack of slices of 4 mm; the person has moved."""
    affine, shape = stack_affine(plane)
    slices = anatomy.moved(motion).slices(affine, shape)
    slices += noise * slices.max() * np.random.default_rng(1).normal(size=shape)
    thin = affine.copy()
    thin[:3, 0] /= RATIO
    thin[:3, 3] -= affine[:3, 0] * (0.5 - 0.5 / RATIO)
    volume = least_squares(slices.astype(np.float32), ThickSlices(shape[0], RATIO * shape[0]))
    return PlacedVolume(volume, thin, 4.0)


def found(motion: np.ndarray | None, plane: str = "coronal", noise: float = 0.0) -> Agreement:
    anatomy = Anatomy()
    agreement = measure_agreement(placed(anatomy, "axial"), placed(anatomy, plane, motion, noise))
    assert agreement is not None
    return agreement


def motion_of(shift: tuple[float, ...], degrees: tuple[float, ...] = (0, 0, 0)) -> np.ndarray:
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    motion[:3, 3] = shift
    return motion


@pytest.mark.parametrize("plane", ["coronal", "sagittal", "oblique"])
def test_stacks_that_agree(plane: str) -> None:
    agreement = found(None, plane)
    # 1 % of a slice, as for the geometry of `--isotropic`.
    assert agreement.displacement < 0.04
    assert agreement.correlation > 0.999
    assert agreement.gain == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("shift", [(0.6, 0, 0), (0, -0.8, 0), (0, 0, 1.0), (1.5, -2.0, 1.0)])
@pytest.mark.parametrize("plane", ["coronal", "sagittal"])
def test_a_shift_is_found_in_mm(shift: tuple[float, ...], plane: str) -> None:
    agreement = found(motion_of(shift), plane, noise=0.02)
    # 1 % of a slice, and 1 % of the way; noise of 2 % averages out over thousands of voxels.
    length = float(np.linalg.norm(shift))
    np.testing.assert_allclose(agreement.shift, np.negative(shift), atol=0.04 + 0.01 * length)
    assert agreement.displacement == pytest.approx(length, abs=0.04 + 0.01 * length)
    text = agreement.describe()
    assert text.startswith(f"{agreement.displacement:.2f} mm (shift {agreement.shift[0]:.2f}, ")


def test_a_rotation_is_found() -> None:
    moved = motion_of((1.0, 0.5, -0.5), (2.0, -1.0, 3.0))
    agreement = found(moved)
    corners = np.array([[x, y, z, 1.0] for x in (-8, 8) for y in (-8, 8) for z in (-8, 8)])
    back = corners @ moved.T @ agreement.motion.T
    np.testing.assert_allclose(back, corners, atol=0.08)  # twice 1 % of a slice
    turn = np.rad2deg(Rotation.from_matrix(moved[:3, :3]).magnitude())
    assert agreement.degrees == pytest.approx(turn, abs=0.2)


def test_gains_and_other_contrasts_are_told() -> None:
    anatomy = Anatomy()
    first, other = placed(anatomy, "axial"), placed(anatomy, "coronal")
    bright = PlacedVolume(2.5 * other.values, other.affine, 4.0)
    agreement = measure_agreement(first, bright)
    assert agreement is not None
    assert agreement.gain == pytest.approx(2.5, rel=0.01)
    inverted = PlacedVolume(other.values.max() - other.values, other.affine, 4.0)
    unlike = measure_agreement(first, inverted)
    assert unlike is not None
    assert unlike.correlation < 0.7  # below which stacks are refused


def test_air_has_no_place() -> None:
    first = placed(Anatomy(), "axial")
    nothing = PlacedVolume(np.zeros_like(first.values), first.affine, 4.0)
    assert measure_agreement(first, nothing) is None
