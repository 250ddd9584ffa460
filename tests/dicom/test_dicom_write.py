"""DICOM output: the rules of a derived series, and what independent readers read."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import torch
from dicom_series import (
    ORIENTATIONS,
    SPACING,
    annotated,
    enhanced,
    phantom,
    read_all,
    series,
)
from pydicom.uid import generate_uid
from tests.quick import slow

from mrcascade.cli import main
from mrcascade.errors import MRCascadeError
from mrcascade.io import Derivation, Display, display_of, read_image, write_image
from mrcascade.io.dicom.storage import storage_for
from mrcascade.jobs import SuperResolution, super_resolve_file
from mrcascade.operators import SeparableOperator
from mrcascade.prior.cascade import CascadePrior

SHAPE = (3, 16, 18)  # slices, rows, columns
SAMPLES = ("--mode", "paper", "--steps", "6", "--samples", "2")


def rows_first(path: Path) -> np.ndarray:
    """A result as (slices, rows, columns), whatever its format."""
    return read_image(path).data.transpose(2, 1, 0)


def result(tmp_path: Path, name: str = "s_desc-sr2x.dicom") -> Path:
    return tmp_path / "out" / name


# ---- what independent readers see ----


@pytest.mark.parametrize(
    ("orientation", "kernel"),
    [
        *(("axial", "fourier"), ("oblique", "area"), ("flipped", "fourier")),
        *(slow(plane, "area") for plane in ("axial", "flipped", "coronal", "sagittal")),
        *(slow(plane, "fourier") for plane in ("oblique", "coronal", "sagittal")),
    ],
)
def test_independent_readers_agree(
    tmp_path: Path, sr: Callable, orientation: str, kernel: str
) -> None:
    folder = series(tmp_path / "s", phantom(SHAPE), orientation)
    assert sr(folder, "--kernel", kernel) == 0
    assert sr(folder, "--kernel", kernel, "--format", "nifti", "--overwrite") == 0
    image = read_image(result(tmp_path))
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(result(tmp_path)))
    seen = sitk.ReadImage(names)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(seen), rows_first(result(tmp_path)))
    raw = sorted(read_all(result(tmp_path)), key=lambda d: d.InstanceNumber)
    np.testing.assert_array_equal([d.pixel_array for d in raw], rows_first(result(tmp_path)))
    # The NIfTI result holds the same image before rounding, on the same grid.
    nifti = nib.load(tmp_path / "out" / "s_desc-sr2x.nii.gz")
    assert np.abs(nifti.get_fdata() - image.data).max() <= 0.5 + 1e-3
    np.testing.assert_allclose(nifti.affine, image.affine, atol=1e-4)
    corner = nib.affines.apply_affine(image.affine, (0, 0, 0)) * (-1, -1, 1)
    np.testing.assert_allclose(seen.GetOrigin(), corner, atol=1e-6)
    np.testing.assert_allclose(seen.GetSpacing()[:2], (SPACING[1] / 2, SPACING[0] / 2), atol=1e-9)


@pytest.mark.parametrize("kernel", ["fourier", "area"])
def test_position_follows_the_kernel(tmp_path: Path, sr: Callable, kernel: str) -> None:
    folder = series(tmp_path / "s", phantom((3, 16, 36)), "oblique")
    assert sr(folder, "--kernel", kernel, "--factor", "2,1") == 0
    old = {str(d.SOPInstanceUID): d for d in read_all(folder)}
    along_column = np.array(ORIENTATIONS["oblique"][1])
    # Rows are doubled. Shared edges: half an old pixel less half a new one up; else nothing moves.
    shift = -SPACING[0] / 4 * along_column if kernel == "area" else np.zeros(3)
    for new in read_all(result(tmp_path, "s_desc-sr2by1x.dicom")):
        source = old[new.SourceImageSequence[0].ReferencedSOPInstanceUID]
        assert (new.Rows, new.Columns) == (32, 36)
        assert list(map(float, new.PixelSpacing)) == [SPACING[0] / 2, SPACING[1]]
        moved = np.array(new.ImagePositionPatient, float) - source.ImagePositionPatient
        np.testing.assert_allclose(moved, shift, atol=1e-9)
        assert new.ImageOrientationPatient == source.ImageOrientationPatient
        assert new.InstanceNumber == source.InstanceNumber


def test_enhanced_result(tmp_path: Path, sr: Callable) -> None:
    pixels = phantom(SHAPE)
    path = tmp_path / "e.dcm"
    enhanced(pixels, "oblique", [2, 0, 1]).save_as(path, enforce_file_format=True)
    folder = series(tmp_path / "s", pixels, "oblique", RescaleSlope="2", RescaleIntercept="-10")
    assert sr(path, "--kernel", "area") == 0
    assert sr(folder, "--kernel", "area") == 0
    first, second = (read_image(result(tmp_path, f"{n}_desc-sr2x.dicom")) for n in "es")
    np.testing.assert_array_equal(first.data, second.data)
    np.testing.assert_allclose(first.affine, second.affine, atol=1e-9)
    seen = sitk.ReadImage(result(tmp_path, "e_desc-sr2x.dicom") / "0001.dcm")
    # SimpleITK keeps the frames in the order of the file, which is that of the source.
    stored = sitk.GetArrayFromImage(seen)
    np.testing.assert_allclose(stored[[1, 2, 0]], first.data.transpose(2, 1, 0))


# ---- what the header says ----


def test_rules_of_a_derived_series(tmp_path: Path, sr: Callable) -> None:
    source = annotated(tmp_path / "s", SHAPE)
    assert sr(tmp_path / "s") == 0
    new = read_all(result(tmp_path))
    assert len({d.SOPInstanceUID for d in (*source, *new)}) == 6
    assert len({d.SeriesInstanceUID for d in new}) == 1
    assert new[0].SeriesInstanceUID != source[0].SeriesInstanceUID
    for one in new:
        for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientName", "PatientID"):
            assert one[keyword] == source[0][keyword]
        for keyword in ("AcquisitionMatrix", "EchoTime", "RepetitionTime", "PatientBirthDate"):
            assert one[keyword] == source[0][keyword]
        assert one.ImageType == ["DERIVED", "SECONDARY", "OTHER"]
        assert "not for diagnosis" in one.DerivationDescription
        code = one.DerivationCodeSequence[0]
        assert (code.CodeValue, code.CodingSchemeDesignator) == ("113085", "DCM")
        assert code.CodeMeaning == "Spatial resampling"
        software = one.ContributingEquipmentSequence[-1]
        assert software.Manufacturer == "mrcascade"
        assert software.ContributionDescription == "prior random"
        assert one.SeriesDescription == "t2 tse sr2x"
        assert one.SeriesNumber == 501
        low = float(one.WindowCenter) - float(one.WindowWidth) / 2
        assert low == pytest.approx(0, abs=1e-6)
        assert float(one.WindowWidth) == pytest.approx(phantom(SHAPE).max(), rel=0.1)
        gone = ("SmallestImagePixelValue", "LargestImagePixelValue", "IconImageSequence")
        assert not any(keyword in one for keyword in gone)
        assert not any(e.tag.is_private or e.tag.group == 0x6000 for e in one)
        assert "RescaleSlope" not in one  # as in the source


def validator_errors(path: Path) -> set[str]:
    shown = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
    lines = (shown.stdout + shown.stderr).splitlines()
    assert lines  # it names the kind of object at least
    return {line for line in lines if line.startswith("Error")}


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dciodvfy (dicom3tools) is not installed")
@pytest.mark.parametrize("deidentify", [False, True])
@pytest.mark.parametrize("kind", ["classic", "enhanced"])
def test_the_validator_finds_no_new_errors(
    tmp_path: Path, sr: Callable, kind: str, deidentify: bool
) -> None:
    folder = tmp_path / "s"
    if kind == "classic":
        series(folder, phantom(SHAPE), "oblique")
    else:
        folder.mkdir()
        enhanced(phantom(SHAPE), "oblique").save_as(folder / "e.dcm", enforce_file_format=True)
    before = {e for path in folder.iterdir() for e in validator_errors(path)}
    assert bool(before) == (kind == "enhanced")  # a classic series without a fault
    assert sr(folder, *SAMPLES, *["--deidentify"] * deidentify) == 0
    folders = list((tmp_path / "out").glob("*.dicom"))
    assert len(folders) == 3
    for path in (p for f in folders for p in f.iterdir()):
        assert not validator_errors(path) - before
    broken = pydicom.dcmread(path)
    del broken.Rows
    broken.save_as(path)
    assert validator_errors(path) - before  # so the validator does see errors


# ---- numbers ----


def test_stored_residual_is_of_what_readers_see(tmp_path: Path, sr: Callable) -> None:
    folder = series(tmp_path / "s", phantom(SHAPE))
    assert sr(folder) == 0
    sidecar = json.loads((tmp_path / "out" / "s_desc-sr2x.json").read_text())
    operator = SeparableOperator.from_kernel("fourier", 2, (32, 36))
    seen = torch.from_numpy(rows_first(result(tmp_path)))
    measured = rows_first(folder)
    error = np.linalg.norm(operator(seen).numpy() - measured, axis=(1, 2))
    expected = (error / np.linalg.norm(measured, axis=(1, 2))).max()
    assert sidecar["ResidualStored"] == pytest.approx(expected, rel=1e-4)
    # Rounding to integers: at most 1/2 per pixel, 1/sqrt(12) on average, halved by the mean of 4.
    assert sidecar["Residual"] < 1e-5 < sidecar["ResidualStored"] < 0.5 / measured.mean()
    assert sorted(sidecar["Sources"]) == sorted(p.name for p in folder.iterdir())


def test_standard_deviation_has_a_scale_of_its_own(tmp_path: Path, sr: Callable) -> None:
    folder = series(tmp_path / "s", phantom(SHAPE))
    assert sr(folder, *SAMPLES) == 0
    assert sr(folder, *SAMPLES, "--format", "nifti", "--overwrite") == 0
    std = rows_first(result(tmp_path, "s_desc-sr2xstd.dicom"))
    exact = rows_first(tmp_path / "out" / "s_desc-sr2xstd.nii.gz")
    assert np.abs(std - exact).max() <= exact.max() / 65535 * 0.51
    assert read_all(result(tmp_path, "s_desc-sr2xstd.dicom"))[0].SeriesNumber == 503


@pytest.mark.parametrize(
    ("ends", "signed", "as_source"),
    [
        ((0, 65535), False, True),
        ((-0.4, 10), False, True),
        ((-0.6, 10), True, True),
        ((-1, 32768), False, False),
        ((0, 70000), False, False),
    ],
)
def test_storage_reaches_every_value(
    tmp_path: Path, ends: tuple, signed: bool, as_source: bool
) -> None:
    from mrcascade.io import only_series

    folder = series(tmp_path / "s", phantom(SHAPE))
    made = only_series(folder)
    storage = storage_for(made, *ends)
    assert (storage.signed, storage.as_source) == (signed, as_source)
    values = np.linspace(*ends, 1001)
    frame = made.stack.frames[0]
    seen = storage.decoded(storage.encoded(values, frame), frame)
    step = 1 if as_source else (ends[1] - min(ends[0], 0)) / 65535
    assert np.abs(seen - values).max() <= 0.5001 * step


def test_values_beyond_16_bits_are_rescaled(tmp_path: Path) -> None:
    folder = series(tmp_path / "s", phantom(SHAPE))
    image = read_image(folder)
    large = image.with_data(image.data * 1000, image.affine)
    made = Derivation("x", "larger", (0.0, 1e6))
    write_image(large, tmp_path / "b.dicom", derivation=made)
    again = read_image(tmp_path / "b.dicom")
    assert np.abs(again.data - large.data).max() <= large.data.max() / 65535 * 0.51
    assert read_all(tmp_path / "b.dicom")[0].RescaleType == "US"


# ---- formats, whole outputs ----


def test_dicom_is_not_made_of_other_files(tmp_path: Path, sr: Callable, capsys) -> None:
    np.save(tmp_path / "a.npy", phantom((16, 16)))
    assert sr(tmp_path / "a.npy", "--format", "dicom") == 2
    message = capsys.readouterr().err
    assert "a DICOM result needs the patient, study and scanner" in message
    assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_other_planes_are_for_nifti(tmp_path: Path, sr: Callable, capsys) -> None:
    folder = series(tmp_path / "s", phantom((16, 16, 16)))
    assert sr(folder, "--axes", "0,2") == 2
    assert "add --format nifti" in capsys.readouterr().err
    assert sr(folder, "--axes", "0,2", "--format", "nifti") == 0
    assert nib.load(tmp_path / "out" / "s_desc-sr2x.nii.gz").shape == (32, 16, 32)


def test_simulate_and_restore(tmp_path: Path, sr: Callable) -> None:
    folder = series(tmp_path / "s", phantom((2, 34, 35)), "oblique")
    low = tmp_path / "low"
    assert main(["simulate", str(folder), "-o", str(low), "--factor", "2", "--kernel", "area"]) == 0
    measured = low / "s_desc-low2x.dicom"
    new = read_all(measured)[0]
    assert list(map(float, new.PixelSpacing)) == [2 * s for s in SPACING]
    assert sr(measured, "--kernel", "area") == 0
    restored = read_image(result(tmp_path))
    original = read_image(folder)
    # The grid is the original's again, less the odd column.
    np.testing.assert_allclose(restored.affine, original.affine, atol=1e-6)
    assert restored.shape == (34, 34, 2)


def test_existing_and_overwritten_folders(tmp_path: Path, sr: Callable, capsys) -> None:
    folder = series(tmp_path / "s", phantom(SHAPE))
    assert sr(folder) == 0
    before = {p.name: p.read_bytes() for p in result(tmp_path).iterdir()}
    (result(tmp_path) / "more.txt").write_text("of an older run")
    assert sr(folder) == 2
    assert "already exists" in capsys.readouterr().err
    assert (result(tmp_path) / "more.txt").exists()
    assert sr(folder, "--overwrite") == 2  # the folder holds something else
    assert (result(tmp_path) / "more.txt").read_text() == "of an older run"
    (result(tmp_path) / "more.txt").unlink()
    assert sr(folder, "--overwrite", "--seed", "1") == 0
    after = {p.name: p.read_bytes() for p in result(tmp_path).iterdir()}
    assert after.keys() == before.keys()
    assert after != before  # new UIDs
    assert not [p for p in (tmp_path / "out").iterdir() if p.name.startswith(".")]


def test_a_full_disk_leaves_nothing(
    tmp_path: Path, sr: Callable, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = series(tmp_path / "s", phantom(SHAPE))
    calls = []

    def full(*_: object) -> bytes:
        calls.append(1)
        if len(calls) == 2:  # the second file of three
            raise OSError(errno.ENOSPC, "No space left on device")
        return b""

    monkeypatch.setattr("mrcascade.io.dicom.write._pixel_element", full)
    before = sorted(tmp_path.rglob("*"))
    assert sr(folder) == 2
    assert "no space left to write" in capsys.readouterr().err
    assert len(calls) == 2
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_memory_does_not_grow_with_slices(
    tmp_path: Path, prior: CascadePrior, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mrcascade.io.blocks.BLOCK_VOXELS", 2**12)
    job = SuperResolution(factor=(2, 2), noise=0.0, overwrite=True)
    peaks = []
    for slices in (4, 4, 36):  # the first run also pays for imports
        shutil.rmtree(tmp_path / "s", ignore_errors=True)
        folder = series(tmp_path / "s", phantom((slices, 64, 64)))
        tracemalloc.start()
        super_resolve_file(
            folder, tmp_path / "out", prior, job, say=str, progress=lambda _: lambda _: None
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # 32 more slices are 2 MiB of results in float32, and 1 MiB in the 16 bits of DICOM. What may
    # grow is what is known of each file, some kB.
    assert peaks[2] - peaks[1] < 32 * 128 * 128 * 4 / 8


def test_preview_has_the_shape_of_the_patient(tmp_path: Path, sr: Callable) -> None:
    drawn = []
    folder = series(tmp_path / "s", phantom(SHAPE))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "mrcascade.jobs.preview.write_preview", lambda *a: (drawn.append(a), a[0].touch())
        )
        assert sr(folder) == 0
    _, panels, measured, display, title, unit, zero = drawn[0]
    assert measured == SHAPE[1:]
    assert {p.pixels.shape for p in panels} == {(32, 36)}
    # An axial series is stored the way radiologists look at it.
    expected = Display(((0, 1), (1, 1)), "R", "L", "A", "P", SPACING[0] / SPACING[1])
    assert replace(display, aspect=expected.aspect) == expected
    assert display.aspect == pytest.approx(expected.aspect)
    assert title.endswith("axial slice 2 of 3")
    assert (unit, zero) == ("a.u.", 0.0)


@pytest.mark.parametrize(
    ("orientation", "turned", "sides"),
    [
        ("sagittal", ((0, 1), (1, 1)), "APSI"),
        ("coronal", ((0, 1), (1, 1)), "RLSI"),
        ("flipped", ((0, 1), (1, -1)), "RLAP"),
        ("oblique", ((0, 1), (1, 1)), "RLAP"),
    ],
)
def test_display_of_series(tmp_path: Path, orientation: str, turned: tuple, sides: str) -> None:
    image = read_image(series(tmp_path / "s", phantom(SHAPE), orientation))
    display = display_of(image, (1, 0))
    assert display.orientation == turned
    assert display.left + display.right + display.top + display.bottom == sides


def test_the_source_stays_as_it_is(tmp_path: Path, sr: Callable) -> None:
    folder = series(tmp_path / "s", phantom(SHAPE))
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.iterdir()}
    assert sr(folder, *SAMPLES) == 0
    assert before == {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.iterdir()}


def test_a_source_that_changes_is_noticed(tmp_path: Path) -> None:
    folder = series(tmp_path / "s", phantom(SHAPE))
    image = read_image(folder)
    path = next(folder.iterdir())
    dataset = pydicom.dcmread(path)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.save_as(path)
    with pytest.raises(MRCascadeError, match="was changed while it was in use"):
        write_image(image, tmp_path / "b.dicom", derivation=Derivation("x", "", (0.0, 1.0)))
    assert not (tmp_path / "b.dicom").exists()
