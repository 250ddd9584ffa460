"""Affines that NIfTI's single precision cannot hold are refused before any work."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mrcascade.errors import MRCascadeError
from mrcascade.io import Image, check_writable, read_image, write_image
from mrcascade.io.affine_precision import check_precision

SHAPE = (256, 256, 40)


def grid(spacing: float, offset: float = 0.0) -> np.ndarray:
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = offset
    return affine


def held(affine: np.ndarray) -> bool:
    try:
        check_precision(affine, SHAPE, Path("a"))
    except MRCascadeError:
        return False
    return True


@pytest.mark.parametrize(
    ("spacing", "offset"),
    [(1, 0), (0.5, 250), (0.01, 250), (1e-3, 5), (1e3, 1e6), (0.3, -2500), (1e-30, 1e-29)],
)
def test_scans_of_all_sizes_are_held(spacing: float, offset: float) -> None:
    assert held(grid(spacing, offset))


@pytest.mark.parametrize(
    ("spacing", "offset"),
    [
        (1e39, 0),
        (1, 1e39),
        (1, np.inf),
        (1, np.nan),
        (1e-44, 0),  # a denormal number, of few digits
        (1e-60, 0),
        (0.5, 1e6),
        (1e-3, 1e5),
    ],
)
def test_what_is_not_held(spacing: float, offset: float) -> None:
    assert not held(grid(spacing, offset))


def test_the_bound_is_one_of_the_true_shift() -> None:
    """Of random oblique affines with far origins: what is accepted moves no corner by 1 %."""
    corners = np.array([(*c, 1) for c in itertools.product(*((0, n) for n in SHAPE))])
    rng = np.random.default_rng(0)
    outcomes = {False: 0, True: 0}
    for _ in range(500):
        rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        affine = np.eye(4)
        affine[:3, :3] = rotation * 10 ** rng.uniform(-3, 1, 3)
        affine[:3, 3] = rng.normal(size=3) * 10 ** rng.uniform(0, 6)
        moved = corners @ (affine - affine.astype(np.float32)).T
        shift = np.linalg.norm(moved, axis=1).max() / np.linalg.norm(affine[:3, :3], axis=0).min()
        accepted = held(affine)
        outcomes[accepted] += 1
        assert not accepted or shift <= 0.01
        assert accepted or shift > 1e-4  # nor is a harmless one refused
    assert min(outcomes.values()) > 50


def test_a_nifti2_file_beyond_single_precision(tmp_path: Path, ramp: Callable) -> None:
    nib.Nifti2Image(ramp(4, 5, 6), grid(1e100)).to_filename(tmp_path / "a.nii")
    with pytest.raises(
        MRCascadeError, match=r"a\.nii has .* \(its affine has values up to 1e\+100"
    ):
        read_image(tmp_path / "a.nii")


@pytest.mark.parametrize("affine", [grid(0.5, 1e6), grid(1e-60), grid(1e100)])
def test_before_any_work_and_before_writing(
    affine: np.ndarray, image_of: Callable, ramp: Callable, tmp_path: Path
) -> None:
    image: Image = image_of(ramp(4, 5, 6), affine)
    for attempt in (check_writable, write_image):
        with pytest.raises(MRCascadeError, match="single precision cannot hold"):
            attempt(image, tmp_path / "b.nii.gz")
    assert list(tmp_path.iterdir()) == []
