"""Choice of the planes of a volume, its certainty, and its wording."""

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mrcascade.errors import MRCascadeError
from mrcascade.io import (
    FORMATS,
    Image,
    Planes,
    choose_axes,
    choose_planes,
    describe_planes,
    nifti_write,
    open_source,
    resampled_affine,
    with_planes,
    with_slice_axis,
)


def grid(
    shape: tuple[int, ...],
    spacing: tuple[float, float, float] | None,
    path: Path = Path("memory.nii"),
    header: object | None = None,
) -> Image:
    """An image of this geometry, axes along R, A, S, whose voxels take no memory."""
    affine = None if spacing is None else np.diag([*spacing, 1.0])
    voxels = np.broadcast_to(np.float32(0), shape)
    return Image(voxels, affine, path, "nifti", header, "")


def sidecar(folder: Path, **entries: object) -> Path:
    (folder / "a.json").write_text(json.dumps(entries))
    return folder / "a.nii.gz"


@pytest.mark.parametrize(
    ("shape", "spacing", "axes", "close"),
    [
        ((384, 384, 19), (0.5, 0.5, 3.0), (0, 1), False),  # two-dimensional multi-slice
        ((19, 384, 384), (3.0, 0.5, 0.5), (1, 2), False),
        ((256, 256, 192), (1.0, 1.0, 1.0), (0, 1), True),  # isotropic: the axial plane
        ((170, 256, 256), (1.2, 1.0, 1.0), (1, 2), True),  # three-dimensional, nearly isotropic
        ((216, 9, 180), (1.0, 2.0, 1.0), (0, 2), False),  # the slices are the second axis
        ((108, 9, 90), (2.0, 2.0, 2.0), (0, 2), True),  # the same, measured at 2x
        ((54, 9, 45), (4.0, 2.0, 4.0), (0, 2), False),  # and at 4x: square pixels of a slab
        ((54, 9, 180), (4.0, 2.0, 1.0), (0, 2), True),  # 4x along one axis: the thinnest side
        ((80, 80, 17), (4.5, 4.5, 3.3), (0, 1), False),
        ((64, 256, 48), (3.4, 0.86, 3.6), (0, 2), True),  # no slab: only the pixels are square
        ((68, 96, 96), (2.8, 2.67, 2.67), (0, 1), True),
        ((142, 40, 60), (0.9, 0.9, 5.0), (0, 1), True),  # a small field of view, many slices
        ((300, 400, 30), (0.7, 0.5, 3.0), (0, 1), False),  # pixels that are not square
        ((1, 64, 64), (0.5, 1.0, 4.0), (1, 2), False),
        ((64, 64), (1.0, 1.0, 1.0), (0, 1), False),
        ((64, 64, 20), None, (0, 1), False),
        ((20, 64, 64), None, (0, 1), True),  # an array that may have its slices first
    ],
)
def test_voxel_sizes(
    shape: tuple[int, ...], spacing: tuple | None, axes: tuple[int, int], close: bool
) -> None:
    planes = choose_planes(grid(shape, spacing))
    assert (planes.axes, planes.close) == (axes, close)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (0, 2, 1)])
def test_the_order_of_the_axes_plays_no_role(order: tuple[int, int, int]) -> None:
    """Permuted arrays of one scan have the same planes of the patient."""
    shape, affine = np.array([54, 9, 45]), np.diag([4.0, 2.0, 4.0, 1.0])
    voxels = np.broadcast_to(np.float32(0), tuple(int(n) for n in shape[list(order)]))
    image = Image(voxels, affine[:, [*order, 3]], Path("memory.nii"), "nifti", None, "")
    assert {order[axis] for axis in choose_axes(image)} == {0, 2}


def test_the_order_of_evidence(tmp_path: Path) -> None:
    """An option comes before our own entry, that before BIDS's, that before the header, and all
    before the voxel sizes."""
    header = nib.Nifti1Header()
    header.set_dim_info(slice=0)
    shape, spacing = (32, 33, 34), (1.0, 1.0, 5.0)

    def chosen(override: str | None = None, **entries: object) -> Planes:
        return choose_planes(grid(shape, spacing, sidecar(tmp_path, **entries), header), override)

    ours = {"InPlaneAxes": [2, 0], "InPlaneMatrix": [34, 32]}
    assert chosen("1,0", **ours) == Planes((1, 0), "--axes")
    assert chosen(**ours, SliceEncodingDirection="i") == Planes(
        (2, 0), "InPlaneAxes in its JSON file"
    )
    assert chosen(SliceEncodingDirection="j-").axes == (0, 2)
    assert chosen() == Planes((1, 2), "dim_info in its header", close=True)  # 5 mm contradict
    assert choose_planes(grid(shape, spacing)).axes == (0, 1)


@pytest.mark.parametrize(
    "entries",
    [
        {"InPlaneAxes": [0, 2], "InPlaneMatrix": [64, 64]},  # of another image
        {"InPlaneAxes": [0, 0]},
        {"InPlaneAxes": [0, 3]},
        {"InPlaneAxes": [0, -1]},
        {"InPlaneAxes": [0, None]},
        {"InPlaneAxes": "0,2"},
        {"InPlaneAxes": [0, 2, 1]},
        {"SliceEncodingDirection": "slice"},
        {"SliceEncodingDirection": 1},
        {"ImageOrientationPatientDICOM": [1, 0, 0, 0, 1]},
        {"ImageOrientationPatientDICOM": [1, 0, 0, 0, 0.7, 0.7]},  # oblique to every axis
        {"ImageOrientationPatientDICOM": [1, 0, 0, 0, 1, "0"]},
        [1, 2],
        "text",
    ],
)
def test_sidecars_that_say_nothing_usable(tmp_path: Path, entries: object) -> None:
    (tmp_path / "a.json").write_text(json.dumps(entries))
    image = grid((32, 33, 34, 2), (1.0, 1.0, 5.0), tmp_path / "a.nii")
    assert choose_planes(image) == Planes((0, 1), "the spacing of its slices")


def test_the_orientation_of_the_dicom_images(tmp_path: Path) -> None:
    """A sagittal scan, rows along A to P and columns along S to I, in an array of R, A, S."""
    path = sidecar(tmp_path, ImageOrientationPatientDICOM=[0, 1, 0, 0, 0, -1])
    planes = choose_planes(grid((170, 256, 256), (1.0, 1.0, 1.0), path))
    assert planes == Planes((1, 2), "ImageOrientationPatientDICOM in its JSON file")


def test_the_phase_was_encoded_in_the_planes(tmp_path: Path) -> None:
    path = sidecar(tmp_path, PhaseEncodingDirection="k-")
    assert choose_planes(grid((64, 64, 64), (2.0, 2.1, 2.0), path)).axes == (0, 2)
    assert choose_axes(grid((64, 64, 64), (2.0, 2.1, 2.0))) == (0, 1)


def test_slice_timing_tells_its_axis() -> None:
    header = nib.Nifti1Header()
    header.set_data_shape((30, 64, 64))
    header["slice_code"], header["slice_end"] = 3, 29
    planes = choose_planes(grid((30, 64, 64), (2.0, 2.0, 2.0), header=header))
    assert planes == Planes((1, 2), "the slice timing in its header")
    header["slice_end"] = 63  # which two axes fit
    assert choose_axes(grid((30, 64, 64), (2.0, 2.0, 2.0), header=header)) == (1, 2)
    assert "header" not in choose_planes(grid((30, 64, 64), (2.0,) * 3, header=header)).reason


def test_descriptions(image_of: Callable, ramp: Callable) -> None:
    image = image_of(ramp(4, 5, 6, 2), np.diag([0.5, 0.4297, 5, 1]))
    assert describe_planes(image, choose_planes(image)) == (
        "axes 0,1 (axial), 4 x 5 pixels of 0.5 x 0.4297 mm, 12 slices, by the spacing of its slices"
    )
    flat = image_of(ramp(4, 5))
    assert describe_planes(flat, choose_planes(flat)) == (
        "axes 0,1 (unknown), 4 x 5 pixels, 1 slice"
    )
    image = image_of(ramp(4, 5, 6), np.eye(4))
    assert describe_planes(image, choose_planes(image)).endswith(
        ", by the convention for nearly isotropic voxels; other planes are nearly as likely:"
        " choose them with --axes 0,2 or 1,2"
    )


def test_errors_name_the_planes(image_of: Callable, ramp: Callable) -> None:
    image = image_of(ramp(4, 5, 6), np.diag([1.0, 3.0, 1.0, 1.0]))
    assert str(with_planes(MRCascadeError("too small"), image, choose_planes(image))) == (
        "too small (the planes are axes 0,2 (coronal), by the spacing of its slices;"
        " --axes 0,1 or 1,2 chooses others)"
    )
    flat = image_of(ramp(4, 5))
    assert "--axes" not in str(with_planes(MRCascadeError("small"), flat, choose_planes(flat)))


def test_a_header_that_names_the_slices(image_of: Callable, ramp: Callable) -> None:
    def named(header: nib.Nifti1Header | None, axis: int | None) -> tuple[int | None, ...]:
        image = with_slice_axis(image_of(ramp(4, 5, 6), np.eye(4), header), axis, FORMATS["nifti"])
        return image.header.get_dim_info()

    old = nib.Nifti1Header()
    old.set_dim_info(freq=0, phase=1, slice=2)
    assert named(old, 2) == (0, 1, 2)
    assert named(old, 1) == (None, None, 1)
    assert named(None, 1) == (None, None, 1)
    assert named(None, None) == (None, None, None)
    assert old.get_dim_info() == (0, 1, 2)


@pytest.mark.parametrize("factor", [2, 4])
def test_a_measurement_of_a_real_scan_has_its_planes(
    data_folder: Path, tmp_path: Path, factor: int
) -> None:
    """By the sidecar, by the header alone, and by the voxel sizes alone."""
    for entry in json.loads((data_folder / "manifest.json").read_text()):
        with open_source(data_folder / entry["file"]) as source:
            axes = choose_axes(source)
            low = list(source.shape)
            for axis in axes:
                low[axis] //= factor
            shapes = [[n * low[axis] for axis in axes] for n in (factor, 1)]
            affine = resampled_affine(source.affine, axes, "fourier", *map(tuple, shapes))
            left = [a for a in range(3) if a not in axes and low[a] > 1]
            header = nifti_write.header_with_slice_axis(source.header, left[0] if left else None)
        voxels = np.broadcast_to(np.float32(0), low)
        path = sidecar(tmp_path, InPlaneAxes=list(axes), InPlaneMatrix=shapes[1])
        for where, head in ((path, None), (Path("b.nii"), header), (Path("b.nii"), None)):
            image = Image(voxels, affine, where, "nifti", head, "")
            assert choose_axes(image) == axes, (entry["file"], where, head is None)
