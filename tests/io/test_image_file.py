"""Every kind of `ImageFile` answers the same questions, and a path is one."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
from tests.dicom.dicom_series import phantom, series

from mrcascade import MRCascadeError
from mrcascade.io import (
    ImageFile,
    MagnitudePhase,
    Pseudonyms,
    derived_name,
    image_file,
    only_series,
    open_source,
    read_image,
    result_ending,
)

VALUES = np.arange(1, 121, dtype=np.float32).reshape(4, 5, 6)


@dataclass
class Kind:
    """What a kind of image must answer."""

    file: ImageFile
    format: str
    files: list[Path]
    result: str
    paired: bool = False
    fills_folder: bool = False
    private: bool = False


@pytest.fixture(params=["npy", "nifti", "fastMRI", "pair", "series"])
def kind(request: pytest.FixtureRequest, tmp_path: Path, nifti_file: Callable) -> Kind:
    if request.param == "npy":
        path = tmp_path / "a.npy"
        np.save(path, VALUES)
        return Kind(image_file(path), "npy", [path], "a_desc-x.npy")
    if request.param == "nifti":
        path = nifti_file(VALUES, name="a.b.nii.gz")
        return Kind(image_file(str(path)), "nifti", [path], "a.b_desc-x.nii.gz")
    if request.param == "fastMRI":
        path = tmp_path / "a.h5"
        with h5py.File(path, "w") as file:
            file.create_dataset("reconstruction_rss", data=VALUES)
        return Kind(image_file(path), "fastmri", [path], "a_desc-x.nii.gz", private=True)
    if request.param == "pair":
        paths = [nifti_file(VALUES, name=f"a_part-{part}_T2w.nii") for part in ("mag", "phase")]
        paths[1].with_suffix(".json").write_text('{"Units": "rad"}')
        name = "a_part-mag_T2w_desc-x.nii.gz"
        return Kind(MagnitudePhase(*paths), "nifti", paths, name, paired=True)
    folder = series(tmp_path / "exam.1", phantom((3, 8, 8)))
    made = only_series(folder)
    return Kind(made, "dicom", [folder], "exam.1_desc-x.dicom", fills_folder=True, private=True)


def test_what_it_is(kind: Kind) -> None:
    file = kind.file
    assert file.format.name == kind.format
    assert file.paths == kind.files
    assert file.path == kind.files[0]
    assert (file.paired, file.fills_folder) == (kind.paired, kind.fills_folder)
    assert file.private is kind.private
    assert derived_name(file, "x", result_ending(file)) == kind.result
    assert str(file).startswith(str(file.path))
    assert image_file(file) is file
    assert file.resolved() is file


def test_what_it_holds(kind: Kind) -> None:
    image = read_image(kind.file)
    assert image.source == kind.file.path
    assert image.format == kind.format
    assert image.sha256 == kind.file.digest()
    assert np.iscomplexobj(image.data) is kind.paired
    with open_source(kind.file) as source:
        assert source.file is kind.file
        assert source.shape == image.shape


def test_only_dicom_has_pseudonyms(kind: Kind) -> None:
    pseudonyms = Pseudonyms()
    if kind.format == "dicom":
        assert kind.file.under_pseudonym(pseudonyms).name == pseudonyms.name(kind.file.uid)
        return
    with pytest.raises(MRCascadeError, match="only DICOM holds a patient's identity"):
        kind.file.under_pseudonym(pseudonyms)


def test_a_path_that_means_dicom_is_its_only_series(tmp_path: Path) -> None:
    folder = series(tmp_path / "exam", phantom((3, 8, 8)))
    path, made = image_file(folder), only_series(folder)
    assert path.resolved().key == made.key
    assert path.format.name == "dicom"
    assert path.digest() == made.digest()
    assert made.file_names == sorted(file.name for file in folder.iterdir())
    series(folder, phantom((2, 8, 8)), SeriesInstanceUID="1.2.3", SeriesNumber=9)
    with pytest.raises(MRCascadeError, match="holds 2 series; choose one"):
        image_file(folder).resolved()


def test_a_path_without_a_format(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("no image")
    with pytest.raises(MRCascadeError, match=r"supported are DICOM, \.nii\.gz, .*: convert it"):
        read_image(path)
