"""DICOM input: geometry and values against SimpleITK and pydicom, and refused files."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import gdcm
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_series import ORIENTATIONS, STEP, classic, enhanced, phantom, series, volume
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from mrcascade.errors import MRCascadeError
from mrcascade.io import choose_axes, only_series, open_source, read_image

PACKAGED = Path(pydicom.__file__).parent / "data" / "test_files"
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def sitk_affine(image: sitk.Image) -> np.ndarray:
    """Index -> RAS of an image that SimpleITK read."""
    affine = np.eye(4)
    direction = np.reshape(image.GetDirection(), (3, 3))
    affine[:3, :3] = direction * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return LPS_TO_RAS @ affine


def sitk_series(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """(columns, rows, slices) and affine, as SimpleITK sorts and reads a folder."""
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    image = sitk.ReadImage(names)
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0), sitk_affine(image)


def refused(path: Path, *words: str) -> str:
    with pytest.raises(MRCascadeError) as caught:
        read_image(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    assert all(word in message for word in words), message
    return message


# ---- geometry ----


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_position_and_pixels_as_simpleitk(tmp_path: Path, orientation: str) -> None:
    pixels = phantom((5, 12, 10))
    folder = series(tmp_path / "s", pixels, orientation)
    image = read_image(folder)
    expected, affine = sitk_series(folder)
    np.testing.assert_array_equal(image.data, expected)
    np.testing.assert_array_equal(image.data, volume(pixels))
    # Positions are written to 1e-6 mm; SimpleITK takes the spacing from two of them.
    np.testing.assert_allclose(image.affine, affine, atol=1e-5)
    assert choose_axes(image) == (1, 0)


def test_enhanced_frames_are_sorted_and_scaled(tmp_path: Path) -> None:
    pixels = phantom((4, 12, 10))
    path = tmp_path / "e.dcm"
    enhanced(pixels, "oblique", [2, 0, 3, 1]).save_as(path, enforce_file_format=True)
    image = read_image(path)
    np.testing.assert_array_equal(image.data, 2.0 * volume(pixels) - 10)
    classic_affine = read_image(series(tmp_path / "s", pixels, "oblique")).affine
    np.testing.assert_allclose(image.affine, classic_affine, atol=1e-12)


def test_echoes_at_one_position_become_a_fourth_axis(tmp_path: Path) -> None:
    pixels = phantom((6, 12, 10)).reshape(2, 3, 12, 10)
    folder = tmp_path / "s"
    folder.mkdir()
    uid = generate_uid()
    for echo in range(2):
        for place, dataset in enumerate(classic(pixels[echo])):
            dataset.EchoTime, dataset.SeriesInstanceUID = str(10 * (2 - echo)), uid
            dataset.InstanceNumber = 2 * place + echo + 1
            dataset.save_as(folder / f"{place}{echo}.dcm", enforce_file_format=True)
    image = read_image(folder)
    assert image.shape == (10, 12, 3, 2)
    np.testing.assert_array_equal(image.data, pixels.transpose(3, 2, 1, 0))
    (folder / "21.dcm").unlink()
    refused(folder, "1 to 2 images per slice position", "export it again")


def test_a_missing_slice_is_for_dicom_only(tmp_path: Path, sr: Callable, capsys) -> None:
    folder = series(tmp_path / "s", phantom((5, 16, 16)))
    (folder / "IM017.dcm").unlink()  # the third
    assert sr(folder, "--format", "nifti") == 2
    message = capsys.readouterr().err
    assert f"its slices are {STEP} to {2 * STEP:g} mm apart" in message
    assert "a slice may be missing" in message
    assert not (tmp_path / "out").exists()
    assert sr(folder) == 0
    assert len(list((tmp_path / "out" / "s_desc-sr2x.dicom").iterdir())) == 4


def test_files_without_optional_elements(tmp_path: Path) -> None:
    pixels = phantom((3, 12, 10))
    folder = tmp_path / "s"
    folder.mkdir()
    gone = ("SeriesNumber", "SeriesDescription", "InstanceNumber", "SliceThickness", "ImageType")
    gone += ("AcquisitionNumber", "EchoTime", "HighBit", "StudyInstanceUID", "FrameOfReferenceUID")
    for place, dataset in enumerate(classic(pixels)):
        for keyword in gone:
            delattr(dataset, keyword)
        dataset.save_as(folder / str(place), enforce_file_format=True)
    np.testing.assert_array_equal(read_image(folder).data, volume(pixels))


def test_files_without_position(tmp_path: Path) -> None:
    pixels = phantom((3, 12, 10))
    folder = tmp_path / "s"
    folder.mkdir()
    for place, dataset in enumerate(classic(pixels)):
        del dataset.ImagePositionPatient, dataset.ImageOrientationPatient
        dataset.save_as(folder / f"{9 - place}.dcm", enforce_file_format=True)
    image = read_image(folder)
    assert image.affine is None
    np.testing.assert_array_equal(image.data, volume(pixels))  # by InstanceNumber


# ---- values ----


@pytest.mark.parametrize(
    "name", ["RLE", "bigendian", "implicit", "jp2klossless", "jpeg_ls_lossless", "expb"]
)
def test_packaged_files_of_every_syntax(name: str) -> None:
    plain = PACKAGED / "MR_small.dcm"
    image = read_image(PACKAGED / f"MR_small_{name}.dcm")
    expected = pydicom.dcmread(plain).pixel_array
    np.testing.assert_array_equal(image.data[..., 0].T, expected)
    # A single slice: how far the next one would be is nobody's to say.
    affine = sitk_affine(sitk.ReadImage(plain))
    np.testing.assert_allclose(image.affine[:, [0, 1, 3]], affine[:, [0, 1, 3]], atol=1e-5)


def compressed(path: Path, syntax: str) -> None:
    dataset = pydicom.dcmread(path)
    if syntax in (JPEG2000Lossless, JPEGLSLossless, RLELossless):
        dataset.compress(syntax)
    else:
        dataset.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            words = np.frombuffer(dataset.PixelData, "<u2")
            dataset.PixelData = words.astype(">u2").tobytes()
    little = syntax != ExplicitVRBigEndian
    implicit = syntax == ImplicitVRLittleEndian
    pydicom.dcmwrite(path, dataset, implicit_vr=implicit, little_endian=little)


SYNTAXES = {
    "JPEG 2000": JPEG2000Lossless,
    "JPEG-LS": JPEGLSLossless,
    "RLE": RLELossless,
    "deflated": DeflatedExplicitVRLittleEndian,
    "big endian": ExplicitVRBigEndian,
    "implicit": ImplicitVRLittleEndian,
}


@pytest.mark.parametrize("frames", ["classic", "enhanced"])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_syntaxes(tmp_path: Path, syntax: str, frames: str) -> None:
    pixels = phantom((3, 72, 64)) - 500  # signed
    path = tmp_path / "e.dcm"
    if frames == "enhanced":
        enhanced(pixels, order=[1, 2, 0]).save_as(path, enforce_file_format=True)
        expected = 2.0 * volume(pixels) - 10
    else:
        classic(pixels[:1])[0].save_as(path, enforce_file_format=True)
        expected = volume(pixels[:1])
    compressed(path, SYNTAXES[syntax])
    np.testing.assert_array_equal(read_image(path).data, expected)


@pytest.mark.parametrize("syntax", ["JPEGLosslessProcess14_1", "JPEGLosslessProcess14"])
def test_jpeg_lossless(tmp_path: Path, syntax: str) -> None:
    pixels = phantom((1, 12, 10)).astype(np.uint16)
    plain, packed = tmp_path / "a.dcm", tmp_path / "b.dcm"
    classic(pixels)[0].save_as(plain, enforce_file_format=True)
    reader = gdcm.ImageReader()
    reader.SetFileName(str(plain))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(packed))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    assert pydicom.dcmread(packed).file_meta.TransferSyntaxUID.is_compressed
    np.testing.assert_array_equal(read_image(packed).data, volume(pixels))


@pytest.mark.parametrize("name", ["JPGExtended", "JPEG2000", "693_J2KI"])
def test_lossy_syntaxes(tmp_path: Path, name: str) -> None:
    """Packaged files of other modalities, renamed; SimpleITK decodes with other libraries."""
    if name == "JPGExtended":
        pytest.importorskip("libjpeg", reason="12-bit JPEG needs pylibjpeg-libjpeg, under the GPL")
    path = renamed(name, tmp_path / "a.dcm")
    expected = np.squeeze(sitk.GetArrayFromImage(sitk.ReadImage(path)))
    seen = read_image(path).data[..., 0].T
    assert np.abs(seen - expected).max() <= 1  # lossy decoders may round differently


def renamed(name: str, path: Path) -> Path:
    dataset = pydicom.dcmread(PACKAGED / f"{name}.dcm")
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = pydicom.uid.MRImageStorage
    dataset.Modality = "MR"
    for keyword in ("RescaleSlope", "RescaleIntercept"):
        if keyword in dataset:
            delattr(dataset, keyword)
    dataset.save_as(path)
    return path


def test_an_unknown_syntax(tmp_path: Path) -> None:
    path = renamed("JPEG2000", tmp_path / "a.dcm")
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"  # MPEG-2
    dataset.save_as(path)
    refused(path, "compressed in a way that cannot be read", "export it uncompressed")


def test_slope_and_intercept_of_each_slice(tmp_path: Path) -> None:
    pixels = phantom((3, 12, 10))
    folder = tmp_path / "s"
    folder.mkdir()
    for place, dataset in enumerate(classic(pixels)):
        dataset.RescaleSlope, dataset.RescaleIntercept = str(place + 1), str(-place)
        dataset.save_as(folder / f"{place}.dcm", enforce_file_format=True)
    place = np.arange(3)
    np.testing.assert_array_equal(read_image(folder).data, volume(pixels) * (place + 1) - place)


def test_white_as_zero_is_turned_over(tmp_path: Path) -> None:
    pixels = phantom((3, 12, 10))
    folder = series(tmp_path / "s", 4095 - pixels, PhotometricInterpretation="MONOCHROME1")
    # By the largest stored value, 4095 - min: whatever the number of bits, air comes out as 0.
    np.testing.assert_array_equal(read_image(folder).data, volume(pixels) - pixels.min())


@pytest.mark.parametrize("signed", [False, True])
def test_bits_above_those_stored_are_left_out(tmp_path: Path, signed: bool) -> None:
    values = phantom((1, 12, 10)) - (500 if signed else 0)
    stored = (values & 0x0FFF) | 0x5000  # 12 bits, an overlay in those above
    dataset = classic(stored.astype(np.int16 if signed else np.uint16))[0]
    dataset.BitsStored, dataset.HighBit = 12, 11
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(read_image(tmp_path / "a.dcm").data, volume(values))


# ---- what is refused ----


def test_other_kinds_of_dicom(tmp_path: Path) -> None:
    refused(PACKAGED / "CT_small.dcm", "no MR image", "give an MR series")
    refused(PACKAGED / "MR_truncated.dcm", "truncated", "copy or export it again")
    (tmp_path / "a.dcm").write_bytes(b"no image" * 100)
    refused(tmp_path / "a.dcm", "damaged DICOM file, or no DICOM file")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "no DICOM image")
    refused(tmp_path / "none.zip", "does not exist")


CHANGES = {
    "colour": ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "colour image (RGB)"),
    "spacing": ({"PixelSpacing": ["0", "1"]}, "PixelSpacing is not above 0"),
    "orientation": ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "not two perpendicular"),
    "slope": ({"RescaleSlope": "0"}, "RescaleSlope is 0"),
    "mosaic": ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}, "convert it to NIfTI"),
    "rows": ({"Rows": 11}, "240 bytes of pixels, its header asks for 220"),
    "frames": ({"NumberOfFrames": 2}, "its header asks for 480"),
    "bits": ({"BitsAllocated": 12}, "12 bits allocated"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_unusable_headers(tmp_path: Path, change: str) -> None:
    elements, words = CHANGES[change]
    classic(phantom((1, 12, 10)), **elements)[0].save_as(tmp_path / "a.dcm")
    refused(tmp_path / "a.dcm", words)


MIXTURES = {
    "size": (phantom((1, 12, 14)), {}, "12 x 10 pixels and 12 x 14 pixels"),
    "orientation": (
        phantom((1, 12, 10)),
        {"ImageOrientationPatient": [0, 1, 0, 0, 0, 1]},
        "orient",
    ),
    "spacing": (phantom((1, 12, 10)), {"PixelSpacing": [1, 1]}, "different spacing"),
    "kind": (
        phantom((1, 12, 10)),
        {"ImageType": ["DERIVED", "PRIMARY", "ADC"]},
        "images of type ADC and OTHER",
    ),
    "part": (
        phantom((1, 12, 10)),
        {"ImageType": ["ORIGINAL", "PRIMARY", "P"]},
        "magnitudes and phases; give the files of one of them",
    ),
    "no position": (phantom((1, 12, 10)), {"ImagePositionPatient": None}, "position"),
}


@pytest.mark.parametrize("mixture", MIXTURES)
def test_mixed_series(tmp_path: Path, mixture: str) -> None:
    pixels, elements, words = MIXTURES[mixture]
    uid = generate_uid()
    folder = series(tmp_path / "s", phantom((3, 12, 10)), SeriesInstanceUID=uid)
    other = classic(pixels, SeriesInstanceUID=uid, **elements)[0]
    other.save_as(folder / "other.dcm")
    assert f"{folder} mixes" in refused(folder, words)


def test_magnitude_and_phase_of_one_enhanced_file(tmp_path: Path) -> None:
    """A frame says it itself, whatever the file as a whole says."""
    dataset = enhanced(phantom((4, 12, 10)))
    dataset.ComplexImageComponent = "MIXED"
    for place, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        kind = copy.deepcopy(dataset.SharedFunctionalGroupsSequence[0].MRImageFrameTypeSequence)
        kind[0].ComplexImageComponent = "PHASE" if place % 2 else "MAGNITUDE"
        group.MRImageFrameTypeSequence = kind
    del dataset.SharedFunctionalGroupsSequence[0].MRImageFrameTypeSequence
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    refused(tmp_path / "a.dcm", "mixes magnitudes and phases")


def test_phases_alone(tmp_path: Path) -> None:
    for place, kind in enumerate(["P", "PHASE MAP"]):
        folder = series(
            tmp_path / str(place), phantom((3, 12, 10)), ImageType=["ORIGINAL", "PRIMARY", kind]
        )
        refused(folder, "phases, not magnitudes")
    dataset = enhanced(phantom((3, 12, 10)))
    shared = dataset.SharedFunctionalGroupsSequence[0].MRImageFrameTypeSequence[0]
    shared.ComplexImageComponent = "PHASE"
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    refused(tmp_path / "a.dcm", "phases, not magnitudes")


# ---- memory ----


def test_one_file_is_open_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixels come in blocks, and a block is made of whole files that are then let go."""
    monkeypatch.setattr("mrcascade.io.blocks.BLOCK_VOXELS", 100)  # less than a slice
    pixels = phantom((5, 12, 10))
    folder = series(tmp_path / "s", pixels)
    opened: list[str] = []
    real = only_series(folder)
    original = type(real.files[0].file).open

    def counting(file):
        opened.append(file.name)
        return original(file)

    monkeypatch.setattr("mrcascade.io.dicom.files.DicomFile.open", counting)
    with open_source(real) as source:
        for block, values in source.blocks():
            assert values.size <= 100
            assert len(opened) == block[0].stop  # slices so far
    assert len(opened) == 5
