"""Places of thin slices: against an independent resampler, for any affine, axis and thickness."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from thick_images import Blob, random_blob

import mrcascade
from mrcascade.prior.cascade import CascadePrior

# The smoothest volume is no Gaussian, but as symmetric; 1 % of a thick slice is the claim.
MOST = 0.01


def centroid(image: sitk.Image) -> np.ndarray:
    """Centre of mass in RAS mm, by the geometry that SimpleITK reads."""
    values = sitk.GetArrayFromImage(image).transpose(2, 1, 0).astype(np.float64)
    index = np.stack([np.indices(values.shape)[a] for a in range(3)], -1).reshape(-1, 3)
    mean = (values.ravel()[:, None] * index).sum(0) / values.sum()
    return np.array(image.TransformContinuousIndexToPhysicalPoint(mean)) * (-1, -1, 1)


def corners(image: sitk.Image) -> np.ndarray:
    """Outer corners of the field of view, sorted (mm)."""
    size = np.array(image.GetSize())
    index = np.array(list(np.ndindex(2, 2, 2))) * size - 0.5
    points = [image.TransformContinuousIndexToPhysicalPoint(list(map(float, i))) for i in index]
    return np.array(sorted(np.round(points, 3).tolist()))


def check(seed: int, folder: Path, prior: CascadePrior) -> None:
    blob = random_blob(seed)
    path = blob.save(folder / "thick.nii", SliceThickness=blob.thickness)
    spacing = None if seed % 3 else blob.distance / np.random.default_rng(seed).uniform(1.1, 8)
    made = mrcascade.make_isotropic_file(path, folder / "out", prior, mode="lsq", spacing=spacing)
    thick, thin = sitk.ReadImage(str(path)), sitk.ReadImage(str(made[0]))
    # The same field of view; float32 affines of some 100 mm.
    np.testing.assert_allclose(corners(thin), corners(thick), atol=2e-3)
    asked = spacing or np.delete(blob.affine[:3, :3], blob.axis, 1)[:, 0]
    samples = round(blob.shape[blob.axis] * blob.distance / np.linalg.norm(asked))
    assert thin.GetSize()[blob.axis] == samples
    assert [n for a, n in enumerate(thin.GetSize()) if a != blob.axis] == [
        n for a, n in enumerate(blob.shape) if a != blob.axis
    ]
    resampled = sitk.Resample(thick, thin, sitk.Transform(), sitk.sitkBSpline, 0.0)
    moved = centroid(thin) - blob.centre, centroid(thin) - centroid(resampled)
    assert np.abs(moved).max() < MOST * blob.distance


@pytest.mark.parametrize("seed", range(4))
def test_a_blob_stays_where_it_is(seed: int, tmp_path: Path, prior: CascadePrior) -> None:
    check(seed, tmp_path, prior)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4, 200))
def test_blobs_stay_where_they_are(seed: int, tmp_path: Path, prior: CascadePrior) -> None:
    check(seed, tmp_path, prior)


def test_a_sheared_stack_keeps_its_edges(tmp_path: Path, prior: CascadePrior) -> None:
    """Slices need not lie along their normal; the distance of planes counts, not of voxels."""
    affine = np.diag([1.0, 1.0, 4.0, 1.0])
    affine[0, 2] = 1.5
    blob = Blob((40, 40, 12), affine, 2, 4.0, np.array([28.0, 19.5, 22.0]), 4.5)
    made = mrcascade.make_isotropic_file(
        blob.save(tmp_path / "a.nii"), tmp_path / "out", prior, mode="lsq"
    )
    thin = nib.load(made[0])
    assert thin.shape == (40, 40, 48)
    for corner in np.ndindex(2, 2, 2):
        old, new = (np.array(corner) * s - 0.5 for s in ((40, 40, 12), (40, 40, 48)))
        np.testing.assert_allclose(
            nib.affines.apply_affine(thin.affine, new),
            nib.affines.apply_affine(affine, old),
            atol=1e-4,
        )
