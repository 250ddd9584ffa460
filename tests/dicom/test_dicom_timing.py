"""Time between volumes of a DICOM series, and its entry in NIfTI results."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from dicom_series import classic, enhanced, phantom
from pydicom.dataset import Dataset

from mrcascade.cli import main
from mrcascade.io import read_image

Elements = dict[str, Any]


def time_series(folder: Path, volumes: Sequence[Elements], **common: Any) -> Path:
    """Two slices in each volume; `volumes` sets elements in those of one."""
    folder.mkdir(parents=True)
    for place, elements in enumerate(volumes):
        for number, dataset in enumerate(classic(phantom((2, 24, 20)))):
            dataset.SeriesInstanceUID = dataset.StudyInstanceUID = "1.2.3"
            dataset.FrameOfReferenceUID = "1.2.4"
            dataset.InstanceNumber = 2 * place + number + 1
            for keyword, value in (common | elements).items():
                setattr(dataset, keyword, value)
            dataset.save_as(folder / f"{place}_{number}.dcm", enforce_file_format=True)
    return folder


def positions(count: int, **more: Sequence[Any]) -> list[Elements]:
    """TemporalPositionIdentifier from 1 on, and the values of other elements."""
    found: list[Elements] = [{"TemporalPositionIdentifier": k + 1} for k in range(count)]
    for keyword, values in more.items():
        for elements, value in zip(found, values, strict=True):
            elements[keyword] = value
    return found


SERIES: dict[str, tuple[list[Elements], Elements, float | None]] = {
    "RepetitionTime alone": (positions(3), {"RepetitionTime": "2500"}, 2.5),
    "3-D, whose repetitions are lines": (positions(3), {"MRAcquisitionType": "3D"}, None),
    "TemporalResolution": (
        positions(3),
        {"MRAcquisitionType": "3D", "TemporalResolution": 5500.0},
        5.5,
    ),
    "acquisition times": (
        positions(3, AcquisitionTime=["101550.25", "101557.75", "101605.25"]),
        {"RepetitionTime": "4.5"},
        7.5,
    ),
    "times that run backwards": (
        positions(3, AcquisitionTime=["235950.25", "235957.75", "000005.25"]),
        {"RepetitionTime": "7500"},
        7.5,
    ),
    "acquisition times over midnight": (
        positions(
            3,
            AcquisitionTime=["235950.25", "235957.75", "000005.25"],
            AcquisitionDate=["20240229", "20240229", "20240301"],
        ),
        {"RepetitionTime": "4.5"},
        7.5,
    ),
    "acquisition times in whole seconds": (
        positions(4, AcquisitionTime=["101500", "101502", "101505", "101507"]),
        {"RepetitionTime": "2500"},
        2.5,
    ),
    "acquisition times that are one": (
        positions(3, AcquisitionTime=["101500.5"] * 3),
        {"RepetitionTime": "2000"},
        2.0,
    ),
    "irregular times": (
        positions(3, AcquisitionTime=["101500.1", "101502.1", "101552.1"]),
        {"RepetitionTime": "2000"},
        None,
    ),
    "trigger times": (
        [{"TriggerTime": k * 40.0} for k in range(3)],
        {"RepetitionTime": "4"},
        0.04,
    ),
    "echoes": ([{"EchoTime": t} for t in ("10", "20", "30")], {}, None),
    "flip angles": (
        [{"FlipAngle": a, "AcquisitionNumber": a} for a in ("5", "10")],
        {},
        None,
    ),
    "b-values": (
        [{"DiffusionBValue": b} for b in (0.0, 500.0, 1000.0)],
        {"RepetitionTime": "8000"},
        8.0,
    ),
    "one volume": ([{}], {}, None),
}


@pytest.mark.parametrize("case", SERIES)
def test_time_between_volumes(case: str, tmp_path: Path) -> None:
    volumes, common, expected = SERIES[case]
    image = read_image(time_series(tmp_path / "s", volumes, **common))
    assert image.volume_seconds == (None if expected is None else pytest.approx(expected))


def test_enhanced_timing(tmp_path: Path) -> None:
    dataset = enhanced(np.concatenate([phantom((2, 24, 20))] * 3), order=range(6))
    for place, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        volume, slice_number = divmod(place, 2)
        content = group.FrameContentSequence[0]
        content.TemporalPositionIndex = volume + 1
        content.InStackPositionNumber = slice_number + 1
        content.DimensionIndexValues = [volume + 1, slice_number + 1]
        group.PlanePositionSequence[0].ImagePositionPatient = [0, 0, 3 * slice_number]
    timing = Dataset()
    timing.RepetitionTime, timing.FlipAngle = 1500.0, 90.0
    shared = dataset.SharedFunctionalGroupsSequence[0]
    shared.MRTimingAndRelatedParametersSequence = [timing]
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    image = read_image(tmp_path / "a.dcm")
    assert image.shape == (20, 24, 2, 3)
    assert image.volume_seconds == 1.5


@pytest.mark.parametrize("command", ["sr", "simulate"])
def test_results_as_nifti(command: str, tmp_path: Path, sr: Callable[..., int]) -> None:
    folder = time_series(tmp_path / "bold", positions(3), RepetitionTime="2500")
    if command == "sr":
        assert sr(folder, "--format", "nifti") == 0
    else:
        line = ["simulate", folder, "-o", tmp_path / "out", "--factor", "2", "--format", "nifti"]
        assert main([str(word) for word in line]) == 0
    (path,) = (tmp_path / "out").glob("*.nii.gz")
    header = nib.load(path).header
    assert header.get_xyzt_units() == ("mm", "sec")
    assert header.get_zooms()[3] == 2.5
    sidecar = path.with_name(path.name.replace(".nii.gz", ".json"))
    assert json.loads(sidecar.read_text())["RepetitionTime"] == 2.5
    sitk = pytest.importorskip("SimpleITK")
    assert sitk.ReadImage(str(path)).GetSpacing()[3] == 2.5


def test_a_volume_has_no_time(tmp_path: Path) -> None:
    folder = time_series(tmp_path / "t2", [{}], RepetitionTime="2500")
    line = ["simulate", folder, "-o", tmp_path / "out", "--factor", "2", "--format", "nifti"]
    assert main([str(word) for word in line]) == 0
    (path,) = (tmp_path / "out").glob("*.nii.gz")
    assert nib.load(path).header.get_xyzt_units() == ("mm", "unknown")
    assert "RepetitionTime" not in json.loads((tmp_path / "out" / "t2_desc-low2x.json").read_text())
