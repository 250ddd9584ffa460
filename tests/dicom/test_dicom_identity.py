"""DICOM output with ``--deidentify``: headers, names and records do not name the patient."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_series import annotated, enhanced, phantom, read_all, series
from tests.quick import slow

from mrcascade.io import Pseudonyms, dicom_files, find_series
from mrcascade.jobs.common import input_seed

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


def written(folder: Path) -> tuple[set[str], set[str], bytes]:
    """Names of outputs, the UIDs in their headers that are the source's replaced, all bytes."""
    names = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    headers = [d for f in folder.glob("*.dicom") for d in read_all(f)]
    uids = {str(d[k].value) for d in headers for k in ("StudyInstanceUID", "FrameOfReferenceUID")}
    content = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    return names, uids, content


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """Two series of one study, one enhanced."""
    classic = series(tmp_path / "scan" / "DOE_JOHN", phantom(SHAPE), SeriesNumber=1)
    other = enhanced(phantom(SHAPE))
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID"):
        setattr(other, keyword, read_all(classic)[0][keyword].value)
    (tmp_path / "scan" / "DOE_JANE").mkdir()
    other.save_as(tmp_path / "scan" / "DOE_JANE" / "a.dcm", enforce_file_format=True)
    return tmp_path / "scan"


def test_a_run_has_a_secret_of_its_own(tmp_path: Path, scan: Path, sr: Callable) -> None:
    found = []
    for number in range(2):
        assert sr(scan, "--deidentify") == 0
        found.append(written((tmp_path / "out").rename(tmp_path / f"run{number}")))
    (names, uids, _), (other_names, other_uids, _) = found
    assert names & other_names == {"run.json"}
    assert not uids & other_uids
    assert len(uids) == len(other_uids) == 2  # the series of a study stay together


def test_runs_that_share_a_secret_agree(tmp_path: Path, scan: Path, sr: Callable) -> None:
    salt = tmp_path / "keys" / "salt"
    found = []
    for number in range(2):
        assert sr(scan, "--deidentify", "--salt-file", salt) == 0
        found.append(written((tmp_path / "out").rename(tmp_path / f"run{number}")))
    assert found[0][:2] == found[1][:2]
    assert salt.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in salt.parent.iterdir()] == ["salt"]
    secret = salt.read_bytes().strip()
    assert len(secret) == 64
    for _, _, content in found:
        assert secret not in content
        assert bytes.fromhex(secret.decode()) not in content


@pytest.mark.parametrize("salted", [slow(False), True])
def test_nothing_that_is_written_leads_to_the_source(
    tmp_path: Path, scan: Path, sr: Callable, salted: bool
) -> None:
    """Not the UIDs, nor names and bytes of files, nor what is computed from them without secret."""
    more = ("--salt-file", tmp_path / "salt") if salted else ()
    assert sr(scan, "--deidentify", *SAMPLES, *more) == 0
    names, _, content = written(tmp_path / "out")
    everything = content + "".join(names).encode()
    files = [path for path in scan.rglob("*") if path.is_file()]
    old = [pydicom.dcmread(path) for path in files]
    # Those of the standard, such as transfer syntaxes, are nobody's.
    uids = {str(e.value) for d in old for e in d.iterall() if e.VR == "UI"}
    uids = {uid for uid in uids if not uid.startswith("1.2.840.10008.")}
    assert len(uids) > 5
    digests = [s.digest() for s in find_series(dicom_files(scan)).series]
    digests += [sha256(path.read_bytes()).hexdigest() for path in files]
    digests += [sha256(uid.encode()).hexdigest() for uid in uids]
    assert len(digests) > 10
    seeds = [str(input_seed(0, digest)) for digest in digests]
    for text in (*uids, *digests, *(digest[:8] for digest in digests), "DOE", "a.dcm"):
        assert text.encode() not in everything, text
    documents = [path.read_text() for path in (tmp_path / "out").glob("*.json")]
    assert len(documents) == 3
    for text in documents:
        assert not [seed for seed in seeds if f" {seed}" in text]
        assert "SHA256" not in text
    sidecars = [json.loads(text) for text in documents if "Settings" in text]
    assert len(sidecars) == 2
    for sidecar in sidecars:
        assert "Seed" not in sidecar["Settings"]
        assert sidecar["Request"]["Seed"] == 0  # what the user gave
        assert sidecar["Request"]["Deidentify"] is True
        assert re.fullmatch("[0-9a-f]{64}", sidecar["SourceHMAC"])
    references = ("SourceImageSequence", "SourceImageEvidenceSequence")
    for folder in (tmp_path / "out").glob("*.dicom"):
        for one in read_all(folder):
            assert not [e for e in one.iterall() if e.keyword in references and len(e.value)]


def test_a_deidentified_batch_goes_on(tmp_path: Path, scan: Path, sr: Callable, capsys) -> None:
    salt = ("--deidentify", "--salt-file", tmp_path / "salt")
    for number in range(2):
        assert sr(scan, *salt, "--num-parts", 2, "--part-id", number) == 0
    out = tmp_path / "out"
    before = {p: p.stat().st_mtime_ns for p in out.rglob("anon*")}
    assert len({p.name.split("_")[0] for p in before}) == 2
    assert sr(scan, *salt, "--resume") == 0
    assert {p: p.stat().st_mtime_ns for p in out.rglob("anon*")} == before
    record = json.loads((out / "run.json").read_text())
    assert [one["Status"] for one in record["Results"]] == ["skipped", "skipped"]
    changed = scan / "DOE_JANE" / "a.dcm"
    image = pydicom.dcmread(changed)
    image.PatientComments = "another header, the same pixels"
    image.save_as(changed)
    capsys.readouterr()
    assert sr(scan, *salt, "--resume") == 1
    assert "come from other input" in capsys.readouterr().err


def test_what_a_secret_needs(tmp_path: Path, scan: Path, sr: Callable, capsys) -> None:
    def refused(*arguments: object) -> str:
        assert sr(scan, *arguments) == 2
        assert not (tmp_path / "out").exists()
        return capsys.readouterr().err

    assert "--deidentify with --resume needs --salt-file" in refused("--deidentify", "--resume")
    parts = ("--num-parts", 2)
    assert "--deidentify with --num-parts needs --salt" in refused("--deidentify", *parts)
    assert "leave it out" in refused("--salt-file", tmp_path / "salt")
    inside = tmp_path / "out" / "salt"
    assert "lies in the folder of the results" in refused("--deidentify", "--salt-file", inside)
    (tmp_path / "short").write_text("hello\n")
    short = refused("--deidentify", "--salt-file", tmp_path / "short")
    assert "short: has 5 bytes, and a secret needs at least 16" in short
    assert "is a directory" in refused("--deidentify", "--salt-file", tmp_path)
    assert not (tmp_path / "salt").exists()
    assert sr(scan, "--deidentify", "--salt-file", tmp_path / "salt", "--dry-run") == 0
    assert not (tmp_path / "salt").exists()


def test_processes_that_start_together_share_a_secret(tmp_path: Path) -> None:
    path = tmp_path / "new" / "salt"
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: Pseudonyms.of_file(path).digest("x"), range(32)))
    assert len(set(found)) == 1
    assert found[0] == hmac.new(path.read_bytes().strip(), b"x", "sha256").hexdigest()
    assert [p.name for p in path.parent.iterdir()] == ["salt"]
    assert Pseudonyms().digest("x") != Pseudonyms().digest("x")


def test_deidentify_is_for_dicom(tmp_path: Path, sr: Callable, capsys) -> None:
    np.save(tmp_path / "a.npy", phantom((16, 16)))
    assert sr(tmp_path / "a.npy", "--deidentify") == 2
    assert "only DICOM holds a patient's identity" in capsys.readouterr().err
