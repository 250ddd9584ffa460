"""Bad input to a command: one line with file and remedy, exit code 2, nothing left behind."""

from __future__ import annotations

import errno
import resource
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image as Picture

from mrcascade.cli import main

RNG = np.random.default_rng(0)
GOOD = (500 + 100 * RNG.normal(size=(16, 18, 3))).astype(np.int16)
AFFINE = np.diag([1.0, 1.0, 4.0, 1.0])


def nifti(path: Path, data: np.ndarray = GOOD) -> Path:
    nib.save(nib.Nifti1Image(data, AFFINE), path)
    return path


def truncated(path: Path) -> Path:
    raw = nifti(path).read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    return path


def text(path: Path) -> Path:
    path.write_text("patient;age\n1;30\n" * 100)
    return path


def with_value(value: float) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        data = GOOD.astype(np.float32)
        data[3, 4, 1] = value
        return nifti(path, data)

    return make


def with_sform(rows: np.ndarray) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        raw = bytearray(nifti(path).read_bytes())
        struct.pack_into("<12f", raw, 280, *rows[:3].ravel())
        path.write_bytes(raw)
        return path

    return make


def array(shape: tuple[int, ...]) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        np.save(path, RNG.normal(size=shape))
        return path

    return make


def colour(path: Path) -> Path:
    Picture.fromarray(RNG.integers(0, 255, (16, 18, 3), np.uint8)).save(path)
    return path


def empty_folder(path: Path) -> Path:
    path.mkdir()
    (path / "notes.md").touch()
    return path


def dicom(path: Path) -> Path:
    source = Path(pydicom.__file__).parent / "data" / "test_files" / "MR_small.dcm"
    path.write_bytes(source.read_bytes()[:5000])
    return path


def zipped(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "no image")
    return path


FILES: dict[str, tuple[str, Callable[[Path], Path], tuple[str, ...]]] = {
    "missing": ("a.nii.gz", lambda p: p, ("does not exist", "check the name")),
    "no images": ("folder", empty_folder, ("no image found", "files must end in")),
    "missing list": ("a.txt", lambda p: p, ("does not exist",)),
    "unknown ending": ("a.mgz", text, ("no supported ending", "convert it")),
    "cut gzip": ("a.nii.gz", truncated, ("truncated or damaged gzip", "download it again")),
    "cut": ("a.nii", truncated, ("truncated", "download it again")),
    "cut dicom": ("a.dcm", dicom, ("truncated", "copy or export it again")),
    "text as dicom": ("a.dcm", text, ("damaged DICOM file, or no DICOM file", "export it again")),
    "text as zip": ("a.zip", text, ("damaged zip archive, or no zip archive", "unpack it")),
    "empty zip": ("a.zip", zipped, ("holds no DICOM image", "give a folder or archive")),
    "text": ("a.nii.gz", text, ("is no NIfTI image", "convert it")),
    "text as npy": ("a.npy", text, ("not a NumPy .npy file", "numpy.save")),
    "nan": ("a.nii", with_value(np.nan), ("1 NaN or infinite voxel", "replace")),
    "infinite": ("a.nii.gz", with_value(-np.inf), ("1 NaN or infinite voxel", "replace")),
    "constant": ("a.nii", lambda p: nifti(p, 0 * GOOD + 7), ("constant", "right file")),
    "rgb": ("a.png", colour, ("colour (RGB)", "save it as grey")),
    "1-D": ("a.npy", array((50,)), ("1 dimension", "extract")),
    "5-D": ("a.nii", lambda p: nifti(p, RNG.normal(size=(8, 8, 2, 2, 2))), ("5 dim", "extract")),
    "zero affine": ("a.nii", with_sform(np.zeros((4, 4))), ("singular affine", "repair")),
    "singular affine": ("a.nii", with_sform(np.ones((4, 4))), ("singular affine", "repair")),
    "small": ("a.npy", array((7, 7)), ("result would be 28x28", "at least 32 pixels")),
}
SETTINGS = {
    "factor 0": (["--factor", "0"], "not a factor of 1 or more"),
    "factor 1": (["--factor", "1"], "give factors above 1"),
    "factor 8": (["--factor", "8"], "is larger than prior"),
    "prior": (["--factor", "2", "--prior", "nobody"], "unknown prior 'nobody'"),
    "samples": (["--factor", "2", "--mode", "mean", "--samples", "2"], "use mode 'sample'"),
}


@pytest.fixture
def command(tmp_path: Path, prior_folder: Path) -> Callable[..., int]:
    def call(*arguments: object) -> int:
        fixed = ["-o", str(tmp_path / "out"), "--device", "cpu"]
        if "--prior" not in arguments:
            fixed += ["--prior", str(prior_folder)]
        if "--factor" not in arguments:
            fixed += ["--factor", "4"]
        try:
            return main(["sr", *map(str, arguments), *fixed])
        except SystemExit as stop:  # argparse, with its own code 2
            return int(stop.code or 0)

    return call


def everything(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize("case", FILES)
def test_bad_files(case: str, tmp_path: Path, command: Callable, capsys) -> None:
    name, make, words = FILES[case]
    path = make(tmp_path / name)
    before = everything(tmp_path)
    assert command(path) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert str(path) in message
    assert all(word in message for word in words), message
    assert everything(tmp_path) == before


@pytest.mark.parametrize("case", SETTINGS)
def test_bad_settings(case: str, tmp_path: Path, command: Callable, capsys) -> None:
    arguments, words = SETTINGS[case]
    path = nifti(tmp_path / "a.nii.gz")
    assert command(path, *arguments) == 2
    message = capsys.readouterr().err
    assert words in message
    assert message.count("\n") == 1
    assert everything(tmp_path) == [path]


@pytest.mark.parametrize("name", ["prior.json", "level2.safetensors"])
def test_a_prior_cut_short(
    name: str, tmp_path: Path, prior_folder: Path, command: Callable, capsys
) -> None:
    folder = tmp_path / "prior"
    shutil.copytree(prior_folder, folder)
    raw = (folder / name).read_bytes()
    (folder / name).write_bytes(raw[: len(raw) // 2])
    path = nifti(tmp_path / "a.nii.gz")
    assert command(path, "--prior", folder) == 2
    message = capsys.readouterr().err
    assert str(folder / name) in message
    assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_output_that_exists(tmp_path: Path, command: Callable, capsys) -> None:
    path = nifti(tmp_path / "a.nii.gz")
    (tmp_path / "out").mkdir()
    result = tmp_path / "out" / "a_desc-sr4x.nii.gz"
    result.write_bytes(b"precious")
    assert command(path) == 2
    message = capsys.readouterr().err
    assert f"{result} already exists" in message
    assert "--overwrite" in message
    assert result.read_bytes() == b"precious"
    assert everything(tmp_path / "out") == [result]
    assert command(path, "--overwrite") == 2  # no sidecar says that it is a result
    assert f"{result} is not known as a file of mrcascade" in capsys.readouterr().err
    assert everything(tmp_path / "out") == [result]
    assert result.read_bytes() == b"precious"
    result.unlink()
    assert command(path) == 0
    result.write_bytes(b"damaged")
    assert command(path, "--overwrite") == 0
    assert result.read_bytes() != b"damaged"


@pytest.mark.parametrize(
    "command", [["train"], ["evaluate", "--factor", "2", "--overwrite"], ["sr", "--factor", "2"]]
)
def test_an_output_folder_that_cannot_be_written(
    tmp_path: Path, prior_folder: Path, command: list[str], monkeypatch, capsys
) -> None:
    """A file in its place, and a folder without the right to write, which root has everywhere."""
    (tmp_path / "data").mkdir()
    path = nifti(tmp_path / "data" / "a.nii", RNG.normal(size=(40, 40, 3)) + 100)
    taken = tmp_path / "taken"
    taken.write_bytes(b"precious")
    inputs = [str(path)] if command[0] == "sr" else ["--data", str(path.parent)]
    prior = [] if command[0] == "train" else ["--prior", str(prior_folder)]
    arguments = [*command, *inputs, *prior, "--device", "cpu", "-o"]
    assert main([*arguments, str(taken)]) == 2
    message = capsys.readouterr().err
    assert f"{taken} is a file; give the name of a folder" in message
    assert message.count("\n") == 1
    assert taken.read_bytes() == b"precious"

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("mrcascade.storage.atomic.tempfile.TemporaryFile", denied)
    assert main([*arguments, str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert f"cannot write {tmp_path / 'out'}: permission denied; choose another" in message


def test_the_output_is_not_the_input(tmp_path: Path, command: Callable, capsys) -> None:
    (tmp_path / "out").mkdir()
    path = nifti(tmp_path / "out" / "a_desc-sr4x.nii.gz")
    before = path.read_bytes()
    assert command(path, "--overwrite") == 2
    assert "is itself an input" in capsys.readouterr().err
    assert path.read_bytes() == before


@pytest.mark.parametrize("limit", [1000, 20_000, 2_000_000])
def test_no_space_left(limit: int, tmp_path: Path, command: Callable, capsys) -> None:
    """A limit on file sizes stands for the full disk: the system refuses the write either way."""
    path = nifti(
        tmp_path / "a.nii", GOOD
    )  # 864 voxels: 3.5 kB in float32; the result 55 kB, its preview more
    before = everything(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        code = command(path, "--samples", "2", "--mode", "paper", "--steps", "6")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    if limit > 55_000:
        assert code == 0  # so the small limit is what the other case meets
        return
    assert code == 2
    message = capsys.readouterr().err
    assert "no space left to write" in message
    assert str(tmp_path / "out") in message
    assert message.count("\n") == 1
    assert everything(tmp_path) == before


def test_a_disk_that_fills_up_while_results_are_written(
    tmp_path: Path, command: Callable, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("mrcascade.io.nifti_write._write", full)
    path = nifti(tmp_path / "a.nii.gz")
    assert command(path) == 2
    assert "no space left to write" in capsys.readouterr().err
    assert everything(tmp_path) == [path]
