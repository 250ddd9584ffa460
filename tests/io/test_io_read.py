"""Readable images, and the one-line error for others."""

import gzip
import hashlib
import re
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mrcascade.errors import MRCascadeError
from mrcascade.io import list_images, read_image

KINDS = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]
SCALARS = [order + kind for order in "<>" for kind in KINDS]


def refused(path: Path, *parts: str) -> None:
    """`read_image` refuses `path` in one line that names it and holds all `parts` in order."""
    with pytest.raises(MRCascadeError) as caught:
        read_image(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert re.search(".*".join(map(re.escape, parts)), message), message


@pytest.mark.parametrize("code", SCALARS)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.npy"])
def test_every_scalar_type_and_byte_order(tmp_path: Path, code: str, name: str) -> None:
    values = np.arange(24).reshape(2, 3, 4).astype(code)
    path = tmp_path / name
    if name == "a.npy":
        np.save(path, values)
    else:
        header = nib.Nifti1Header(endianness=code[0])
        nib.Nifti1Image(values, np.eye(4), header, dtype=values.dtype).to_filename(path)
    image = read_image(path)
    assert image.data.dtype == np.float32
    assert image.data.dtype.isnative
    np.testing.assert_array_equal(image.data, np.arange(24).reshape(2, 3, 4))
    assert image.source == path
    assert image.format == ("npy" if name == "a.npy" else "nifti")
    assert image.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("kind", [np.complex64, np.complex128])
@pytest.mark.parametrize("name", ["a.nii.gz", "a.npy"])
def test_complex_images(tmp_path: Path, kind: type, name: str) -> None:
    values = (np.arange(12) * (1 - 2j)).reshape(3, 4).astype(kind)
    path = tmp_path / name
    if name == "a.npy":
        np.save(path, values)
    else:
        nib.Nifti1Image(values, np.eye(4)).to_filename(path)
    image = read_image(path)
    assert image.data.dtype == np.complex64
    np.testing.assert_array_equal(image.data, values)


def test_slope_and_intercept_are_applied(nifti_file: Callable) -> None:
    stored = np.arange(-12, 12, dtype=np.int16).reshape(2, 3, 4)
    path = nifti_file(stored, name="a.nii")
    raw = bytearray(path.read_bytes())
    struct.pack_into("<ff", raw, 112, 0.1, -3.0)  # scl_slope, scl_inter of the NIfTI-1 header
    path.write_bytes(raw)
    # The header's float32 0.1 times an integer, in float64, rounded once to float32.
    expected = (stored * float(np.float32(0.1)) - 3.0).astype(np.float32)
    np.testing.assert_array_equal(read_image(path).data, expected)


def test_a_zero_slope_means_no_scaling(nifti_file: Callable) -> None:
    path = nifti_file(np.arange(12, dtype=np.int16).reshape(3, 4), name="a.nii")
    raw = bytearray(path.read_bytes())
    struct.pack_into("<ff", raw, 112, 0.0, 5.0)
    path.write_bytes(raw)
    np.testing.assert_array_equal(read_image(path).data.ravel(), np.arange(12))


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 6), (4, 5, 1), (4, 5, 6, 2)])
def test_two_to_four_dimensions(
    nifti_file: Callable, ramp: Callable, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    np.save(tmp_path / "a.npy", ramp(*shape))
    for path in (nifti_file(ramp(*shape)), tmp_path / "a.npy"):
        np.testing.assert_array_equal(read_image(path).data, ramp(*shape))


def test_geometry_and_header(nifti_file: Callable, random_affine: Callable) -> None:
    affine = random_affine(np.random.default_rng(3))
    path = nifti_file(np.arange(24.0, dtype=np.float32).reshape(2, 3, 4), affine)
    image = read_image(path)
    assert image.affine is not None
    assert image.affine.dtype == np.float64
    # The header stores the sform in float32: relative rounding 6e-8.
    np.testing.assert_allclose(image.affine, affine, rtol=6e-8)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    np.testing.assert_allclose(image.spacing, spacing, rtol=2e-7)
    assert isinstance(image.header, nib.Nifti1Header)


def test_nifti2_is_read(nifti_file: Callable, ramp: Callable) -> None:
    path = nifti_file(ramp(3, 4), header=nib.Nifti2Header())
    np.testing.assert_array_equal(read_image(path).data, ramp(3, 4))


def test_the_content_decides_about_compression(nifti_file: Callable, ramp: Callable) -> None:
    plain, packed = nifti_file(ramp(3, 4), name="a.nii"), nifti_file(ramp(3, 4), name="b.nii.gz")
    swapped = plain.with_name("c.nii.gz"), packed.with_name("d.NII")
    plain.rename(swapped[0])
    packed.rename(swapped[1])
    for path in swapped:
        np.testing.assert_array_equal(read_image(path).data, ramp(3, 4))


def test_the_pixels_are_ours_and_the_file_is_untouched(
    nifti_file: Callable, ramp: Callable
) -> None:
    path = nifti_file(ramp(3, 4), name="a.nii")
    before = path.read_bytes()
    image = read_image(path)
    image.data[:] = 7  # writable, and no window onto the file
    assert path.read_bytes() == before
    np.testing.assert_array_equal(read_image(path).data, ramp(3, 4))


def test_missing_folder_and_unreadable(tmp_path: Path) -> None:
    refused(tmp_path / "no.nii.gz", "does not exist", "check the name")
    (tmp_path / "folder.nii").mkdir()
    refused(tmp_path / "folder.nii", "holds no DICOM image", "or name an image file")
    (tmp_path / "loop.nii").symlink_to(tmp_path / "loop.nii")
    refused(tmp_path / "loop.nii", "symbolic links")
    (tmp_path / "file").touch()
    refused(tmp_path / "file" / "a.nii", "cannot read")


@pytest.mark.parametrize("name", ["a.mgz", "a.nii.bz2", "a.hdr", "a", "nii", "a.npz"])
def test_unsupported_endings_are_named_with_the_supported_ones(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    refused(tmp_path / name, "no supported ending", ".nii.gz, .nii, .npy")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_truncated_nifti(nifti_file: Callable, name: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 1000, (16, 16, 8)).astype(np.int16)
    path = nifti_file(noise, name=name)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * share)])
    words = {"a.nii": "truncated: ", "a.nii.gz": "truncated or damaged gzip file"}
    refused(path, words[name], "copy or download it again")


def test_a_gzip_file_with_flipped_bits(nifti_file: Callable) -> None:
    noise = np.random.default_rng(0).integers(0, 1000, (16, 16, 8)).astype(np.int16)
    path = nifti_file(noise)
    raw = bytearray(path.read_bytes())
    raw[-6] ^= 0xFF  # in the checksum: the pixels themselves would decompress
    path.write_bytes(raw)
    refused(path, "truncated or damaged gzip file")


def test_a_truncated_header(nifti_file: Callable, ramp: Callable) -> None:
    path = nifti_file(ramp(3, 4), name="a.nii")
    path.write_bytes(path.read_bytes()[:200])
    refused(path, "header that cannot be used", "export it again")


def test_a_header_that_promises_terabytes(nifti_file: Callable, ramp: Callable) -> None:
    path = nifti_file(ramp(3, 4, 5), name="a.nii")
    raw = bytearray(path.read_bytes())
    struct.pack_into("<hhhh", raw, 40, 3, 32767, 32767, 32767)  # dim of the NIfTI-1 header
    path.write_bytes(raw)
    refused(path, "truncated", "bytes")


@pytest.mark.parametrize("content", [b"", b"hi", b"patient;age\n1;30\n" * 100, b"<html>" * 99])
@pytest.mark.parametrize("packed", [False, True])
def test_text_posing_as_nifti(tmp_path: Path, content: bytes, packed: bool) -> None:
    path = tmp_path / ("a.nii.gz" if packed else "a.nii")
    path.write_bytes(gzip.compress(content) if packed else content)
    refused(path, "is no NIfTI image")


def test_a_file_of_the_right_header_size_but_no_nifti(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    path.write_bytes(struct.pack("<i", 348) + bytes(1000))
    refused(path, "header that cannot be used")


@pytest.mark.parametrize(
    ("offset", "kind", "value"),
    [(70, "<h", 999), (108, "<f", -1.0), (108, "<f", np.nan), (116, "<f", np.nan), (256, "<f", 9)],
    ids=["data type", "data offset", "data offset NaN", "intercept", "quaternion"],
)
def test_damaged_header_fields(
    nifti_file: Callable, ramp: Callable, offset: int, kind: str, value: float
) -> None:
    path = nifti_file(ramp(3, 4, 5), name="a.nii")
    raw = bytearray(path.read_bytes())
    struct.pack_into("<hh", raw, 252, 1, 0)  # qform, no sform: a broken quaternion must be seen
    struct.pack_into("<f", raw, 112, 2.0)  # a slope, or the intercept would not count
    struct.pack_into(kind, raw, offset, value)
    path.write_bytes(raw)
    refused(path, "header that cannot be used", "export it again")


@pytest.mark.parametrize(
    "content", [b"", b"1 2 3\n", b"\x93NUMPY", b"\x93NUMPY\x01\x00garbage", b"PK\x03\x04"]
)
def test_files_posing_as_npy(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    refused(path, "damaged" if content.startswith(b"\x93") else "is not a NumPy .npy file")


def test_truncated_npy(tmp_path: Path, ramp: Callable) -> None:
    path = tmp_path / "a.npy"
    np.save(path, ramp(8, 8))
    path.write_bytes(path.read_bytes()[:-1])
    refused(path, "damaged or truncated")


def test_npy_header_that_promises_terabytes(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(
            stream, {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**6, 10**3)}
        )
    refused(path, "damaged or truncated")


def test_npy_never_unpickles(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
    refused(path, "holds Python objects, not numbers", "plain numeric array")


@pytest.mark.parametrize("dtype", ["U3", "S3", "M8[s]", [("a", "f4")]])
def test_npy_of_something_else(tmp_path: Path, dtype: object) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((3, 4), dtype=dtype))
    refused(path, "not numbers")


@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 4, 5, 6)])
def test_wrong_number_of_dimensions(tmp_path: Path, ramp: Callable, shape: tuple) -> None:
    np.save(tmp_path / "a.npy", ramp(*shape))
    refused(tmp_path / "a.npy", f"has {len(shape)} dimension", "expected 2 to 4")


@pytest.mark.parametrize("shape", [(5,), (2, 3, 4, 1, 3)])
def test_wrong_number_of_dimensions_in_nifti(
    nifti_file: Callable, ramp: Callable, shape: tuple
) -> None:
    refused(nifti_file(ramp(*shape)), f"has {len(shape)} dimension", "expected 2 to 4")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(
    nifti_file: Callable, tmp_path: Path, ramp: Callable, bad: float
) -> None:
    data = ramp(3, 4)
    data[1, 2] = bad
    np.save(tmp_path / "a.npy", data)
    for path in (nifti_file(data), tmp_path / "a.npy"):
        refused(path, "holds 1 NaN or infinite voxel;", "replace them")
    data[0] = bad
    refused(nifti_file(data), "holds 5 NaN or infinite voxels;")


def test_complex_values_that_are_not_finite(nifti_file: Callable, ramp: Callable) -> None:
    data = ramp(3, 4).astype(np.complex64)
    data[1, 2] = complex(0, np.nan)
    refused(nifti_file(data), "holds 1 NaN or infinite voxel;")


def test_values_beyond_float32(nifti_file: Callable, ramp: Callable) -> None:
    refused(nifti_file(ramp(3, 4).astype(np.float64) * 1e38), "beyond float32", "rescale")


@pytest.mark.parametrize("value", [0.0, 7.5, 1 + 2j])
def test_constant_images(nifti_file: Callable, tmp_path: Path, value: complex) -> None:
    data = np.full((3, 4), value)
    np.save(tmp_path / "a.npy", data)
    for path in (nifti_file(data), tmp_path / "a.npy"):
        refused(path, f"is constant (every voxel is {value:g})", "right file")


def test_colour_is_refused(nifti_file: Callable) -> None:
    rgb = np.zeros((3, 4, 5), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    refused(nifti_file(rgb), "colour (RGB)", "grey-scale")


@pytest.mark.parametrize("shape", [(0, 4), (3, 0, 4)])
def test_no_voxels(nifti_file: Callable, tmp_path: Path, shape: tuple[int, ...]) -> None:
    data = np.zeros(shape, np.float32)
    np.save(tmp_path / "a.npy", data)
    for path in (nifti_file(data), tmp_path / "a.npy"):
        refused(path, "has no voxels")


def test_a_negative_size(nifti_file: Callable, ramp: Callable) -> None:
    path = nifti_file(ramp(3, 4, 5), name="a.nii")
    raw = bytearray(path.read_bytes())
    struct.pack_into("<h", raw, 44, -4)  # dim[2] of the NIfTI-1 header
    path.write_bytes(raw)
    refused(path, "has no voxels (shape (3, -4, 5))")


def set_sform(path: Path, rows: np.ndarray) -> None:
    """Overwrite the sform of an uncompressed NIfTI-1 file, as no careful writer would."""
    raw = bytearray(path.read_bytes())
    struct.pack_into("<12f", raw, 280, *np.asarray(rows, dtype=float)[:3].ravel())
    path.write_bytes(raw)


@pytest.mark.parametrize(
    "affine",
    [
        np.diag([0.0, 0.0, 0.0, 1.0]),
        np.diag([1.0, 1.0, 0.0, 1.0]),
        np.array([[1.0, 2, 0, 0], [1, 2, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
        np.diag([1.0, np.nan, 1.0, 1.0]),
        np.array([[1.0, 0, 0, np.inf], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
    ],
)
def test_zero_singular_or_broken_affines(
    nifti_file: Callable, ramp: Callable, affine: np.ndarray
) -> None:
    path = nifti_file(ramp(3, 4, 5), name="a.nii")
    set_sform(path, affine)
    refused(path, "zero or singular affine", "sform/qform")


@pytest.mark.parametrize("spacing", [1e-3, 1e3])
def test_small_and_large_voxels_are_not_singular(
    nifti_file: Callable, ramp: Callable, spacing: float
) -> None:
    path = nifti_file(ramp(3, 4, 5), np.diag([spacing, spacing, spacing, 1.0]))
    np.testing.assert_allclose(read_image(path).spacing, spacing, rtol=6e-8)


def test_linked_folders_count_once(tmp_path: Path) -> None:
    """A disk elsewhere, by two names, that leads back to where the search began. A link that leads
    nowhere is listed: whoever opens it says so."""
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    for name in ("root/own/a.npy", "elsewhere/deep/b.npy"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    (root / "disk").symlink_to(elsewhere)
    (root / "same").symlink_to(elsewhere / "deep")
    (elsewhere / "deep" / "back").symlink_to(root)
    (root / "c.npy").symlink_to(root / "own" / "a.npy")
    (root / "lost.npy").symlink_to(root / "nowhere")
    found = [p.relative_to(root).as_posix() for p in list_images(root)]
    assert found == ["c.npy", "lost.npy", "own/a.npy", "same/b.npy"]
    with pytest.raises(MRCascadeError, match=r"lost\.npy is a link to a missing file"):
        read_image(root / "lost.npy")


def test_list_images(tmp_path: Path) -> None:
    for name in ["b.nii", "a/c.NII.GZ", "a/d.npy", "a/e.json", ".hidden.nii", ".h/f.nii"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [p.relative_to(tmp_path).as_posix() for p in list_images(tmp_path)]
    assert found == ["a/c.NII.GZ", "a/d.npy", "b.nii"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(MRCascadeError, match="no image found"):
        list_images(tmp_path / "empty")
    with pytest.raises(MRCascadeError, match="no such folder"):
        list_images(tmp_path / "b.nii")
