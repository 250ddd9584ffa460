"""Written images, read back with plain nibabel and NumPy."""

import gzip
import hashlib
import itertools
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mrcascade.errors import MRCascadeError
from mrcascade.io import (
    Image,
    atomic_outputs,
    choose_axes,
    from_slices,
    read_image,
    resampled_affine,
    to_slices,
    write_image,
    write_image_into,
)

SHEAR = np.array([[1.0, 0.2, 0, 5], [0, 1, 0, -3], [0, 0, 2, 1], [0, 0, 0, 1]])


def doubled(image: Image, kernel: str = "area", axes: str | None = None) -> Image:
    """`image` with every in-plane voxel split in two: the pipeline's way through this package."""
    axes = choose_axes(image, axes)
    stack = to_slices(image, axes)
    fine = stack.repeat(2, axis=1).repeat(2, axis=2)
    affine = None
    if image.affine is not None:
        affine = resampled_affine(image.affine, axes, kernel, stack.shape[1:], fine.shape[1:])
    return image.with_data(from_slices(fine, image, axes), affine)


def rewritten(image: Image, path: Path) -> nib.Nifti1Image:
    write_image(image, path)
    return nib.load(path)


@pytest.mark.parametrize("name", ["out.nii", "out.nii.gz", "deep/er/OUT.NII.GZ"])
def test_pixels_and_affine_survive(
    tmp_path: Path, nifti_file: Callable, ramp: Callable, random_affine: Callable, name: str
) -> None:
    for seed in range(5):
        affine = random_affine(np.random.default_rng(seed))
        image = doubled(read_image(nifti_file(ramp(4, 5, 6), affine, name=f"{seed}.nii")))
        out = rewritten(image, tmp_path / str(seed) / name)
        np.testing.assert_array_equal(np.asanyarray(out.dataobj), image.data)
        assert out.get_data_dtype() == np.float32
        # sform: float32 rounding of each entry. The qform also rounds a quaternion, to 6e-8,
        # which the recovery of its first entry can raise to sqrt(6e-8) for half turns: no seed
        # is that close, so 1e-5 of a voxel over the few voxels of this image is ample.
        np.testing.assert_allclose(out.get_sform(), image.affine, rtol=6e-8)
        assert np.abs(out.get_qform() - image.affine).max() < 5e-5
        np.testing.assert_allclose(out.header.get_zooms(), image.spacing, rtol=2e-7)


def test_gzip_only_where_the_name_says_so(
    tmp_path: Path, nifti_file: Callable, ramp: Callable
) -> None:
    image = read_image(nifti_file(ramp(4, 5, 6)))
    write_image(image, tmp_path / "a.nii")
    write_image(image, tmp_path / "a.nii.gz")
    assert (
        gzip.decompress((tmp_path / "a.nii.gz").read_bytes()) == (tmp_path / "a.nii").read_bytes()
    )


def test_equal_images_give_equal_bytes(
    tmp_path: Path, nifti_file: Callable, ramp: Callable
) -> None:
    image = read_image(nifti_file(ramp(4, 5, 6)))
    code = (
        "import sys; from mrcascade.io import *; write_image(read_image(sys.argv[1]), sys.argv[2])"
    )
    write_image(image, tmp_path / "a.nii.gz")
    subprocess.run(
        [sys.executable, "-c", code, str(image.source), str(tmp_path / "other_name.nii.gz")],
        check=True,
        timeout=60,
    )
    first, second = (tmp_path / n for n in ("a.nii.gz", "other_name.nii.gz"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("codes", "expected"),
    [((1, 1), (1, 1)), ((4, 1), (4, 1)), ((2, 0), (2, 0)), ((0, 1), (0, 1)), ((0, 0), (2, 2))],
)
def test_codes_are_kept(
    tmp_path: Path, nifti_file: Callable, ramp: Callable, codes: tuple, expected: tuple
) -> None:
    affine = np.diag([-1.0, 2.0, 3.0, 1.0])
    source = nib.Nifti1Image(ramp(4, 5, 6), affine)
    source.set_sform(affine, code=codes[0])
    source.set_qform(affine, code=codes[1])
    source.to_filename(tmp_path / "a.nii")
    image = doubled(read_image(tmp_path / "a.nii"))
    out = rewritten(image, tmp_path / "b.nii")
    assert (out.header["sform_code"], out.header["qform_code"]) == expected
    # Both forms hold the geometry, whichever a reader prefers.
    np.testing.assert_allclose(out.get_sform(), image.affine, rtol=1e-6)
    np.testing.assert_allclose(out.get_qform(), image.affine, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(out.affine, image.affine, rtol=1e-6, atol=1e-6)


def test_a_qform_of_another_space_is_not_continued_under_its_code(
    tmp_path: Path, ramp: Callable
) -> None:
    template, scanner = np.diag([2.0, 2, 2, 1]), np.diag([2.0, 2, 2, 1])
    scanner[:3, 3] = 40, -20, 10
    source = nib.Nifti1Image(ramp(4, 5, 6), template)
    source.set_sform(template, code=4)
    source.set_qform(scanner, code=1)
    source.to_filename(tmp_path / "a.nii")
    image = doubled(read_image(tmp_path / "a.nii"))
    out = rewritten(image, tmp_path / "b.nii")
    assert (out.header["sform_code"], out.header["qform_code"]) == (4, 4)
    np.testing.assert_allclose(out.get_sform(), image.affine, rtol=1e-6)
    np.testing.assert_allclose(out.get_qform(), image.affine, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("codes", "expected"), [((3, 1), (3, 0)), ((1, 0), (1, 0))])
def test_a_sheared_affine_has_no_qform(
    tmp_path: Path, ramp: Callable, codes: tuple, expected: tuple
) -> None:
    source = nib.Nifti1Image(ramp(4, 5, 6), SHEAR)
    source.set_sform(SHEAR, code=codes[0])
    source.set_qform(SHEAR, code=codes[1])
    source.to_filename(tmp_path / "a.nii")
    image = doubled(read_image(tmp_path / "a.nii"))
    out = rewritten(image, tmp_path / "b.nii")
    assert (out.header["sform_code"], out.header["qform_code"]) == expected
    np.testing.assert_allclose(out.affine, image.affine, rtol=1e-6)


def test_shear_moves_the_code_of_the_qform_to_the_sform(
    tmp_path: Path, nifti_file: Callable, ramp: Callable
) -> None:
    source = nib.Nifti1Image(ramp(4, 5, 6), np.eye(4))
    source.set_sform(np.eye(4), code=0)
    source.set_qform(np.eye(4), code=1)
    source.to_filename(tmp_path / "a.nii")
    image = read_image(tmp_path / "a.nii")
    out = rewritten(image.with_data(image.data, SHEAR), tmp_path / "b.nii")
    assert (out.header["sform_code"], out.header["qform_code"]) == (1, 0)
    np.testing.assert_allclose(out.affine, SHEAR, rtol=1e-6)


@pytest.mark.parametrize("big_endian", [False, True])
def test_units_time_and_intent_are_kept_and_the_rest_starts_clean(
    tmp_path: Path, ramp: Callable, big_endian: bool
) -> None:
    header = nib.Nifti1Header(endianness=">" if big_endian else "<")
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    source = nib.Nifti1Image(ramp(4, 5, 6, 3).astype(np.int16), affine, header)
    source.header.set_xyzt_units("mm", "msec")
    source.header.set_zooms((1.0, 1.0, 2.0, 850.0))
    source.header["toffset"] = 12.5
    source.header["cal_max"], source.header["cal_min"] = 300, 10
    source.header["descrip"] = b"Jane Doe, 1970"
    source.header["aux_file"] = b"lut"
    source.header.set_dim_info(freq=1, phase=0, slice=2)
    source.header["slice_code"], source.header["slice_end"] = 3, 5
    source.header["slice_duration"] = 0.04
    source.header.set_intent("estimate", name="T2 map")
    source.header.extensions.append(nib.nifti1.Nifti1Extension("afni", b"<old geometry/>"))
    source.header.set_slope_inter(2.0, 1.0)
    source.to_filename(tmp_path / "a.nii")
    image = doubled(read_image(tmp_path / "a.nii"))
    out = rewritten(image, tmp_path / "b.nii").header
    assert out.get_xyzt_units() == ("mm", "msec")
    np.testing.assert_allclose(out.get_zooms(), (0.5, 0.5, 2.0, 850.0))
    assert out["toffset"] == 12.5
    assert out.get_intent() == ("estimate", (), "T2 map")
    assert out.get_dim_info() == (1, 0, 2)
    assert (out["slice_code"], out["slice_end"]) == (3, 5)
    assert out["slice_duration"] == np.float32(0.04)
    assert out["cal_max"] == out["cal_min"] == 0
    assert out["descrip"] == b"mrcascade. Research software; not for diagnosis."
    assert out["aux_file"] == b""
    assert len(out.extensions) == 0
    assert b"Jane" not in (tmp_path / "b.nii").read_bytes()
    slope, intercept = struct.unpack_from("<ff", (tmp_path / "b.nii").read_bytes(), 112)
    assert (slope, intercept) == (1.0, 0.0)


def test_slice_timing_of_a_resampled_axis_is_dropped(tmp_path: Path, ramp: Callable) -> None:
    source = nib.Nifti1Image(ramp(4, 5, 6), np.diag([1.0, 3.0, 1.0, 1.0]))
    source.header.set_dim_info(slice=2)  # the user asks for planes that hold this axis
    source.header["slice_code"], source.header["slice_end"] = 3, 5
    source.to_filename(tmp_path / "a.nii")
    image = doubled(read_image(tmp_path / "a.nii"), axes="0,2")
    out = rewritten(image, tmp_path / "b.nii").header
    assert out.get_data_shape() == (8, 5, 12)
    assert out["slice_code"] == out["slice_end"] == 0


def test_an_image_without_a_header_is_in_millimetres(tmp_path: Path, ramp: Callable) -> None:
    image = Image(ramp(4, 5), np.diag([0.5, 0.5, 4, 1]), Path("memory"), "nifti", None, "")
    out = rewritten(image, tmp_path / "b.nii").header
    assert out.get_xyzt_units()[0] == "mm"
    assert (out["sform_code"], out["qform_code"]) == (2, 2)


@pytest.mark.parametrize("name", ["b.nii.gz", "b.npy"])
def test_complex_and_double_pixels(tmp_path: Path, ramp: Callable, name: str) -> None:
    affine = None if name == "b.npy" else np.eye(4)
    for data, kind in [(ramp(4, 5) * (1 + 2j), np.complex64), (ramp(4, 5) * 1.0, np.float32)]:
        data = data.astype(np.result_type(data, np.float64))
        write_image(Image(data, affine, Path("m"), "", None, ""), tmp_path / name, overwrite=True)
        again = read_image(tmp_path / name)
        assert again.data.dtype == kind
        np.testing.assert_array_equal(again.data, data)


def test_nifti2_only_for_large_sizes(tmp_path: Path, nifti_file: Callable, ramp: Callable) -> None:
    small = rewritten(
        read_image(nifti_file(ramp(4, 5), header=nib.Nifti2Header())), tmp_path / "b.nii"
    )
    assert isinstance(small, nib.Nifti1Image)
    assert not isinstance(small, nib.Nifti2Image)
    image = read_image(nifti_file(ramp(32767, 2), header=nib.Nifti1Header()))
    assert type(rewritten(image, tmp_path / "c.nii")) is nib.Nifti1Image
    large = rewritten(doubled(image), tmp_path / "d.nii")
    assert isinstance(large, nib.Nifti2Image)
    assert large.shape == (65534, 4)
    assert large.header["descrip"] == b"mrcascade. Research software; not for diagnosis."
    np.testing.assert_array_equal(read_image(tmp_path / "d.nii").data, doubled(image).data)


def test_npy_round_trip(tmp_path: Path, ramp: Callable) -> None:
    np.save(tmp_path / "a.npy", ramp(4, 5, 6))
    image = doubled(read_image(tmp_path / "a.npy"))
    write_image(image, tmp_path / "b.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "b.npy", allow_pickle=False), image.data)
    assert np.load(tmp_path / "b.npy").shape == (8, 10, 6)


def test_geometry_is_neither_lost_nor_invented(
    tmp_path: Path, nifti_file: Callable, ramp: Callable
) -> None:
    np.save(tmp_path / "a.npy", ramp(4, 5))
    with pytest.raises(MRCascadeError, match=r"b\.nii needs a geometry .*a\.npy.*write \.npy"):
        write_image(read_image(tmp_path / "a.npy"), tmp_path / "b.nii")
    with pytest.raises(MRCascadeError, match=r"b\.npy would lose the geometry .*write \.nii\.gz"):
        write_image(read_image(nifti_file(ramp(4, 5))), tmp_path / "b.npy")
    with pytest.raises(MRCascadeError, match=r"b\.png has no supported ending.*\.nii\.gz"):
        write_image(read_image(tmp_path / "a.npy"), tmp_path / "b.png")
    assert not list(tmp_path.glob("b.*"))


def test_a_result_with_nan_is_not_written(
    tmp_path: Path, nifti_file: Callable, ramp: Callable
) -> None:
    image = read_image(nifti_file(ramp(4, 5)))
    image.data[0, 0] = np.nan
    with pytest.raises(MRCascadeError, match=r"b\.nii not written: the result holds 1 NaN"):
        write_image(image, tmp_path / "b.nii")
    assert not (tmp_path / "b.nii").exists()


def test_the_input_is_never_the_output(
    tmp_path: Path, nifti_file: Callable, ramp: Callable
) -> None:
    path = nifti_file(ramp(4, 5, 6), name="a.nii")
    (tmp_path / "link.nii").symlink_to(path)
    (tmp_path / "hard.nii").hardlink_to(path)
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    image = read_image(path)
    for name, overwrite in itertools.product(["a.nii", "link.nii", "hard.nii"], [False, True]):
        with pytest.raises(MRCascadeError, match=f"{name} is the input itself"):
            write_image(image, tmp_path / name, overwrite=overwrite)
    write_image(doubled(image), tmp_path / "b.nii")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before == image.sha256


def test_existing_outputs_need_overwrite(
    tmp_path: Path, nifti_file: Callable, ramp: Callable
) -> None:
    image = read_image(nifti_file(ramp(4, 5)))
    (tmp_path / "b.nii").write_bytes(b"old")
    with pytest.raises(MRCascadeError, match="--overwrite"):
        write_image(image, tmp_path / "b.nii")
    assert (tmp_path / "b.nii").read_bytes() == b"old"
    write_image(image, tmp_path / "b.nii", overwrite=True)
    np.testing.assert_array_equal(read_image(tmp_path / "b.nii").data, image.data)


def test_images_in_a_group(tmp_path: Path, nifti_file: Callable, ramp: Callable) -> None:
    image = read_image(nifti_file(ramp(4, 5)))
    targets = [tmp_path / "sr.nii.gz", tmp_path / "std.nii.gz", tmp_path / "sr.json"]
    with atomic_outputs(targets) as (mean, std, sidecar):
        write_image_into(image, mean)
        write_image_into(image.with_data(np.zeros_like(image.data), image.affine), std)
        sidecar.write_text("{}")
    np.testing.assert_array_equal(read_image(targets[0]).data, image.data)
    assert not nib.load(targets[1]).get_fdata().any()  # a spread of zero may be constant
    with pytest.raises(MRCascadeError, match="no supported ending"):
        write_image_into(image, targets[2])


def test_importing_io_stays_light() -> None:
    code = "import sys, mrcascade.io; print([m for m in ('nibabel', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
