"""Reading of files: which are opened at all, and how many bytes are read."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mrcascade.cli import main
from mrcascade.errors import MRCascadeError
from mrcascade.io import open_source
from mrcascade.storage.files import open_regular, parse_json, read_bytes, read_json, read_text


def named_pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def local_socket(path: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(os.path.relpath(path))  # names of sockets are short
    return path


def device(path: Path) -> Path:
    path.symlink_to(os.devnull)
    return path


@pytest.mark.parametrize("make", [named_pipe, local_socket, device])
@pytest.mark.parametrize("read", [open_regular, read_bytes, read_text, read_json])
def test_what_is_no_file_is_not_opened(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], Path],
    read: Callable[[Path], object],
) -> None:
    path = make(tmp_path / "x")
    assert not stat.S_ISREG(path.stat().st_mode)
    monkeypatch.setattr(os, "open", None)  # no file is opened
    with pytest.raises(MRCascadeError, match=r"x is a (named pipe|socket|device), not a file"):
        read(path)


def test_links_to_files_are_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one\r\ntwo")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert read_text(tmp_path / "b") == "one\ntwo"
    with open_regular(tmp_path / "b") as file:
        assert file.read() == b"one\r\ntwo"


@pytest.mark.parametrize("read", [open_regular, read_bytes, read_json])
def test_folders_and_missing_files_are_errors_of_the_disk(
    tmp_path: Path, read: Callable[[Path], object]
) -> None:
    with pytest.raises(IsADirectoryError):
        read(tmp_path)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none")


def test_side_files_are_read_up_to_their_bound(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"[" + b" " * (2**24 - 2) + b"]")
    assert read_json(path) == []
    with path.open("r+b") as file:
        file.truncate(2**40)  # holds no blocks on disk
    with pytest.raises(MRCascadeError, match="has 1048576 MiB, more than the 16"):
        read_json(path)


def test_json_of_any_depth_is_read_or_no_json() -> None:
    assert parse_json("[" * 50 + "]" * 50) is not None
    for text in ("[" * 200_000, '{"a":' * 200_000):
        with pytest.raises(ValueError, match="nested too deeply"):
            parse_json(text)


ENDINGS = ("", ".npy", ".nii", ".nii.gz", ".png", ".tif", ".h5", ".dcm", ".zip")


@pytest.mark.parametrize("ending", ENDINGS)
def test_images_are_not_read_from_pipes(tmp_path: Path, ending: str) -> None:
    path = named_pipe(tmp_path / f"x{ending}")
    with pytest.raises(MRCascadeError, match="a named pipe, not a file"), open_source(path):
        pass


def test_pipes_in_the_place_of_side_files_are_named(
    tmp_path: Path, prior_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = tmp_path / "d" / "a.npy"
    image.parent.mkdir()
    np.save(image, np.arange(32 * 32.0).reshape(32, 32))
    lines = named_pipe(tmp_path / "list.txt")
    salt = named_pipe(tmp_path / "salt")
    study = named_pipe(tmp_path / "study.json")
    matrices = named_pipe(tmp_path / "matrices.json")
    named_pipe(image.parent / "manifest.json")
    out = ["-o", str(tmp_path / "o")]
    sr = ["--factor", "2", "--prior", str(prior_folder), *out]
    data = ["--data", str(image.parent)]
    calls = [
        (lines, ["sr", str(lines), *sr]),
        (salt, ["sr", str(image), *sr, "--deidentify", "--salt-file", str(salt)]),
        (study, ["reproduce", str(study), *data, *out]),
        (image.parent / "manifest.json", ["cache", *data, "-o", str(tmp_path / "c.hdf5")]),
    ]
    for path, call in calls:
        assert main(call) == 2, call
        error = capsys.readouterr().err.splitlines()
        assert any(f"{path} is a named pipe, not a file" in line for line in error), (call, error)
    (image.parent / "manifest.json").unlink()
    call = ["evaluate", *data, "--factor", "2", "--effective-matrix", str(matrices), *out]
    assert main([*call, "--methods", "zero-fill"]) == 2
    assert "named pipe" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
