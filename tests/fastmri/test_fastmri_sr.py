"""fastMRI files through the commands: names, geometry, chosen image, `info`, memory."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
from fastmri_files import Scan, multicoil, to_kspace

from mrcascade.cli import main
from mrcascade.errors import MRCascadeError
from mrcascade.io import open_source, read_image, write_image


def test_magnitude(tmp_path: Path, scan: Scan, sr: Callable[..., int]) -> None:
    before = scan.path.read_bytes()
    assert sr(scan.path) == 0
    assert scan.path.read_bytes() == before
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {f"brain_desc-sr2x{e}" for e in (".nii.gz", ".json", ".png")}
    result = nib.load(tmp_path / "out" / "brain_desc-sr2x.nii.gz")
    assert result.shape == (64, 64, 3)
    assert result.get_data_dtype() == np.float32
    assert result.header.get_zooms() == pytest.approx((0.25, 0.3, 4.5))
    # The kernel `fourier` keeps the centre of voxel 0.
    np.testing.assert_allclose(result.affine[:3, 3], read_image(scan.path).affine[:3, 3], atol=1e-5)
    sidecar = json.loads((tmp_path / "out" / "brain_desc-sr2x.json").read_text())
    assert sidecar["SourceImage"] == "root sum of squares of 4 coils"
    assert sidecar["SourceSHA256"] == sha256(before).hexdigest()
    assert sidecar["Sources"] == ["brain.h5"]
    assert sidecar["Residual"] < 1e-5
    assert sidecar["InPlaneAxes"] == [0, 1]


def test_complex_prior_takes_the_complex_image(
    tmp_path: Path, scan: Scan, sr: Callable[..., int], complex_prior: Path
) -> None:
    assert sr(scan.path, prior=complex_prior) == 0
    result = nib.load(tmp_path / "out" / "brain_desc-sr2x.nii.gz")
    assert result.get_data_dtype() == np.complex64
    sidecar = json.loads((tmp_path / "out" / "brain_desc-sr2x.json").read_text())
    assert sidecar["SourceImage"] == "4 coils combined with maps by ESPIRiT"
    assert sidecar["Residual"] < 1e-5  # so the complex image is what was measured
    low = read_image(scan.path, complex_valued=True).data
    halved = np.fft.fftshift(np.fft.fft2(np.asarray(result.dataobj), axes=(0, 1)), (0, 1))
    measured = np.fft.fftshift(np.fft.fft2(low, axes=(0, 1)), (0, 1)) * 4
    inner = slice(1, 32)  # but for the Nyquist frequency, which is shared by two samples
    np.testing.assert_allclose(
        halved[17:48, 17:48], measured[inner, inner], rtol=0, atol=1e-4 * np.abs(measured).max()
    )


def test_complex_prior_without_kspace(
    tmp_path: Path, sr: Callable[..., int], complex_prior: Path, capsys
) -> None:
    path = multicoil(tmp_path / "a.h5", without=("kspace",)).path
    assert sr(path, prior=complex_prior) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no k-space" in line
    assert "magnitude prior" in line
    assert not list((tmp_path).glob("out/*"))
    assert sr(path) == 0


def test_folder_list_and_dry_run(
    tmp_path: Path, scan: Scan, sr: Callable[..., int], complex_prior: Path, capsys
) -> None:
    (tmp_path / "scans").mkdir()
    multicoil(tmp_path / "scans" / "a.h5")
    (tmp_path / "more.txt").write_text("brain.h5\n")
    for prior in ({}, {"prior": complex_prior}):
        assert sr(tmp_path / "scans", tmp_path / "more.txt", "--dry-run", **prior) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 2
        assert all("32 x 32 x 3 -> 64 x 64 x 3" in line for line in lines)
    assert not (tmp_path / "out").exists()
    assert sr(tmp_path / "scans", tmp_path / "more.txt") == 0
    results = sorted(p.name for p in (tmp_path / "out").glob("*.nii.gz"))
    assert results == ["a_desc-sr2x.nii.gz", "brain_desc-sr2x.nii.gz"]


def test_undersampled_file_does_not_stop_the_others(
    tmp_path: Path, scan: Scan, sr: Callable[..., int], capsys
) -> None:
    bad = multicoil(tmp_path / "bad.h5", keep=np.r_[0:40:4, 18:22], without=("reconstruction_rss",))
    assert sr(bad.path, scan.path) == 1
    assert "undersampled" in capsys.readouterr().err.splitlines()[0]


def test_zero_filled_kspace_is_named_and_cropped(
    tmp_path: Path, sr: Callable[..., int], capsys
) -> None:
    path = multicoil(tmp_path / "a.h5", keep=slice(10, 30)).path
    assert sr(path) == 0
    said = capsys.readouterr().out
    assert "32 x 32 pixels were interpolated from 32 x 16 acquired ones" in said
    assert "the zeros around its k-space" in said
    assert sr(path, "--acquired-matrix", "auto", "--overwrite") == 0
    result = nib.load(tmp_path / "out" / "a_desc-sr2x.nii.gz")
    assert result.shape == (64, 32, 3)


def test_simulate(tmp_path: Path, scan: Scan) -> None:
    out = tmp_path / "out"
    assert main(["simulate", str(scan.path), "-o", str(out), "--factor", "2"]) == 0
    low = nib.load(out / "brain_desc-low2x.nii.gz")
    assert low.shape == (16, 16, 3)
    given = ["simulate", str(scan.path), "-o", str(out), "--factor", "2", "--complex"]
    assert main([*given, "--overwrite"]) == 0
    assert nib.load(out / "brain_desc-low2x.nii.gz").get_data_dtype() == np.complex64


def test_dicom_and_kspace_are_not_written(tmp_path: Path, scan: Scan, sr, capsys) -> None:
    assert sr(scan.path, "--format", "dicom") == 2
    assert "no DICOM series" in capsys.readouterr().err
    with pytest.raises(MRCascadeError, match=r"not written as k-space; write \.nii\.gz"):
        write_image(read_image(scan.path), tmp_path / "b.h5")


# ---- info ----


def info(path: Path, capsys: pytest.CaptureFixture) -> str:
    assert main(["info", str(path)]) == 0
    return capsys.readouterr().out


def test_info(tmp_path: Path, scan: Scan, capsys: pytest.CaptureFixture) -> None:
    said = info(scan.path, capsys)
    for part in (
        "brain.h5: fastmri, 32 x 32 x 3, real",
        "voxel size: 0.5 x 0.6 x 4.5 mm",
        "image: root sum of squares of 4 coils",
        "acquired matrix: 32 x 32",
        "attributes: acquisition AXT2, patient_id 0beb",
        "k-space: 3 slices, 4 coils, 64 x 40, fully sampled",
        "its images are cropped to 32 x 32",
        "sensitivity maps: none",
        "stored reconstruction: reconstruction_rss, 3 x 32 x 32",
    ):
        assert part in said
    with h5py.File(scan.path) as file:
        assert f"max {file.attrs['max']:.6g}, norm {file.attrs['norm']:.6g}\n" in said


def test_info_of_what_gives_no_image(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    scan = multicoil(tmp_path / "a.h5", keep=np.r_[0:40:4, 16:24], without=("reconstruction_rss",))
    said = info(scan.path, capsys)
    assert "4 coils, 64 x 40, its k-space is undersampled" in said
    assert "stored reconstruction: none" in said
    assert "reconstruct it first" in said


def test_info_of_a_reconstruction(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    said = info(multicoil(tmp_path / "a.h5", without=("kspace", "attributes")).path, capsys)
    assert "k-space: none" in said
    assert "image: the stored reconstruction_rss, as it has no k-space" in said
    assert "attributes" not in said


# ---- memory ----


@pytest.mark.slow
def test_memory_does_not_grow_with_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Peak of Python's and NumPy's allocations; the k-space of 48 slices has 48 x 1.3 MB."""
    monkeypatch.setattr("mrcascade.io.blocks.BLOCK_VOXELS", 3 * 128 * 160)
    peaks = []
    for slices in (6, 48):
        path = tmp_path / f"{slices}.h5"
        with h5py.File(path, "w") as file:
            shape = (slices, 4, 256, 160)
            kspace = file.create_dataset("kspace", shape, np.complex64, chunks=(1, *shape[1:]))
            rng = np.random.default_rng(0)
            for number in range(slices):
                kspace[number] = to_kspace(rng.normal(size=shape[1:]))
        tracemalloc.start()
        with open_source(path, complex_valued=False) as source:
            for _ in source.blocks():
                pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.05 * peaks[0]
