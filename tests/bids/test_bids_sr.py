"""``sr`` on a BIDS dataset: the derivative dataset that it writes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from bids_dataset import AFFINE, BOLD, T1W, T2W, dataset, volume, write_json
from tests.conftest import take_name

Sr = Callable[..., int]
ROOT_FILES = {"dataset_description.json", "README.md", ".bidsignore"}


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def derived(name: str, description: str, ending: str) -> str:
    """``sub-1/anat/sub-1_T2w.nii.gz`` -> ``sub-1/anat/sub-1_desc-x_T2w.json``."""
    entities, suffix = name.removesuffix(".nii.gz").rsplit("_", 1)
    return f"{entities}_desc-{description}_{suffix}{ending}"


def outputs(name: str, descriptions: tuple[str, ...] = ("sr2x",)) -> set[str]:
    made = {derived(name, d, e) for d in descriptions for e in (".nii.gz", ".json")}
    subject, *_, last = name.split("/")
    return made | {f"{subject}/figures/{derived(last, 'sr2x', '.png')}"}


def snapshot(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files(folder)}


@pytest.mark.parametrize("samples", [1, 2])
def test_the_derivative_dataset(raw: Path, tmp_path: Path, sr: Sr, samples: int) -> None:
    before, output = snapshot(raw), tmp_path / "out"
    names, more = ((*T1W, *T2W), ()) if samples == 1 else (T2W[1:], ("sr2xsample", "sr2xstd"))
    arguments = ["--mode", "paper", "--steps", "3", "--samples", samples] if samples > 1 else []
    arguments += ["--bids-filter", "run=1,run=2"] if samples > 1 else []
    assert sr(raw, *arguments) == 0
    made = set().union(*(outputs(name, ("sr2x", *more)) for name in names))
    assert files(output) == made | ROOT_FILES | {"run.json"}
    assert snapshot(raw) == before

    description = json.loads((output / "dataset_description.json").read_text())
    assert description["Name"] == "Super-resolved images of Phantom study"
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "mrcascade"
    assert description["SourceDatasets"] == [{"DOI": "doi:10.0000/phantom"}]
    link = description["DatasetLinks"]["raw"]
    assert (output / link).resolve() == raw.resolve()
    for name in names:
        for kind in ("sr2x", *more):
            sidecar = json.loads((output / derived(name, kind, ".json")).read_text())
            (uri,) = sidecar["Sources"]
            assert uri.startswith("bids:raw:")
            assert uri.removeprefix("bids:raw:") == name
            assert sidecar["Resolution"] == "in-plane matrix enlarged by 2 x 2"
            assert sidecar["SkullStripped"] is (name == T2W[2])
    sidecar = json.loads((output / derived(T2W[1], "sr2x", ".json")).read_text())
    assert (sidecar["EchoTime"], sidecar["RepetitionTime"], sidecar["FlipAngle"]) == (0.08, 4, 120)
    assert "EffectiveEchoSpacing" not in sidecar
    assert sidecar["Prior"] == "random"
    assert sidecar["Request"]["Seed"] == 0
    folder = (output / T2W[1]).parent
    assert all((folder / file).resolve().is_file() for file in sidecar["Files"].values())

    # Fourier keeps the centre of voxel 0 and halves the steps of the in-plane axes 0 and 1.
    expected = AFFINE @ np.diag([0.5, 0.5, 1, 1])
    image = nib.load(output / derived(T2W[1], "sr2x", ".nii.gz"))
    assert image.shape == (32, 36, 3)
    # float32 of entries up to 16, and the quaternion's rounding in the source.
    np.testing.assert_allclose(image.affine, expected, rtol=0, atol=2e-6)


def test_parts_and_resume_share_one_dataset(
    raw: Path, tmp_path: Path, sr: Sr, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    filtered = ["--bids-filter", "suffix=T2w"]
    assert sr(raw, *filtered, "--num-parts", 2, "--part-id", 0) == 0
    root = {name: (output / name).stat().st_mtime_ns for name in ROOT_FILES}
    (output / "README.md").write_text("notes of the user")
    assert sr(raw, *filtered, "--num-parts", 2, "--part-id", 1) == 0
    assert files(output) == ROOT_FILES.union(
        *map(outputs, T2W), {"run-part0of2.json", "run-part1of2.json"}
    )
    assert (output / "README.md").read_text() == "notes of the user"
    for name in ROOT_FILES - {"README.md"}:
        assert (output / name).stat().st_mtime_ns == root[name]
    # As a kill leaves it: results whose sidecar has no name, and no description yet.
    take_name(output / derived(T2W[0], "sr2x", ".json"))
    (output / "dataset_description.json").unlink()
    whole = snapshot(output)
    capsys.readouterr()
    assert sr(raw / "sub-01", *filtered, "--resume") == 0
    assert "3 files: 1 done, 2 skipped" in capsys.readouterr().out
    kept = {name: seen for name, seen in whole.items() if ".tmp" not in str(name)}
    assert kept.items() <= snapshot(output).items()
    assert (output / "dataset_description.json").exists()


def test_one_image_and_a_fourth_dimension(raw: Path, tmp_path: Path, sr: Sr) -> None:
    output = tmp_path / "out"
    assert sr(raw, "--bids-filter", "datatype=func") == 0
    assert files(output) == ROOT_FILES | outputs(BOLD)
    sidecar = json.loads((output / derived(BOLD, "sr2x", ".json")).read_text())
    assert sidecar["SliceTiming"] == [0.0, 1.0, 0.5]
    image = nib.load(output / derived(BOLD, "sr2x", ".nii.gz"))
    assert image.shape == (32, 32, 3, 2)
    assert image.header.get_zooms()[3] == sidecar["RepetitionTime"] == 2.0


def test_a_named_file_of_a_dataset_is_a_file(raw: Path, tmp_path: Path, sr: Sr) -> None:
    assert sr(raw / T2W[0]) == 0
    name = Path(T2W[0]).name
    endings = (".nii.gz", ".json", ".png")
    assert files(tmp_path / "out") == {derived(name, "sr2x", e) for e in endings}


def test_dry_run_and_failures_leave_nothing(
    tmp_path: Path, sr: Sr, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "raw"
    write_json(root / "dataset_description.json", {"Name": "x", "BIDSVersion": "1.10.0"})
    for subject in ("sub-01", "sub-02"):
        volume(root / subject / "anat" / f"{subject}_T2w.nii.gz")
    assert sr(root, "--dry-run") == 0
    assert "16 x 18 x 3 -> 32 x 36 x 3" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    (root / "T2w.json").write_text("{")
    assert sr(root) == 2
    errors = capsys.readouterr().err.splitlines()
    image = root / "sub-01" / "anat" / "sub-01_T2w.nii.gz"
    reason = f"{root / 'T2w.json'}: not readable as JSON; repair it"
    assert errors[0] == f"mrcascade: {image}: {reason}"
    assert not (tmp_path / "out").exists()


def test_other_datasets_are_not_written_into(
    raw: Path, tmp_path: Path, sr: Sr, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(raw)
    copy = tmp_path / "raw"
    shutil.copytree(raw, copy)
    for place in ("raw", "raw/derivatives/other"):
        assert sr(copy, output=place) == 2
        message = capsys.readouterr().err
        assert "that mrcascade did not make; choose another folder" in message
        assert message.count("\n") == 1
    assert snapshot(copy) == before
    inside = "raw/derivatives/mrcascade"
    assert sr(copy, "--bids-filter", "session=01,suffix=T1w", output=inside) == 0
    description = json.loads((tmp_path / inside / "dataset_description.json").read_text())
    assert description["DatasetLinks"] == {"raw": "../.."}
    assert sr(raw, "--dry-run", output=inside) == 2
    assert "belongs to results of another dataset" in capsys.readouterr().err
    (copy / "dataset_description.json").write_text("{")
    assert sr(copy) == 2
    assert "dataset_description.json: not readable as JSON" in capsys.readouterr().err
    shutil.copy(raw / "dataset_description.json", copy)
    # Derivatives within are no inputs; a derivative that is named is one.
    assert sr(copy, "--bids-filter", "suffix=T1w", "--resume", output=inside) == 0
    assert sr(copy / "derivatives" / "other", output="again") == 0
    description = json.loads((tmp_path / "again" / "dataset_description.json").read_text())
    assert description["DatasetLinks"] == {"source": "../raw/derivatives/other"}
    made = tmp_path / "again" / "sub-01" / "anat" / "sub-01_desc-sr2x_T1w.json"
    assert "SkullStripped" not in json.loads(made.read_text())


VALIDATOR = shutil.which("bids-validator-deno", path=str(Path(sys.executable).parent)) or (
    shutil.which("bids-validator-deno")
)


def issues(folder: Path) -> list[dict]:
    assert VALIDATOR is not None
    done = subprocess.run(
        [VALIDATOR, str(folder), "--format", "json"], capture_output=True, text=True
    )
    return json.loads(done.stdout)["issues"]["issues"]


@pytest.mark.slow
@pytest.mark.skipif(VALIDATOR is None, reason="bids-validator-deno is not installed")
def test_the_validator_finds_no_error(tmp_path: Path, sr: Sr) -> None:
    root, output = dataset(tmp_path / "raw"), tmp_path / "out"
    wanted = {"datatype": ["anat", "func"], "session": [None, "02"], "run": [None, 1]}
    write_json(tmp_path / "filter.json", wanted)
    sampled = ["--mode", "paper", "--steps", "3", "--samples", "2"]
    assert sr(root, "--bids-filter", tmp_path / "filter.json", *sampled) == 0
    for folder in (root, output):
        errors = [issue for issue in issues(folder) if issue["severity"] == "error"]
        assert not errors
    # It looks at the images: an entity at the wrong place is found.
    wrong = output / "sub-02" / "anat" / "sub-02_desc-sr2x_acq-x_T1w.nii.gz"
    shutil.copy(output / derived(T1W[1], "sr2x", ".nii.gz"), wrong)
    assert any(issue["location"] == f"/{wrong.relative_to(output)}" for issue in issues(output))
