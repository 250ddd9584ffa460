"""Equal work gives equal bits and UIDs; other work gives other UIDs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_series import enhanced, phantom, read_all, series
from tests.quick import slow

from mrcascade.cli import main

pytestmark = pytest.mark.preview
SHAPE = (3, 16, 18)


def files(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def uids(folder: Path) -> set[str]:
    return {
        uid for d in read_all(folder) for uid in (str(d.SOPInstanceUID), str(d.SeriesInstanceUID))
    }


@pytest.fixture
def run(tmp_path: Path, prior_folder: Path) -> Callable[..., Path]:
    """`sr` into a folder of its own; returns the folder."""

    def call(folder: Path, name: str, *arguments: object) -> Path:
        output = tmp_path / name
        fixed = ["--factor", "2", "--noise", "0.01", "--prior", prior_folder, "--device", "cpu"]
        assert main([str(a) for a in ("sr", folder, "-o", output, *fixed, *arguments)]) == 0
        return output

    return call


SAMPLES = ("--mode", "paper", "--steps", 6, "--samples", 2)


@pytest.mark.parametrize("format", ["dicom", slow("nifti")])
def test_the_same_work_gives_the_same_files(tmp_path: Path, run: Callable, format: str) -> None:
    folder = series(tmp_path / "s", phantom(SHAPE))
    first, second = (run(folder, name, *SAMPLES, "--format", format) for name in ("a", "b"))
    assert files(first) == files(second)
    assert len(files(first)) == (11 if format == "dicom" else 5)


def test_a_copy_of_an_enhanced_file_elsewhere_gives_the_same_file(
    tmp_path: Path, run: Callable
) -> None:
    (tmp_path / "x").mkdir()
    pydicom.dcmwrite(tmp_path / "s.dcm", enhanced(phantom(SHAPE)), enforce_file_format=True)
    shutil.copy(tmp_path / "s.dcm", tmp_path / "x" / "s.dcm")
    first, second = run(tmp_path / "s.dcm", "a"), run(tmp_path / "x" / "s.dcm", "b")
    assert files(first) == files(second)


def test_simulations_too(tmp_path: Path) -> None:
    folder = series(tmp_path / "s", phantom(SHAPE))
    noisy = ("--factor", "2", "--noise", "0.01")
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        arguments = ["simulate", folder, "-o", tmp_path / name, *noisy, "--seed", seed]
        assert main([str(a) for a in arguments]) == 0
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert not uids(next((tmp_path / "a").glob("*.dicom"))) & uids(
        next((tmp_path / "c").glob("*.dicom"))
    )


@pytest.mark.slow
def test_other_work_gives_other_uids(tmp_path: Path, run: Callable) -> None:
    folder = series(tmp_path / "s", phantom(SHAPE))
    changed = tmp_path / "t" / "s"
    shutil.copytree(folder, changed)
    file = sorted(changed.iterdir())[0]
    dataset = pydicom.dcmread(file)
    stored = dataset.pixel_array
    dataset.PixelData = np.roll(stored, 1, 0).astype(stored.dtype).tobytes()
    dataset.save_as(file)
    outputs = [
        run(folder, "a"),
        run(folder, "b", "--seed", 1),
        run(folder, "c", "--noise", 0.02),
        run(folder, "d", "--kernel", "area"),
        run(changed, "e"),
    ]
    found = [uids(output / "s_desc-sr2x.dicom") for output in outputs]
    assert len(set.union(*found)) == 5 * (SHAPE[0] + 1)


def test_the_results_of_one_run_differ_in_their_uids(tmp_path: Path, run: Callable) -> None:
    output = run(series(tmp_path / "s", phantom(SHAPE)), "a", *SAMPLES)
    found = [uids(folder) for folder in output.glob("*.dicom")]
    assert len(set.union(*found)) == 3 * (SHAPE[0] + 1)


def test_no_time_of_the_run_is_written(tmp_path: Path, run: Callable) -> None:
    folder = series(tmp_path / "s", phantom(SHAPE), InstanceCreationDate="20210203")
    for new in read_all(run(folder, "a") / "s_desc-sr2x.dicom"):
        assert (new.ContentDate, new.ContentTime) == ("20200102", "101112")  # of the source
        assert "InstanceCreationDate" not in new
        assert "ContributionDateTime" not in new.ContributingEquipmentSequence[-1]


@pytest.mark.slow
def test_pseudonyms_keep_uids_with_the_secret_alone(tmp_path: Path, run: Callable) -> None:
    folder = series(tmp_path / "s", phantom(SHAPE))
    salted = ("--deidentify", "--salt-file", tmp_path / "salt")
    assert files(run(folder, "a", *salted)) == files(run(folder, "b", *salted))
    found = [uids(next(run(folder, n, "--deidentify").glob("*.dicom"))) for n in ("c", "d")]
    found.append(uids(next((tmp_path / "a").glob("*.dicom"))))
    assert len(set.union(*found)) == 3 * (SHAPE[0] + 1)
