"""Files left out of a series are counted and named; one that may belong to a series stops it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from dicom_series import base, classic, phantom, series, set_pixels, volume
from pydicom.uid import generate_uid
from tests.quick import slow_but

from mrcascade.cli import main
from mrcascade.errors import MRCascadeError
from mrcascade.io import read_image

PIXELS = phantom((4, 16, 16))


def colour(dataset: pydicom.Dataset) -> None:
    set_pixels(dataset, np.zeros((16, 16), np.uint16))
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 3, "RGB"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PlanarConfiguration = 7, 0
    dataset.PixelData = bytes(16 * 16 * 3)


def mosaic(dataset: pydicom.Dataset) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]


def table(dataset: pydicom.Dataset) -> None:
    dataset.ModalityLUTSequence = [pydicom.Dataset()]


def capture(dataset: pydicom.Dataset) -> None:
    sop = "1.2.840.10008.5.1.4.1.1.7.3"
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop
    del dataset.ImagePositionPatient
    dataset.NumberOfFrames = 3
    dataset.PixelData = dataset.PixelData * 3


def no_slope(dataset: pydicom.Dataset) -> None:
    dataset.RescaleSlope = "0"


FOREIGN = {
    "colour": (colour, "is a colour image (RGB)"),
    "mosaic": (mosaic, "is a mosaic"),
    "table": (table, "maps its values through a table"),
    "capture": (capture, "frames without positions"),
}


def foreign(folder: Path, change: Callable[[pydicom.Dataset], None], uid: str = "") -> Path:
    """A file of series 9, or of the series ``uid``, beside others."""
    dataset = classic(PIXELS[:1], SeriesNumber=9, SeriesDescription="extra")[0]
    change(dataset)
    if uid:
        dataset.SeriesInstanceUID = uid
    dataset.save_as(folder / "IM_9000", enforce_file_format=True)
    return folder / "IM_9000"


@pytest.mark.parametrize("kind", slow_but(FOREIGN, "table"))
def test_a_file_of_another_series(tmp_path: Path, sr: Callable, capsys, kind: str) -> None:
    folder = series(tmp_path / "s", PIXELS)
    change, why = FOREIGN[kind]
    foreign(folder, change)
    for command in (["info", str(folder)], ["info", str(folder), "--series", "5"]):
        assert main(command) == 0
        said = capsys.readouterr()
        assert "4 images of 16 x 16" in said.out
        assert said.err.startswith('mrcascade: note: series 9 "extra" cannot be used, 1 file in')
        assert "(IM_9000) left out" in said.err
        assert why in said.err
    for chosen in ([], ["--series", "5"], ["--series", "all"]):
        assert sr(folder, *chosen, "--dry-run") == 0
        assert why in capsys.readouterr().err
    assert sr(folder, "--series", "9") == 2
    assert why in capsys.readouterr().err
    np.testing.assert_array_equal(read_image(folder).data, volume(PIXELS))


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_of_the_same_series(tmp_path: Path, kind: str) -> None:
    folder = series(tmp_path / "s", PIXELS, SeriesInstanceUID="1.2.3")
    change, why = FOREIGN[kind]
    foreign(folder, change, "1.2.3")
    with pytest.raises(MRCascadeError) as caught:
        read_image(folder)
    assert why in str(caught.value)


def test_a_damaged_file_of_another_series(tmp_path: Path, sr: Callable, capsys) -> None:
    """It fails by itself, and is noted where one series was asked for."""
    folder = series(tmp_path / "s", PIXELS)
    path = foreign(folder, no_slope)
    assert sr(folder, "--series", "5", "--dry-run") == 0
    assert "note: left out: " in (said := capsys.readouterr().err)
    assert "RescaleSlope is 0" in said
    for chosen in ([], ["--series", "all"]):
        assert sr(folder, *chosen, "--dry-run") == 1
        assert f"1 of 2 files failed: {path}" in capsys.readouterr().err
    assert main(["info", str(folder)]) == 0
    assert "RescaleSlope is 0" in capsys.readouterr().err


def test_one_instance_uid_for_all(tmp_path: Path, sr: Callable, capsys) -> None:
    folder = series(tmp_path / "s", PIXELS, SOPInstanceUID="1.2.3.4")
    np.testing.assert_array_equal(read_image(folder).data, volume(PIXELS))
    assert sr(folder) == 0
    assert len(list((tmp_path / "out" / "s_desc-sr2x.dicom").iterdir())) == 4
    said = capsys.readouterr().err
    assert "note: 4 files in" in said
    assert "share their SOPInstanceUID" in said


def test_one_instance_uid_and_position_but_other_pixels(tmp_path: Path) -> None:
    """Two images of one slice: not copies, and nothing tells which is meant."""
    folder = series(tmp_path / "s", PIXELS)
    dataset = pydicom.dcmread(folder / "IM003.dcm")
    dataset.PixelData = PIXELS[3].tobytes()
    dataset.save_as(folder / "other.dcm")
    with pytest.raises(MRCascadeError, match="1 to 2 images per slice position"):
        read_image(folder)


def test_copies_are_named(tmp_path: Path, sr: Callable, capsys) -> None:
    """Also copies that say something else about who and when."""
    folder = series(tmp_path / "s", PIXELS)
    shutil.copy(folder / "IM003.dcm", folder / "a copy.dcm")
    dataset = pydicom.dcmread(folder / "IM010.dcm")
    dataset.PatientName, dataset.StationName = "Anonymous", "archive"
    dataset.save_as(folder / "z again.dcm")
    np.testing.assert_array_equal(read_image(folder).data, volume(PIXELS))
    assert sr(folder, "--dry-run") == 0
    said = capsys.readouterr().err
    assert "note: 2 files in" in said
    assert "left out: copies of images that other files hold" in said


def test_other_kinds_are_named(tmp_path: Path, sr: Callable, capsys) -> None:
    folder = series(tmp_path / "s", PIXELS)
    report = base("1.2.840.10008.5.1.4.1.1.88.11", *(generate_uid() for _ in range(3)))
    report.save_as(folder / "report.dcm", enforce_file_format=True)
    (folder / "IM_0005").touch()  # emptied by a failed copy
    (folder / "notes.txt").write_text("no image")
    assert sr(folder, "--dry-run") == 0
    said = capsys.readouterr().err
    assert "1 file in " in said
    assert "(report.dcm) left out: no MR images" in said
    assert "(IM_0005) left out: no DICOM files" in said
    assert "notes" not in said


# ---- links that lead nowhere ----


@pytest.mark.parametrize("name", ["IM017.dcm", "IM_0003", "1.2.840.113619.2"])
def test_a_dangling_link_could_be_a_slice(tmp_path: Path, name: str) -> None:
    folder = series(tmp_path / "s", PIXELS)
    (folder / "IM017.dcm").unlink()
    (folder / name).symlink_to("../.git/annex/objects/3")
    with pytest.raises(MRCascadeError, match=r"is a link to a missing file"):
        read_image(folder)


def test_a_dangling_link_of_another_kind(tmp_path: Path) -> None:
    folder = series(tmp_path / "s", PIXELS)
    (folder / "readme.txt").symlink_to("nowhere")
    np.testing.assert_array_equal(read_image(folder).data, volume(PIXELS))


def test_dangling_images_fail_by_themselves(tmp_path: Path, sr: Callable, capsys) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    nib.save(nib.Nifti1Image(PIXELS.T, np.eye(4)), folder / "a.nii.gz")
    (folder / "b.nii.gz").symlink_to("../.git/annex/objects/b")
    (folder / "c.nii").symlink_to("c.nii")  # to itself
    assert sr(folder) == 1
    said = capsys.readouterr().err
    assert "b.nii.gz is a link to a missing file" in said
    assert "c.nii" in said
    assert "2 of 3 files failed" in said
    assert main(["info", str(folder)]) == 1
    assert "b.nii.gz is a link to a missing file" in capsys.readouterr().err
