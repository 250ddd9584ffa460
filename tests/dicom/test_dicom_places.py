"""Places of DICOM files (folders, archives, single files) and the choice of a series."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_series import phantom, series, volume

from mrcascade.cli import main
from mrcascade.errors import MRCascadeError
from mrcascade.io import read_image

PACKAGED = Path(pydicom.__file__).parent / "data" / "test_files"


def test_zip_folder_and_file_give_the_same(tmp_path: Path) -> None:
    folder = series(tmp_path / "s", phantom((3, 12, 10)), "oblique")
    archive = tmp_path / "s.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in folder.iterdir():
            packed.write(path, f"exam/{path.name}")
        packed.writestr("exam/readme.txt", "no image")
        packed.writestr("__MACOSX/exam/._IM003.dcm", "no image")
    first, second = read_image(folder), read_image(archive)
    np.testing.assert_array_equal(first.data, second.data)
    np.testing.assert_array_equal(first.affine, second.affine)
    assert first.sha256 == second.sha256
    raw = bytearray(archive.read_bytes())
    raw[400] ^= 0xFF  # within the first member, whose checksum tells
    archive.write_bytes(raw)
    with pytest.raises(MRCascadeError, match="damaged zip archive"):
        read_image(archive)


def two_series(folder: Path) -> Path:
    series(folder, phantom((3, 16, 16)), SeriesNumber=2, SeriesDescription="scout")
    for path in series(folder / "tmp", phantom((4, 18, 16)), SeriesNumber=7).iterdir():
        path.rename(folder / f"x{path.name}")
    (folder / "tmp").rmdir()
    shutil.copy(PACKAGED / "CT_small.dcm", folder / "ct.dcm")
    (folder / "notes.txt").write_text("no image")
    return folder


def test_several_series_are_listed_and_chosen(tmp_path: Path, sr: Callable, capsys) -> None:
    folder = two_series(tmp_path / "exam")
    assert main(["info", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{folder}: 2 series"
    assert lines[1].startswith('series 2 "scout": 3 images of 16 x 16')
    assert lines[2].startswith('series 7 "t2 tse": 4 images of 18 x 16')
    uid = lines[2].split()[-1]
    assert sr(folder) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert 'series 2 "scout", series 7 "t2 tse"' in message
    assert "--series" in message
    assert sr(folder, "--series", "3") == 2
    assert "holds no series 3" in capsys.readouterr().err
    assert sr(folder, "--series", "7", "--dry-run") == 0
    assert "16 x 18 x 4 -> 32 x 36 x 4" in capsys.readouterr().out
    assert main(["info", str(folder), "--series", uid]) == 0
    assert "16 x 18 x 4" in capsys.readouterr().out
    assert sr(folder, "--series", "all") == 0
    names = sorted(p.name for p in (tmp_path / "out").glob("*.dicom"))
    assert names == ["exam_2_desc-sr2x.dicom", "exam_7_desc-sr2x.dicom"]


def test_series_in_folders_of_their_own_need_no_choice(tmp_path: Path, sr: Callable) -> None:
    series(tmp_path / "exam" / "t1", phantom((2, 16, 16)))
    series(tmp_path / "exam" / "t2", phantom((2, 16, 16)))
    assert sr(tmp_path / "exam") == 0
    names = sorted(p.name for p in (tmp_path / "out").glob("*.dicom"))
    assert names == ["t1_desc-sr2x.dicom", "t2_desc-sr2x.dicom"]
    # Results are passed over in a later search.
    assert sr(tmp_path, "--overwrite") == 0
    assert len(list((tmp_path / "out").glob("*.dicom"))) == 2


def test_files_named_one_by_one_form_their_series(tmp_path: Path, sr: Callable) -> None:
    folder = series(tmp_path / "s", phantom((3, 16, 16)))
    assert sr(*folder.iterdir()) == 0
    assert len(list((tmp_path / "out" / "s_desc-sr2x.dicom").iterdir())) == 3


def test_a_copy_of_a_file_counts_once(tmp_path: Path) -> None:
    pixels = phantom((3, 12, 10))
    folder = series(tmp_path / "s", pixels)
    shutil.copy(folder / "IM003.dcm", folder / "IM003 (1).dcm")
    np.testing.assert_array_equal(read_image(folder).data, volume(pixels))
