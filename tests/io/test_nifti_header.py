"""Fields of NIfTI headers, valid, odd and damaged, against nibabel and SimpleITK."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mrcascade.errors import MRCascadeError
from mrcascade.io import Image, read_image, write_image

DATA = np.random.default_rng(0).integers(1, 1000, (5, 6, 7)).astype("<i2")
AFFINE = np.array([[0.0, -2, 0, 10], [1.5, 0, 0, -20], [0, 0, 3, 5], [0, 0, 0, 1]])
# Places in the NIfTI-1 header.
SIZEOF_HDR, DIM, INTENT, DATATYPE, BITPIX = 0, 40, 68, 70, 72
PIXDIM, VOX_OFFSET, SLOPE, UNITS = 76, 108, 112, 123
QFORM_CODE, SFORM_CODE, QUATERN_B, MAGIC = 252, 254, 256, 344


def encoded(
    sform: int = 1, qform: int = 1, data: np.ndarray = DATA, kind: type = nib.Nifti1Image
) -> bytearray:
    image = kind(data, AFFINE)
    image.set_sform(AFFINE, sform)
    image.set_qform(AFFINE, qform)
    image.header.set_xyzt_units("mm", "sec")
    return bytearray(image.to_bytes())


def put(raw: bytearray, place: int, form: str, *values: float) -> bytearray:
    struct.pack_into(form, raw, place, *values)
    return raw


@pytest.fixture
def read(tmp_path: Path, capfd: pytest.CaptureFixture) -> Callable[[bytes], Image]:
    """Read bytes as a file; nothing else may be printed."""

    def one(raw: bytes) -> Image:
        path = tmp_path / "a.nii"
        path.write_bytes(raw)
        try:
            return read_image(path)
        finally:
            assert capfd.readouterr() == ("", "")

    return one


def seen_by_nibabel(path: Path) -> tuple[np.ndarray, np.ndarray]:
    image = nib.load(path)
    return np.asanyarray(image.dataobj), image.affine


def seen_by_itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.ReadImage(str(path))
    directions = np.reshape(image.GetDirection(), (image.GetDimension(), -1))[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = np.diag([-1, -1, 1]) @ directions @ np.diag(image.GetSpacing()[:3])
    affine[:3, 3] = np.array([-1, -1, 1]) * image.GetOrigin()[:3]
    return sitk.GetArrayFromImage(image).T, affine


def with_extension(raw: bytearray, size: int, length: int = 16) -> bytearray:
    """An extension of `length` bytes whose header says `size`."""
    extension = b"\1\0\0\0" + struct.pack("<ii", size, 4) + bytes(length - 8)
    return put(raw[:348] + extension + raw[352:], VOX_OFFSET, "<f", 352 + length)


def changed(place: int, form: str, *values: float) -> Callable[[], bytearray]:
    return lambda: put(encoded(), place, form, *values)


def pair_magic() -> bytearray:
    raw = encoded()
    raw[MAGIC : MAGIC + 4] = b"ni1\0"
    return raw


def swapped() -> bytearray:
    image = nib.Nifti1Image(DATA.astype(">i2"), AFFINE, nib.Nifti1Header(endianness=">"))
    return bytearray(image.to_bytes())


AGREED = {
    "plain": encoded,
    "big endian": swapped,
    "NIfTI-2": lambda: encoded(kind=nib.Nifti2Image),
    "magic of a pair, voxels behind the header": pair_magic,
    "sizeof_hdr 0": changed(SIZEOF_HDR, "<i", 0),
    "sizeof_hdr of NIfTI-2": changed(SIZEOF_HDR, "<i", 540),
    "bitpix 8": changed(BITPIX, "<h", 8),
    "bytes behind the voxels": lambda: encoded() + b"more" * 9,
    "an extension": lambda: with_extension(encoded(), 16),
    "qform of an unknown code beside an sform": changed(QFORM_CODE, "<h", 77),
    "sform of a negative code beside a qform": changed(SFORM_CODE, "<h", -1),
    "qform alone": lambda: encoded(sform=0),
    "sform alone": lambda: encoded(qform=0),
    "qfac 0": lambda: put(encoded(sform=0), PIXDIM, "<f", 0.0),
    "unknown unit": changed(UNITS, "B", 0),
    "unit without meaning": changed(UNITS, "B", 7),
}


@pytest.mark.parametrize("case", AGREED)
def test_what_other_readers_agree_on_is_read_alike(
    case: str, read: Callable, tmp_path: Path
) -> None:
    image = read(AGREED[case]())
    readers = [seen_by_nibabel, seen_by_itk]
    for seen in readers[: 1 if case == "NIfTI-2" else 2]:  # which ITK does not read
        data, affine = seen(tmp_path / "a.nii")
        np.testing.assert_array_equal(image.data, data)
        np.testing.assert_allclose(image.affine, affine, atol=1e-5)
    np.testing.assert_array_equal(image.data, DATA)
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-5)


def test_extension_that_runs_past_the_voxels(read: Callable, tmp_path: Path) -> None:
    """ITK skips it; the voxels are where vox_offset says."""
    image = read(with_extension(encoded(), 10**6))
    np.testing.assert_array_equal(image.data, seen_by_itk(tmp_path / "a.nii")[0])
    np.testing.assert_array_equal(image.data, DATA)


def test_broken_qform_beside_an_sform_does_not_count(read: Callable, tmp_path: Path) -> None:
    image = read(put(encoded(), QUATERN_B, "<f", 1.5))
    np.testing.assert_allclose(image.affine, AFFINE)
    write_image(image, tmp_path / "out.nii")
    header = nib.load(tmp_path / "out.nii").header
    assert (header["sform_code"], header["qform_code"]) == (1, 0)
    np.testing.assert_allclose(header.get_sform(), AFFINE)


REFUSED = {
    "magic of a pair, offset 0": (
        lambda: put(pair_magic(), VOX_OFFSET, "<f", 0),
        "voxels are in another file (magic ni1",
    ),
    "magic of a pair, offset -300": (
        lambda: put(pair_magic(), VOX_OFFSET, "<f", -300),
        "vox_offset -300",
    ),
    **{
        f"offset {value}": (changed(VOX_OFFSET, "<f", value), f"vox_offset {value:g}")
        for value in (0.0, 4.0, 348.0, 352.5, -300.0, float("nan"), float("inf"))
    },
    "offset 1e30": (changed(VOX_OFFSET, "<f", 1e30), "is truncated"),
    "NIfTI-2 offset 4": (
        lambda: put(encoded(kind=nib.Nifti2Image), 168, "<q", 4),
        "voxels begin at byte 544",
    ),
    "NIfTI-2 offset 2^62": (
        lambda: put(encoded(kind=nib.Nifti2Image), 168, "<q", 2**62),
        "is truncated",
    ),
    **{f"dim[0] {value}": (changed(DIM, "<h", value), "dim[0] is") for value in (0, -1, 8, 200)},
    "dim[1] 0": (changed(DIM + 2, "<h", 0), "has no voxels (shape (0, 6, 7))"),
    "dim[1] 9": (changed(DIM + 2, "<h", 9), "is truncated"),
    "datatype 0": (changed(DATATYPE, "<h", 0), "data code 0 not supported"),
    "datatype 1": (changed(DATATYPE, "<h", 1), "data code 1 not supported"),
    "datatype 999": (changed(DATATYPE, "<h", 999), "data code 999 not recognized"),
    "datatype of colours": (changed(DATATYPE, "<h", 128), "colour (RGB)"),
    "datatype of colours with alpha": (changed(DATATYPE, "<h", 2304), "colour (RGB)"),
    "sform of an unknown code": (changed(SFORM_CODE, "<h", 77), "sform_code is 77"),
    "qform of an unknown code": (
        lambda: put(encoded(sform=0), QFORM_CODE, "<h", 6),
        "qform_code is 6",
    ),
    "negative voxel size with a qform": (
        lambda: put(encoded(sform=0), PIXDIM + 4, "<f", -1.5),
        "voxel size is negative",
    ),
    "negative voxel size alone": (
        lambda: put(encoded(sform=0, qform=0), PIXDIM + 4, "<f", -1.5),
        "voxel size is negative",
    ),
    "voxel size NaN": (
        lambda: put(encoded(sform=0), PIXDIM + 4, "<f", float("nan")),
        "zero or singular affine",
    ),
    "qfac -2": (lambda: put(encoded(sform=0), PIXDIM, "<f", -2), "pixdim[0] is -2"),
    "quaternion": (lambda: put(encoded(sform=0), QUATERN_B, "<f", 1.5), "w2 should be positive"),
    "intercept NaN": (changed(SLOPE, "<ff", 1.0, float("nan")), "invalid intercept"),
    "labels": (changed(INTENT, "<h", 1002), "holds labels of regions (intent_code 1002)"),
    "vectors": (changed(INTENT, "<h", 1007), "holds vectors (intent_code 1007)"),
    "another magic": (lambda: put(encoded(), MAGIC, "4s", b"abc\0"), "magic is not that of NIfTI"),
    "magic without an end": (lambda: put(encoded(), MAGIC, "4s", b"n+1x"), "magic string"),
    "nothing behind the magic": (lambda: encoded()[:348], "is truncated"),
    "half of NIfTI-2's header": (lambda: encoded(kind=nib.Nifti2Image)[:300], "is truncated"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_readers_take_in_different_senses_is_refused(case: str, read: Callable) -> None:
    make, message = REFUSED[case]
    with pytest.raises(MRCascadeError) as caught:
        read(make())
    line = str(caught.value)
    assert message in line
    assert "a.nii" in line
    assert ";" in line  # what is wrong; what to do
    assert line.isprintable()


@pytest.mark.parametrize("slope", [0.0, float("nan"), float("inf"), -float("inf")])
def test_a_slope_that_is_none(slope: float, read: Callable, tmp_path: Path) -> None:
    image = read(put(encoded(), SLOPE, "<ff", slope, 0.0))
    for seen in (seen_by_nibabel, seen_by_itk):
        np.testing.assert_array_equal(image.data, seen(tmp_path / "a.nii")[0])


def test_an_intercept_of_complex_values_is_refused(read: Callable) -> None:
    raw = encoded(data=DATA.astype(np.complex64))
    with pytest.raises(MRCascadeError, match="scl_inter is 5, ambiguous"):
        read(put(raw, SLOPE, "<ff", 1.0, 5.0))


@pytest.mark.parametrize("place", [1, 3])
def test_a_voxel_size_of_zero_is_1_mm(place: int, read: Callable, tmp_path: Path) -> None:
    image = read(put(encoded(sform=0), PIXDIM + 4 * place, "<f", 0.0))
    for seen in (seen_by_nibabel, seen_by_itk):
        np.testing.assert_allclose(image.affine, seen(tmp_path / "a.nii")[1], atol=1e-5)
    assert image.spacing[place - 1] == 1


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("forms", [(1, 1), (1, 0), (0, 1), (0, 0)])
@pytest.mark.parametrize(("unit", "factor"), [("meter", 1e3), ("mm", 1), ("micron", 1e-3)])
def test_units_of_length(
    unit: str, factor: float, forms: tuple[int, int], kind: type, tmp_path: Path
) -> None:
    """Geometry is in mm, the unit of the output, and other readers find the output where they find
    the input."""
    image = kind(DATA, AFFINE / factor * [[1], [1], [1], [factor]])
    image.set_sform(image.affine, forms[0])
    image.set_qform(image.affine, forms[1])
    image.header.set_xyzt_units(unit, "msec")
    image.to_filename(tmp_path / "a.nii")
    expected = seen_by_nibabel(tmp_path / "a.nii")[1] * [[factor], [factor], [factor], [1]]
    ours = read_image(tmp_path / "a.nii")
    np.testing.assert_allclose(ours.affine, expected, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(ours.spacing, (1.5, 2, 3), rtol=1e-6)
    write_image(ours, tmp_path / "b.nii")
    out = nib.load(tmp_path / "b.nii")
    assert out.header.get_xyzt_units() == ("mm", "msec")
    np.testing.assert_allclose(out.affine, expected, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(out.header.get_zooms(), (1.5, 2, 3), rtol=1e-6)
    # ITK places files without forms elsewhere than nibabel, and reads no NIfTI-2.
    if forms != (0, 0) and kind is nib.Nifti1Image:
        # ITK keeps the quaternion in float32.
        itk = [seen_by_itk(tmp_path / name)[1] for name in ("a.nii", "b.nii")]
        np.testing.assert_allclose(*itk, rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(itk[1], expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("unit", ["sec", "msec", "usec", "hz", "ppm", "unknown"])
def test_units_of_the_fourth_axis_are_kept(unit: str, tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.stack([DATA, DATA + 1], -1), AFFINE)
    image.header.set_xyzt_units("micron", unit)
    image.header.set_zooms((*image.header.get_zooms()[:3], 2500.0))
    image.to_filename(tmp_path / "a.nii")
    write_image(read_image(tmp_path / "a.nii"), tmp_path / "b.nii")
    out = nib.load(tmp_path / "b.nii").header
    assert out.get_xyzt_units() == ("mm", unit)
    assert out.get_zooms()[3] == 2500


@pytest.mark.parametrize(
    ("stored", "shape"),
    [
        ((5, 6, 7, 1, 1), (5, 6, 7)),
        ((5, 6, 7, 1, 1, 1, 1), (5, 6, 7)),
        ((5, 6, 7, 1), (5, 6, 7, 1)),
        ((5, 6, 1, 7, 1), (5, 6, 1, 7)),
        ((5, 6, 7, 1, 1, 1), (5, 6, 7)),
        ((30, 7, 1, 1, 1), (30, 7, 1)),
    ],
)
def test_trailing_axes_of_length_1(
    stored: tuple[int, ...], shape: tuple[int, ...], read: Callable, tmp_path: Path
) -> None:
    image = read(put(encoded(), DIM, f"<{len(stored) + 1}h", len(stored), *stored))
    assert image.shape == shape
    data, _ = seen_by_nibabel(tmp_path / "a.nii")
    np.testing.assert_array_equal(image.data, data.reshape(shape))
    write_image(image, tmp_path / "b.nii")
    out = nib.load(tmp_path / "b.nii")
    assert out.shape == shape
    if stored[2] > 1:
        expected, _ = seen_by_itk(tmp_path / "a.nii")
        np.testing.assert_array_equal(seen_by_itk(tmp_path / "b.nii")[0], expected)


def test_a_fifth_axis_is_refused(read: Callable) -> None:
    with pytest.raises(MRCascadeError, match="has 5 dimensions, expected 2 to 4"):
        read(put(encoded(), DIM, "<6h", 5, 5, 6, 1, 1, 7))
