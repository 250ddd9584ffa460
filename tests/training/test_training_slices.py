"""From files to training slices: splits, acquired matrix, intensity scales."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from training_data import smooth_image

from mrcascade import MRCascadeError
from mrcascade.arrays.intensity import robust_maximum
from mrcascade.arrays.phase import with_simulated_phase
from mrcascade.data.folder import list_data, read_slices
from mrcascade.operators import down_matrix, up_matrix
from mrcascade.training.slices import load_volumes, prepare_volume, read_folder
from mrcascade.training.volume import Volume


def save(root: Path, name: str, array: np.ndarray) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)
    return path


def stack(slices: int = 3, side: int = 48, seed: int = 0) -> np.ndarray:
    """(side, side, slices), as a `.npy` volume is stored."""
    rng = np.random.default_rng(seed)
    return np.stack([smooth_image(side, rng) for _ in range(slices)], -1)


def by_file(data: Path) -> dict[str, Volume]:
    return {v.file: v for v in read_folder(data, (2, 4))}


# ---- folders ----


def test_slices_are_the_images(tmp_path: Path) -> None:
    array = stack(side=50)
    save(tmp_path, "brain/train/a.npy", array)
    loaded = by_file(tmp_path)["brain/train/a.npy"]
    np.testing.assert_array_equal(loaded.slices, np.moveaxis(array, -1, 0))
    assert (loaded.group, loaded.split) == ("brain", "train")


def test_scale_is_that_of_the_simulated_measurement(tmp_path: Path) -> None:
    array = stack()
    save(tmp_path, "a.npy", array)
    scales = by_file(tmp_path)["a.npy"].scales
    for factor in (2, 4):
        d = down_matrix("fourier", 48, 48 // factor)
        measured = np.einsum("ij,jks,lk->ils", d, array.astype(np.float64), d)
        assert scales[factor] == pytest.approx(robust_maximum(measured), rel=1e-5)


def test_splits_are_folders(tmp_path: Path) -> None:
    for name in ("brain/train/a", "brain/val/b", "knee/test/c", "knee/d", "train/train.npy.d/e"):
        save(tmp_path, f"{name}.npy", stack(1))
    splits = {v.file: v.split for v in load_volumes(tmp_path, 4, (2, 4))}
    assert splits == {
        "brain/train/a.npy": "train",
        "brain/val/b.npy": "val",
        "knee/d.npy": "train",
        "train/train.npy.d/e.npy": "train",
    }


def test_where_nobody_is_known_every_tenth_file_is_held_out(tmp_path: Path) -> None:
    for i in range(21):
        save(tmp_path, f"{i:02d}.npy", stack(1, 16, i))
    found = {v.file: v.split for v in load_volumes(tmp_path, 4, (2, 4))}
    assert {f for f, s in found.items() if s == "val"} == {"09.npy", "19.npy"}
    assert set(found.values()) == {"train", "val"}


@pytest.mark.parametrize("matrix", [[32, 32], [24, 48], [48, 31]])
def test_interpolated_images_are_cropped_to_what_was_acquired(
    tmp_path: Path, matrix: list[int]
) -> None:
    rows, cols = matrix
    acquired = np.stack(
        [smooth_image(48, np.random.default_rng(i))[:rows, :cols] for i in range(2)]
    )
    up_rows, up_cols = up_matrix("fourier", 48, rows), up_matrix("fourier", 48, cols)
    stored = np.einsum("ij,sjk,lk->ils", up_rows, acquired, up_cols).astype(np.float32)
    save(tmp_path, "train/a.npy", stored)
    facts = [{"file": "train/a.npy", "effective_matrix": matrix}]
    (tmp_path / "manifest.json").write_text(json.dumps(facts))
    (loaded,) = read_folder(tmp_path, (1,))
    # down(up(z)) = z; float32 sums of 48 products of values up to 1.5 on each axis.
    np.testing.assert_allclose(loaded.slices, acquired, atol=2 * 48 * 1.5 * 2.0**-24)


def test_manifest_names_the_slice_axis_and_the_files(tmp_path: Path) -> None:
    array = stack(3)
    save(tmp_path, "train/a.npy", np.moveaxis(array, -1, 1))
    save(tmp_path, "train/unnamed.npy", array)
    facts = [{"file": "train/a.npy", "slice_axis": 1, "effective_matrix": [48, 48]}]
    (tmp_path / "manifest.json").write_text(json.dumps(facts))
    (loaded,) = read_folder(tmp_path, (2, 4))
    np.testing.assert_array_equal(loaded.slices, np.moveaxis(array, -1, 0))


def test_empty_slices_are_dropped() -> None:
    images = np.moveaxis(stack(3), -1, 0)
    images[1] = 1e-3
    prepared = prepare_volume(images, "g/x.npy", "train", (2, 4))
    np.testing.assert_array_equal(prepared.slices, images[[0, 2]])


def test_complex_images_keep_both_parts(tmp_path: Path) -> None:
    array = (stack() + 1j * stack(seed=1)).astype(np.complex64)
    save(tmp_path, "train/a.npy", array)
    (loaded,) = read_folder(tmp_path, (2, 4))
    np.testing.assert_array_equal(loaded.slices, np.moveaxis(array, -1, 0))
    assert (loaded.channels, loaded.simulated) == (2, False)
    d = down_matrix("fourier", 48, 24)
    measured = np.einsum("ij,jks,lk->ils", d, array.astype(np.complex128), d)
    assert loaded.scales[2] == pytest.approx(robust_maximum(np.abs(measured)), rel=1e-5)


def test_simulated_phase_is_that_of_name_and_seed(tmp_path: Path) -> None:
    save(tmp_path, "train/a.npy", stack())
    (loaded,) = read_folder(tmp_path, (2, 4), phase_seed=3)
    images = np.moveaxis(stack(), -1, 0)
    expected = with_simulated_phase(images, "train/a.npy", 3)
    np.testing.assert_array_equal(loaded.slices, expected)
    assert loaded.simulated
    d = down_matrix("fourier", 48, 24)
    measured = np.einsum("ij,sjk,lk->sil", d, expected.astype(np.complex128), d)
    assert loaded.scales[2] == pytest.approx(robust_maximum(np.abs(measured)), rel=1e-5)


def test_one_kind_of_image_at_a_time(tmp_path: Path) -> None:
    save(tmp_path, "train/a.npy", stack())
    path = save(tmp_path, "train/b.npy", stack().astype(np.complex64))
    with pytest.raises(MRCascadeError, match=r"a\.npy is a magnitude .*b\.npy a complex"):
        load_volumes(tmp_path, 4, (2, 4))
    with pytest.raises(MRCascadeError, match="has a phase already; drop --simulate") as error:
        load_volumes(tmp_path, 4, (2, 4), phase_seed=0)
    assert str(error.value).startswith(str(path))


def test_unusable_folders_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(MRCascadeError, match="no such folder"):
        load_volumes(tmp_path / "absent", 4, (2, 4))
    with pytest.raises(MRCascadeError, match="no image found"):
        load_volumes(tmp_path, 4, (2, 4))
    save(tmp_path, "test/a.npy", stack())
    with pytest.raises(MRCascadeError, match="no training images"):
        load_volumes(tmp_path, 4, (2, 4))
    small = save(tmp_path, "train/b.npy", stack()[:3])
    with pytest.raises(MRCascadeError, match="too small") as error:
        load_volumes(tmp_path, 4, (2, 4))
    assert str(error.value).startswith(str(small))
    (tmp_path / "manifest.json").write_text('{"name": "another program"}')
    with pytest.raises(MRCascadeError, match=r"manifest\.json: not a list"):
        load_volumes(tmp_path, 4, (2, 4))


@pytest.mark.parametrize(
    "name",
    ["brain/train/fnndsc_adi01_t2w_ax", "limb/val/ibsi_sts014", "spine/val/sct019_mt0", "knee/val"],
)
def test_real_images_train_at_their_effective_matrix(data_folder: Path, name: str) -> None:
    (file,) = [f for f in list_data(data_folder, True, False) if f.name.startswith(name)]
    _, _, stack, acquired = read_slices(file)
    volume = prepare_volume(stack, file.name, "train", (2, 4), acquired.matrix)
    assert volume.slices.shape[1:] == tuple(file.facts["effective_matrix"])
