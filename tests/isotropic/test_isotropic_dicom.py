"""`sr --isotropic` of DICOM series: new slices, their places and what their headers say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from tests.dicom.dicom_series import (
    ORIENTATIONS,
    ORIGIN,
    SPACING,
    STEP,
    classic,
    enhanced,
    read_all,
    series,
)
from tests.quick import slow_but
from thick_images import phantom

from mrcascade.io import read_image

LSQ = ("--mode", "lsq")
SLICES, NEW = 4, 20  # 3.5 mm apart, pixels of 0.7 x 1.3 mm
NAME = "s_desc-sriso.dicom"


def pixels(slices: int = SLICES) -> np.ndarray:
    return phantom((16, 18, slices)).round().astype(np.int16).transpose(2, 0, 1)


@pytest.mark.parametrize("orientation", slow_but(ORIENTATIONS, "oblique"))
def test_independent_readers_see_the_new_slices(
    orientation: str, tmp_path: Path, sr: Callable
) -> None:
    """Pixels and places as SimpleITK reads them, against the NIfTI result before rounding."""
    folder = series(tmp_path / "s", pixels(), orientation)
    assert sr(folder, *LSQ) == 0
    assert sr(folder, *LSQ, "--format", "nifti", "--overwrite") == 0
    made = tmp_path / "out" / NAME
    seen = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(made)))
    nifti = nib.load(tmp_path / "out" / "s_desc-sriso.nii.gz")
    assert seen.GetSize() == nifti.shape == (18, 16, NEW)
    difference = sitk.GetArrayFromImage(seen).transpose(2, 1, 0) - nifti.get_fdata()
    assert np.abs(difference).max() <= 0.5 + 1e-3
    for index in np.ndindex(2, 2, 2):
        corner = [int(i * (n - 1)) for i, n in zip(index, seen.GetSize(), strict=True)]
        place = np.array(seen.TransformIndexToPhysicalPoint(corner)) * (-1, -1, 1)
        np.testing.assert_allclose(nib.affines.apply_affine(nifti.affine, corner), place, atol=1e-4)
    np.testing.assert_allclose(read_image(made).affine, nifti.affine, atol=1e-4)


def test_headers_of_new_slices(tmp_path: Path, sr: Callable, capsys) -> None:
    source = classic(pixels(), "oblique", SliceLocation="7", ImagesInAcquisition="4")
    (tmp_path / "s").mkdir()
    for place, dataset in enumerate(source):
        dataset.save_as(tmp_path / "s" / f"{9 - place}.dcm", enforce_file_format=True)
    assert sr(tmp_path / "s", *LSQ) == 0
    printed = capsys.readouterr().out
    assert "4 slices of 3 mm (by its DICOM header), 3.5 mm apart" in printed
    assert "warning: between slices are gaps of 0.5 mm" in printed
    new = read_all(tmp_path / "out" / NAME)
    assert [d.InstanceNumber for d in new] == list(range(1, NEW + 1))
    assert len({d.SOPInstanceUID for d in (*new, *source)}) == NEW + SLICES
    assert len({d.SeriesInstanceUID for d in new}) == 1
    normal = np.cross(*ORIENTATIONS["oblique"])
    spacing = SLICES * STEP / NEW
    for place, dataset in enumerate(new):
        at = np.add(ORIGIN, ((place + 0.5) * spacing - STEP / 2) * normal)
        np.testing.assert_allclose(np.array(dataset.ImagePositionPatient, float), at, atol=1e-6)
        assert float(dataset.SliceThickness) == pytest.approx(spacing)
        assert float(dataset.SpacingBetweenSlices) == pytest.approx(spacing)
        assert list(map(float, dataset.PixelSpacing)) == list(SPACING)
        assert (dataset.Rows, dataset.Columns) == (16, 18)
        assert "SliceLocation" not in dataset
        assert "ImagesInAcquisition" not in dataset
        assert dataset.SeriesDescription == "t2 tse sriso"
        assert dataset.ImageType[:2] == ["DERIVED", "SECONDARY"]
        equipment = dataset.ContributingEquipmentSequence[-1]
        assert equipment.ContributionDescription == "sriso"  # no prior ran
        assert "thick slices resolved into thin ones" in dataset.DerivationDescription
        # The header continues that of the slice in which the new one lies.
        (reference,) = dataset.SourceImageSequence
        own = source[place * SLICES // NEW]
        assert reference.ReferencedSOPInstanceUID == own.SOPInstanceUID
    told = json.loads((tmp_path / "out" / "s_desc-sriso.json").read_text())
    assert told["ThickSlices"]["SliceThicknessOrigin"] == "by its DICOM header"
    # Rounding to integers: a difference of 1/2 in pixels of some 300.
    assert 1e-5 < told["ResidualStored"] < 5e-3
    assert told["FileCounts"] == [[NAME, NEW]]


def test_the_result_is_isotropic_and_can_be_made_again(
    tmp_path: Path, sr: Callable, capsys
) -> None:
    folder = series(tmp_path / "s", pixels())
    assert sr(folder, *LSQ) == 0
    before = [d.SOPInstanceUID for d in read_all(tmp_path / "out" / NAME)]
    assert sr(folder, *LSQ, "--overwrite") == 0
    assert [d.SOPInstanceUID for d in read_all(tmp_path / "out" / NAME)] == before
    assert sr(folder, *LSQ, "--resume") == 0
    assert "already done" in capsys.readouterr().out
    (tmp_path / "out" / NAME).rename(tmp_path / "thin")
    assert sr(tmp_path / "thin", *LSQ) == 2
    assert "so that it is isotropic already" in capsys.readouterr().err


@pytest.mark.parametrize("order", slow_but([(), (3, 2, 1, 0), (2, 0, 3, 1)], (2, 0, 3, 1)))
def test_frames_of_one_file(order: tuple[int, ...], tmp_path: Path, sr: Callable) -> None:
    path = tmp_path / "e.dcm"
    enhanced(pixels(), "oblique", order).save_as(path, enforce_file_format=True)
    folder = series(tmp_path / "s", pixels(), "oblique", RescaleSlope="2", RescaleIntercept="-10")
    assert sr(path, *LSQ) == 0
    assert sr(folder, *LSQ) == 0
    first, second = (read_image(tmp_path / "out" / f"{n}_desc-sriso.dicom") for n in "es")
    np.testing.assert_array_equal(first.data, second.data)
    np.testing.assert_allclose(first.affine, second.affine, atol=1e-6)
    (file,) = (tmp_path / "out" / "e_desc-sriso.dicom").iterdir()
    dataset = pydicom.dcmread(file)
    groups = dataset.PerFrameFunctionalGroupsSequence
    assert dataset.NumberOfFrames == len(groups) == NEW
    contents = [group.FrameContentSequence[0] for group in groups]
    assert [c.InStackPositionNumber for c in contents] == list(range(1, NEW + 1))
    assert [list(c.DimensionIndexValues) for c in contents] == [[1, k + 1] for k in range(NEW)]
    measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert float(measures.SliceThickness) == pytest.approx(SLICES * STEP / NEW)
    # SimpleITK keeps the frames in the order of the file: from the first slice to the last.
    stored = sitk.GetArrayFromImage(sitk.ReadImage(file))
    np.testing.assert_allclose(stored, first.data.transpose(2, 1, 0))


def test_volumes_of_a_series(tmp_path: Path, sr: Callable) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    for volume in range(2):
        for place, dataset in enumerate(classic(pixels() + 100 * volume)):
            dataset.SeriesInstanceUID = dataset.StudyInstanceUID = "1.2.3"
            dataset.EchoTime = str(20 + 60 * volume)
            dataset.InstanceNumber = volume * SLICES + place + 1
            dataset.save_as(folder / f"{volume}{place}.dcm", enforce_file_format=True)
    assert sr(folder, *LSQ) == 0
    image = read_image(tmp_path / "out" / NAME)
    assert image.shape == (18, 16, NEW, 2)
    # Least squares keep constants, and values are rounded.
    assert np.abs(image.data[..., 1] - image.data[..., 0] - 100).max() <= 1
    new = read_all(tmp_path / "out" / NAME)
    assert [d.InstanceNumber for d in new] == list(range(1, 2 * NEW + 1))
    assert [float(d.EchoTime) for d in new] == [20] * NEW + [80] * NEW


def test_series_with_a_hole_or_of_several_thicknesses(tmp_path: Path, sr: Callable, capsys) -> None:
    source = classic(pixels(7))
    for name, kept in (("hole", [0, 1, 2, 5, 6]), ("mixed", range(7))):
        (tmp_path / name).mkdir()
        for place in kept:
            source[place].SliceThickness = "3" if name == "hole" or place else "4"
            source[place].save_as(tmp_path / name / f"{place}.dcm", enforce_file_format=True)
    assert sr(tmp_path / "hole", *LSQ) == 2
    assert "mm apart, and --isotropic needs equal distances" in capsys.readouterr().err
    assert sr(tmp_path / "mixed", *LSQ) == 2
    error = capsys.readouterr().err
    assert "its slices are 3 to 4 mm thick by its DICOM header; give one thickness" in error
    assert sr(tmp_path / "mixed", *LSQ, "--slice-thickness", "3.2") == 0


def test_a_series_without_identity(tmp_path: Path, sr: Callable) -> None:
    folder = series(tmp_path / "s", pixels())
    assert sr(folder, *LSQ, "--deidentify") == 0
    (made,) = (tmp_path / "out").glob("anon-*_desc-sriso.dicom")
    new = read_all(made)
    assert len(new) == NEW
    for dataset in new:
        assert "SourceImageSequence" not in dataset
        assert dataset.get("PatientName", "") == ""
        assert "Doe" not in str(dataset)
    told = json.loads(made.with_suffix(".json").read_text())
    assert "Seed" not in told["Settings"]
    assert "SourceHMAC" in told
