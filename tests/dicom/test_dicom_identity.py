"""DICOM out with ``--deidentify``: nothing in headers, names and records tells who it is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from dicom_series import annotated, enhanced, phantom, read_all, series

SHAPE = (3, 16, 18)  # slices, rows, columns
SAMPLES = ("--mode", "paper", "--steps", "6", "--samples", "2")


def test_deidentified(tmp_path: Path, sr: Callable, capsys) -> None:
    names = {"ProtocolName": "Doe brain", "StudyDescription": "Jane", "InstitutionName": "Roe's"}
    names |= {"PatientAge": "050Y", "AcquisitionDate": "20200102", "StationName": "Doe1"}
    annotated(tmp_path / "s", SHAPE, **names)
    old = read_all(tmp_path / "s")
    assert sr(tmp_path / "s", "--deidentify", *SAMPLES) == 0
    folders = sorted((tmp_path / "out").glob("*.dicom"))
    assert len(folders) == 3
    known = {str(e.value) for d in old for e in d if e.VR in ("UI", "DA", "TM", "PN", "LO", "SH")}
    known -= {"", "ACME", "A 1", "1.0", str(old[0].SOPClassUID)}
    for one in (d for folder in folders for d in read_all(folder)):
        assert one.PatientIdentityRemoved == "YES"
        assert not any((one.PatientName, one.PatientID, one.PatientBirthDate, one.StudyDate))
        text = one.to_json()
        assert not [value for value in known if f'"{value}"' in text]
        assert (float(one.EchoTime), list(one.AcquisitionMatrix)) == (90, [0, 18, 16, 0])
    assert len({d.FrameOfReferenceUID for f in folders for d in read_all(f)}) == 1
    sidecar = next((tmp_path / "out").glob("*.json")).read_text()
    for text in (sidecar, capsys.readouterr().out, " ".join(p.name for p in folders)):
        assert "Doe" not in text
    assert json.loads(sidecar)["Sources"] == []
    assert all(re.fullmatch(r"anon-[0-9a-f]{8}_.*", f.name) for f in folders)


def test_deidentified_enhanced(tmp_path: Path, sr: Callable) -> None:
    """Its UIDs are others, and still the same where they were."""
    source = enhanced(phantom(SHAPE))
    (tmp_path / "s").mkdir()
    source.save_as(tmp_path / "s" / "a.dcm", enforce_file_format=True)
    assert sr(tmp_path / "s", "--deidentify") == 0
    (folder,) = (tmp_path / "out").glob("*.dicom")
    (one,) = read_all(folder)
    old = {str(e.value) for e in source.iterall() if e.VR == "UI"} - {str(source.SOPClassUID)}
    assert not old & {str(e.value) for e in one.iterall() if e.VR == "UI"}
    index = {str(entry.DimensionOrganizationUID) for entry in one.DimensionIndexSequence}
    assert index == {str(one.DimensionOrganizationSequence[0].DimensionOrganizationUID)}


def test_deidentified_folders(tmp_path: Path, sr: Callable) -> None:
    for name in ("DOE_JOHN", "ROE_JANE"):
        series(tmp_path / "scans" / name / "SECRET", phantom(SHAPE))
    (tmp_path / "scans" / "DOE_JOHN" / "DOE.dcm").write_bytes(bytes(128) + b"DICM" + bytes(40))
    assert sr(tmp_path / "scans", "--deidentify") == 1  # one of three cannot be read
    out = tmp_path / "out"
    assert len(list(out.glob("anon-*_desc-sr2x.dicom"))) == 2
    record = json.loads((out / "run.json").read_text())
    assert [one["Status"] for one in record["Results"]] == ["done", "done", "failed"]
    written = "".join(path.read_text() for path in out.glob("*.json"))
    written += "".join(str(path.relative_to(out)) for path in out.rglob("*"))
    assert not [name for name in ("DOE", "ROE", "SECRET") if name in written]


def test_deidentify_is_for_dicom(tmp_path: Path, sr: Callable, capsys) -> None:
    np.save(tmp_path / "a.npy", phantom((16, 16)))
    assert sr(tmp_path / "a.npy", "--deidentify") == 2
    assert "only DICOM holds a patient's identity" in capsys.readouterr().err
