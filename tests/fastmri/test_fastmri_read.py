"""Reading of fastMRI files: values, matrix, geometry, optional fields, refused files.

Tolerances are those of single precision: a transform of N samples has an error of a few roundings
per factor of 2, relative to the largest value.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from fastmri_files import (
    PIXEL,
    Scan,
    coil_maps,
    crop,
    header,
    multicoil,
    phantom,
    to_images,
    to_kspace,
    write,
)

from mrcascade.errors import MRCascadeError
from mrcascade.io import Image, choose_axes, open_source, plane_name, read_image

HEADER = header((64, 40), (32, 32))
ROUNDINGS = 16 * np.finfo(np.float32).eps
OPTIONAL = ("reconstruction_rss", "ismrmrd_header", "attributes")


def assert_same(image: Image, slices: np.ndarray) -> None:
    """`slices`, (slices, rows, columns), to single precision."""
    expected = np.moveaxis(slices, 0, 2)
    np.testing.assert_allclose(
        image.data, expected, rtol=0, atol=ROUNDINGS * np.abs(expected).max()
    )


def refused(path: Path, *parts: str, complex_valued: bool = False) -> None:
    with pytest.raises(MRCascadeError) as caught:
        read_image(path, complex_valued)
    message = str(caught.value)
    assert message.isprintable()
    assert all(part in message for part in (str(path), ";", *parts)), message


# ---- values ----


def test_root_sum_of_squares_is_the_stored_reconstruction(scan: Scan) -> None:
    image = read_image(scan.path)
    with h5py.File(scan.path) as file:
        stored = file["reconstruction_rss"][:]
    assert image.data.dtype == np.float32
    assert_same(image, stored)


def test_real_slices(tmp_path: Path, data_folder: Path) -> None:
    """Of a knee, with the sizes of fastMRI's knees: 640 x 368, cropped to 320 x 320."""
    real = read_image(data_folder / "knee/test/knee01_s18-23_mese_te06.3ms.nii.gz").data
    objects = np.zeros((1, 640, 368), np.complex128)
    sides = tuple(min(320, n) for n in real.shape[:2])
    corner = 320 - sides[0] // 2, 184 - sides[1] // 2
    inside = (slice(corner[0], corner[0] + sides[0]), slice(corner[1], corner[1] + sides[1]))
    phase = np.exp(2j * np.linspace(-1, 1, sides[1]))
    objects[0][inside] = crop(real[..., 3], sides) * phase
    scan = multicoil(tmp_path / "knee.h5", 1, 3, (640, 368), (320, 320), objects=objects)
    assert_same(read_image(scan.path), scan.rss)


@pytest.mark.parametrize(
    "storage", [{"chunks": (1, 2, 20, 40)}, {"chunks": (2, 4, 64, 40), "compression": 4}]
)
def test_chunks_and_compression_do_not_matter(tmp_path: Path, scan: Scan, storage: dict) -> None:
    other = multicoil(tmp_path / "b.h5", without=("reconstruction_rss",), **storage)
    np.testing.assert_array_equal(read_image(other.path).data, read_image(scan.path).data)


def test_double_precision_kspace(tmp_path: Path, scan: Scan) -> None:
    path = write(tmp_path / "b.h5", {"kspace": scan.kspace.astype(np.complex128)}, HEADER)
    assert_same(read_image(path), scan.rss)


@pytest.mark.parametrize("complex_valued", [False, True])
def test_single_coil(tmp_path: Path, complex_valued: bool) -> None:
    truth = phantom(2, (64, 40), (32, 32))
    kspace = to_kspace(truth)
    images = to_images(kspace, (32, 32))
    arrays = {"kspace": kspace, "reconstruction_esc": np.abs(images).astype(np.float32)}
    path = write(tmp_path / "knee.h5", arrays, HEADER)
    image = read_image(path, complex_valued)
    assert_same(image, images if complex_valued else arrays["reconstruction_esc"])
    assert np.iscomplexobj(image.data) == complex_valued


@pytest.mark.parametrize("name", ["reconstruction_rss", "reconstruction_esc", "reconstruction"])
def test_only_a_reconstruction(tmp_path: Path, name: str) -> None:
    values = np.random.default_rng(0).normal(size=(3, 12, 10)).astype(np.float32)
    path = write(tmp_path / "a.h5", {name: values}, header((24, 12), (12, 10)))
    image = read_image(path)
    np.testing.assert_array_equal(image.data, np.moveaxis(values, 0, 2))
    assert image.spacing == pytest.approx((*PIXEL, 4.5))
    refused(path, "no k-space", "magnitude prior", complex_valued=True)


def test_emulated_single_coil_has_a_reconstruction_of_its_own(tmp_path: Path) -> None:
    kspace = to_kspace(phantom(2, (64, 40), (32, 32)))
    kspace[..., 1::2] = 0
    own, coils = np.random.default_rng(0).random((2, 2, 32, 32)).astype(np.float32)
    arrays = {"kspace": kspace, "reconstruction_rss": coils, "reconstruction_esc": own}
    image = read_image(write(tmp_path / "a.h5", arrays))
    np.testing.assert_array_equal(image.data, np.moveaxis(own, 0, 2))


# ---- matrix and geometry ----


@pytest.mark.parametrize(
    ("size", "recon"),
    [((64, 40), (32, 32)), ((60, 33), (30, 31)), ((64, 21), (32, 21)), ((48, 48), (48, 48))],
)
def test_crop_and_voxel_size(tmp_path: Path, size: tuple[int, int], recon: tuple[int, int]) -> None:
    scan = multicoil(tmp_path / "a.h5", 2, 3, size, recon)
    image = read_image(scan.path)
    assert image.shape == (*recon, 2)
    assert_same(image, scan.rss)
    assert image.spacing == pytest.approx((*PIXEL, 4.5))
    middle = image.affine @ [*((n - 1) / 2 for n in image.shape), 1]
    np.testing.assert_allclose(middle, (0, 0, 0, 1), atol=1e-9)
    assert choose_axes(image) == (0, 1)
    assert plane_name(image, (0, 1)) == "unknown"


def test_fewer_columns_than_the_reconstructed_matrix(tmp_path: Path) -> None:
    """As some of fastMRI's FLAIR scans have, which encode 203 of 320."""
    scan = multicoil(tmp_path / "a.h5", 2, 3, (64, 21), (32, 21), without=("ismrmrd_header",))
    with h5py.File(scan.path, "r+") as file:
        file["ismrmrd_header"] = header((64, 21), (32, 32), ef=(32.0, 25.2))
    image = read_image(scan.path)
    assert_same(image, scan.rss)
    assert image.spacing == pytest.approx((0.5, 25.2 / 21, 4.5))  # the field over its samples


def test_voxels_are_those_of_the_reconstruction_where_the_encoding_is_of_another_size(
    tmp_path: Path, scan: Scan
) -> None:
    path = write(tmp_path / "b.h5", {"kspace": scan.kspace}, header((64, 44), (32, 32)))
    assert read_image(path).spacing == pytest.approx((*PIXEL, 4.5))


@pytest.mark.parametrize("field", OPTIONAL)
def test_every_field_but_kspace_is_optional(tmp_path: Path, scan: Scan, field: str) -> None:
    path = multicoil(tmp_path / "b.h5", without=(field,)).path
    np.testing.assert_array_equal(read_image(path).data, read_image(scan.path).data)


def test_kspace_alone(tmp_path: Path, scan: Scan) -> None:
    """Then the readout is halved, the columns stay, and voxels have no known size."""
    image = read_image(multicoil(tmp_path / "b.h5", without=OPTIONAL).path)
    assert image.spacing == (1, 1, 1)
    squares = np.abs(to_images(scan.kspace, (32, 40))) ** 2
    assert_same(image, np.sqrt(squares.sum(axis=1)))


def test_hash_and_origin(scan: Scan) -> None:
    from hashlib import sha256

    with open_source(scan.path) as source:
        assert source.origin == "root sum of squares of 4 coils"
        for _ in source.blocks():
            pass
        assert source.sha256 == sha256(scan.path.read_bytes()).hexdigest()


# ---- sampling ----


def test_undersampled_kspace_is_refused(tmp_path: Path) -> None:
    keep = np.r_[0:40:4, 16:24]
    scan = multicoil(tmp_path / "test.h5", keep=keep, without=("reconstruction_rss",))
    refused(scan.path, "undersampled", "reconstruct")
    refused(scan.path, "undersampled", "reconstruct", complex_valued=True)


def test_undersampled_kspace_with_a_reconstruction(tmp_path: Path) -> None:
    scan = multicoil(tmp_path / "test.h5", keep=np.r_[0:40:4, 16:24])
    np.testing.assert_array_equal(
        read_image(scan.path).data, np.moveaxis(scan.rss, 0, 2).astype(np.float32)
    )
    refused(scan.path, "undersampled", "magnitude prior", complex_valued=True)


def test_samples_missing_at_random(tmp_path: Path, scan: Scan) -> None:
    kspace = scan.kspace * (np.random.default_rng(0).random((64, 40)) < 0.9)
    refused(write(tmp_path / "a.h5", {"kspace": kspace}), "undersampled")


def test_one_undersampled_slice(tmp_path: Path, scan: Scan) -> None:
    scan.kspace[2, ..., 7] = 0
    path = write(tmp_path / "a.h5", {"kspace": scan.kspace})
    refused(path, "slice 2 is undersampled")


def test_zeros_around_kspace_are_zero_filling(tmp_path: Path) -> None:
    """As fastMRI's knees have. Columns 3 to 33 reach 17 from the centre (20): 34 of 40, and so
    round(32 * 34 / 40) = 27 of the 32 that are left of the crop."""
    scan = multicoil(tmp_path / "a.h5", keep=slice(3, 34))
    assert_same(read_image(scan.path), scan.rss)
    with open_source(scan.path) as source:
        assert source.acquired == {0: 32, 1: 27}


def test_an_empty_slice_is_no_undersampled_one(tmp_path: Path, scan: Scan) -> None:
    scan.kspace[0] = 0
    image = read_image(write(tmp_path / "a.h5", {"kspace": scan.kspace}))
    assert not image.data[..., 0].any()
    assert image.data[..., 1].any()


def test_one_average(tmp_path: Path, scan: Scan) -> None:
    assert_same(
        read_image(write(tmp_path / "a.h5", {"kspace": scan.kspace[None]}, HEADER)), scan.rss
    )


# ---- maps in the file ----


@pytest.mark.parametrize("name", ["coil_sens_maps", "sensitivity_maps", "sens_maps"])
@pytest.mark.parametrize("whole", [True, False])
def test_maps_in_the_file(tmp_path: Path, scan: Scan, name: str, whole: bool) -> None:
    """The true maps give back the true image; they need no normalisation."""
    maps = coil_maps(4, (64, 40), (32, 32)) if whole else scan.maps
    arrays = {"kspace": scan.kspace, name: np.stack([maps] * 3).astype(np.complex64)}
    image = read_image(write(tmp_path / "a.h5", arrays, HEADER), True)
    weight = np.sqrt((np.abs(scan.maps) ** 2).sum(axis=0))
    error = np.abs(image.data - np.moveaxis(scan.image, 0, 2)) * weight[..., None]
    assert error.max() < ROUNDINGS * np.abs(scan.rss).max()


def test_no_sensitivity_is_no_signal(tmp_path: Path, scan: Scan) -> None:
    maps = np.stack([scan.maps] * 3).astype(np.complex64)
    maps[..., :5] = 0
    path = write(tmp_path / "a.h5", {"kspace": scan.kspace, "coil_sens_maps": maps}, HEADER)
    assert not read_image(path, True).data[:, :5].any()


def test_maps_of_another_size(tmp_path: Path, scan: Scan) -> None:
    arrays = {"kspace": scan.kspace, "coil_sens_maps": np.ones((3, 4, 20, 20), np.complex64)}
    path = write(tmp_path / "a.h5", arrays, HEADER)
    refused(path, "does not fit", "remove it", complex_valued=True)
    read_image(path)  # magnitude needs none


# ---- other files ----


def test_what_is_no_fastmri_file(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    refused(path, "does not exist")
    path.write_bytes(b"no HDF5 at all")
    refused(path, "damaged fastMRI file, or no fastMRI file", "file signature not found")
    with h5py.File(path, "w") as file:
        file["other"] = np.ones(3)
    refused(path, "neither kspace nor a reconstruction")
    folder = tmp_path / "folder.h5"
    folder.mkdir()
    with pytest.raises(MRCascadeError):
        read_image(folder)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.ones((3, 4, 5)), "values of type float64"),
        (np.ones((3, 4), np.complex64), "the shape (3, 4)"),
        (np.ones((0, 4, 5), np.complex64), "the shape (0, 4, 5)"),
        (np.ones((1, 2, 3, 4, 5, 6), np.complex64), "the shape"),
    ],
)
def test_kspace_of_another_kind(tmp_path: Path, values: np.ndarray, reason: str) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["kspace"] = values
    refused(path, reason)


def test_kspace_that_is_not_finite(tmp_path: Path, scan: Scan) -> None:
    scan.kspace[1, 0, 3, 3] = np.nan
    refused(write(tmp_path / "a.h5", {"kspace": scan.kspace}, HEADER), "NaN")


def test_values_that_were_never_written(tmp_path: Path) -> None:
    """They would take no space in the file, and all that there is in memory."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("kspace", (2**20, 16, 640, 400), np.complex64, chunks=(1, 1, 640, 400))
    refused(path, "lacks most of its values")


def test_slices_beyond_memory(scan: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mrcascade.io.fastmri.file._LARGEST_SLICE", scan.kspace[0].nbytes - 1)
    refused(scan.path, "beyond 256 MiB")


def test_values_in_other_files_are_not_read(tmp_path: Path, scan: Scan) -> None:
    for name in ("link", "virtual", "external"):
        path = tmp_path / f"{name}.h5"
        with h5py.File(path, "w") as file:
            if name == "link":
                file["kspace"] = h5py.ExternalLink(scan.path, "kspace")
            elif name == "virtual":
                layout = h5py.VirtualLayout(scan.kspace.shape, np.complex64)
                layout[:] = h5py.VirtualSource(scan.path, "kspace", scan.kspace.shape)
                file.create_virtual_dataset("kspace", layout)
            else:
                raw = [(str(scan.path), 0, 2048)]
                file.create_dataset("kspace", (1, 16, 16), np.complex64, external=raw)
        refused(path, "kspace")


def test_too_many_coils_for_an_estimate(tmp_path: Path) -> None:
    path = multicoil(tmp_path / "a.h5", 1, 65, (16, 8), (8, 8)).path
    refused(path, "65 coils", "compress", complex_valued=True)
    read_image(path)


def test_a_group_is_no_kspace(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_group("kspace")
    refused(path, "kspace is no dataset")
