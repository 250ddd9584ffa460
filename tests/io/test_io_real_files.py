"""Real scans: planes by their protocol, and a round trip through a finer grid."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mrcascade.io import (
    choose_axes,
    from_slices,
    plane_name,
    read_image,
    resampled_affine,
    to_slices,
    write_image,
)

# One per kind of geometry: file, in-plane axes, plane.
FILES = [
    ("prostate/test/prostatex0001_t2w_tra.nii.gz", (0, 1), "axial"),
    ("prostate/test/prostatex0001_t2w_sag.nii.gz", (0, 1), "sagittal"),
    ("prostate/test/prostatex0001_t2w_cor.nii.gz", (0, 1), "coronal"),
    ("knee/test/knee01_s18-23_mese_te06.3ms.nii.gz", (0, 1), "sagittal"),
    ("brain/test/ptbp44_t1w_ax.nii.gz", (0, 2), "axial"),  # slices are not the last axis
    ("brain/test/torchio_fpg_t2w_ax.nii.gz", (0, 1), "axial"),
]


@pytest.mark.parametrize(("name", "axes", "plane"), FILES)
def test_reading_real_scans(
    data_folder: Path, name: str, axes: tuple[int, int], plane: str
) -> None:
    image = read_image(data_folder / name)
    assert choose_axes(image) == axes
    assert plane_name(image, axes) == plane
    reference = nib.load(data_folder / name)
    np.testing.assert_array_equal(image.data, reference.get_fdata(dtype=np.float32))
    np.testing.assert_array_equal(image.affine, reference.affine)
    assert image.sha256 in json.dumps(json.loads((data_folder / "manifest.json").read_text()))


@pytest.mark.parametrize("kernel", ["area", "fourier"])
@pytest.mark.parametrize("name", [FILES[2][0], FILES[3][0], FILES[4][0]])
def test_a_finer_grid_of_a_real_scan(
    data_folder: Path, tmp_path: Path, name: str, kernel: str
) -> None:
    image = read_image(data_folder / name)
    axes = choose_axes(image)
    crop = to_slices(image, axes)[:, :64, :64]
    fine = crop.repeat(2, axis=1).repeat(2, axis=2)
    affine = resampled_affine(image.affine, axes, kernel, crop.shape[1:], fine.shape[1:])
    write_image(image.with_data(from_slices(fine, image, axes), affine), tmp_path / "fine.nii.gz")
    out = nib.load(tmp_path / "fine.nii.gz")
    source = nib.load(data_folder / name).header
    for code in ("sform_code", "qform_code", "xyzt_units"):
        assert out.header[code] == source[code]
    # Voxel (k, k) of the old grid: same place as the mean of its four parts, or as its first part.
    old, new = np.zeros((4, 3)), np.zeros((4, 3))
    old[:, list(axes)] = [[0, 0], [10, 0], [0, 63], [63, 63]]
    new[:, list(axes)] = 2 * old[:, list(axes)] + (0.5 if kernel == "area" else 0)
    np.testing.assert_allclose(
        nib.affines.apply_affine(out.affine, new),
        nib.affines.apply_affine(image.affine, old),
        rtol=0,
        atol=1e-4,  # mm: float32 entries of up to a few hundred mm, rounded to 3e-5
    )
    if source["qform_code"]:
        corner = np.array(out.shape) - 1.0
        gap = nib.affines.apply_affine(out.get_qform(), corner) - nib.affines.apply_affine(
            out.affine, corner
        )
        assert np.abs(gap).max() < 0.5 * min(out.header.get_zooms())
