"""Magnitude and phase files as one complex image: units, names, mismatches."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mrcascade.errors import MRCascadeError
from mrcascade.io import MagnitudePhase, image_file, join_pairs, pair_of, read_image, with_part
from mrcascade.io import blocks as blocks_module

MAGNITUDE, PHASE = "s_part-mag_T2w.nii.gz", "s_part-phase_T2w.nii.gz"
SHAPE = (6, 5, 4)
NiftiFile = Callable[..., Path]


def complex_values(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """With phases that fill the circle to both ends, as those of a whole image do."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(-np.pi, np.pi, shape)
    angle.flat[:2] = -np.pi, np.pi - 1e-4
    return rng.uniform(1, 300, shape) * np.exp(1j * angle)


def write_pair(
    nifti_file: NiftiFile, x: np.ndarray, phase: np.ndarray, **sidecar: str
) -> MagnitudePhase:
    pair = MagnitudePhase(
        nifti_file(np.abs(x).astype(np.float32), name=MAGNITUDE), nifti_file(phase, name=PHASE)
    )
    if sidecar:
        (pair.phase.parent / "s_part-phase_T2w.json").write_text(json.dumps(sidecar))
    return pair


def stored(x: np.ndarray, how: str) -> np.ndarray:
    """The phase of x in the units of a scanner or a program."""
    angle = np.angle(x)
    if how == "0 to 2 pi":
        return (angle % (2 * np.pi)).astype(np.float32)
    if how == "0 to 4095":
        return np.clip(np.round((angle + np.pi) * 2048 / np.pi), 0, 4095).astype(np.uint16)
    if how == "-4096 to 4094":
        return np.clip(2 * np.round(angle * 2048 / np.pi), -4096, 4094).astype(np.int16)
    if how == "milliradians":
        return np.round(angle * 1000).astype(np.int16)
    return angle.astype(np.float32)


@pytest.mark.parametrize(
    ("how", "step"),
    [
        ("radians", 0.0),
        ("0 to 2 pi", 0.0),
        ("0 to 4095", np.pi / 2048),
        ("-4096 to 4094", np.pi / 2048),
        ("milliradians", 1e-3),
    ],
)
def test_units_by_their_range(nifti_file: NiftiFile, how: str, step: float) -> None:
    """Rounding moves the phase by half a step, clipping at the end of the circle by one."""
    x = complex_values()
    image = read_image(write_pair(nifti_file, x, stored(x, how)))
    assert image.data.dtype == np.complex64
    # float32 of a phase up to 2 pi: 4e-7
    assert np.abs(np.angle(image.data * x.conj())).max() < step + 1e-6
    np.testing.assert_allclose(np.abs(image.data), np.abs(x), rtol=1e-6)


def test_stated_radians_are_believed(nifti_file: NiftiFile) -> None:
    x = 3 * np.exp(1j * np.linspace(0.1, 0.4, 120)).reshape(SHAPE)
    pair = write_pair(nifti_file, x, np.angle(x), Units="rad")
    np.testing.assert_allclose(read_image(pair).data, x, rtol=1e-6)


def test_units_that_nothing_tells_are_refused(nifti_file: NiftiFile) -> None:
    x = complex_values()
    narrow = write_pair(nifti_file, x, np.angle(x) / 4)
    with pytest.raises(MRCascadeError, match=r"in unknown units; convert") as error:
        read_image(narrow)
    assert str(error.value).startswith(str(narrow.phase))
    # What is called arbitrary is no radian, but may be a scanner's integer.
    with pytest.raises(MRCascadeError, match="in unknown units"):
        read_image(write_pair(nifti_file, x, np.angle(x), Units="arbitrary"))
    read_image(write_pair(nifti_file, x, stored(x, "0 to 4095"), Units="arbitrary"))
    with pytest.raises(MRCascadeError, match="in Units 'degrees'; convert it to radians"):
        read_image(write_pair(nifti_file, x, np.angle(x), Units="degrees"))


def test_large_files_come_in_blocks(nifti_file: NiftiFile, monkeypatch: pytest.MonkeyPatch) -> None:
    x = complex_values()
    pair = write_pair(nifti_file, x, np.angle(x))
    whole = read_image(pair)
    monkeypatch.setattr(blocks_module, "BLOCK_VOXELS", 7)
    monkeypatch.setattr("mrcascade.io.pair.BLOCK_VOXELS", 7)
    pieces = read_image(pair)
    np.testing.assert_array_equal(pieces.data, whole.data)
    assert pieces.sha256 == whole.sha256 == pair.digest()


def test_both_files_decide_over_the_hash(nifti_file: NiftiFile) -> None:
    x = complex_values()
    first = write_pair(nifti_file, x, np.angle(x)).digest()
    assert write_pair(nifti_file, x, -np.angle(x)).digest() != first


def test_files_that_do_not_fit_together(nifti_file: NiftiFile) -> None:
    x = complex_values()
    pair = write_pair(nifti_file, x, np.angle(x))
    nifti_file(np.angle(x)[:, :, :3], name=PHASE)
    with pytest.raises(MRCascadeError, match=r"shape \(6, 5, 4\) and .* \(6, 5, 3\)"):
        read_image(pair)
    nifti_file(np.angle(x), np.diag([2.0, 2.0, 4.0, 1.0]), name=PHASE)
    with pytest.raises(MRCascadeError, match="lie in different places"):
        read_image(pair)
    nifti_file(np.angle(x), name=PHASE)
    nifti_file(x.astype(np.complex64), name=MAGNITUDE)
    with pytest.raises(MRCascadeError, match="complex and named as a part") as error:
        read_image(pair)
    assert str(error.value).startswith(str(pair.path))
    nifti_file(np.abs(x), name=MAGNITUDE)
    nifti_file(x.astype(np.complex64), name=PHASE)
    with pytest.raises(MRCascadeError, match="complex and named as a part") as error:
        read_image(pair)
    assert str(error.value).startswith(str(pair.phase))


def test_names(tmp_path: Path) -> None:
    names = [MAGNITUDE, PHASE, "a_part-mag.nii", "b_part-phase.nii.gz", "c_T2w.nii.gz"]
    names += ["d_part-mag_x.npy", "d_part-phase_x.npy"]
    paths = [tmp_path / name for name in names]
    for path in paths:
        path.touch()
    pair = MagnitudePhase(paths[0], paths[1])
    assert pair_of(paths[0]) == pair_of(paths[1]) == pair
    assert [pair_of(path) for path in paths[2:]] == [None] * 5
    assert join_pairs(paths, complex_images=True) == [pair, *map(image_file, paths[2:])]
    magnitudes = join_pairs(paths, complex_images=False)
    # Only NIfTI has parts: the last two are images of their own.
    assert [image.path for image in magnitudes] == [paths[0], paths[2], *paths[4:]]
    assert with_part(paths[2], "phase").name == "a_part-phase.nii"
    assert str(pair) == f"{tmp_path / MAGNITUDE} with {PHASE}"
