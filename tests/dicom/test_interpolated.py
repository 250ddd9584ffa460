"""Interpolated inputs: found by header, sidecar and spectrum; warned about; cropped on demand."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_series import SPACING, phantom, series
from tests.quick import slow, slow_but

from mrcascade.evaluation.data import find_files, load_truth
from mrcascade.io import SliceStore, StackOrder, open_source, read_image, to_slices
from mrcascade.jobs.acquired import crop_to_acquired
from mrcascade.measurement.noise import slices_for_noise
from mrcascade.measurement.spectrum import SHORTEST, matrix_with_signal
from mrcascade.operators.crop import fourier_crop
from mrcascade.training.slices import read_folder

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("MRCASCADE_DATA", ROOT.parent / "shared" / "data"))
AFFINE = np.diag([1.0, 1.0, 4.0, 1.0])


def stored_slices(facts: dict) -> np.ndarray:
    image = nib.load(DATA / facts["file"])
    stack = np.moveaxis(np.asarray(image.dataobj), facts.get("slice_axis", 2), 0)
    return stack[slices_for_noise(len(stack))]


# Weights of the frequencies up to the border of k-space, which is at 1.
FILTERS = {
    "none": lambda k: k < 1,
    "fermi": lambda k: (k < 1) / (1 + np.exp((k - 0.9) / 0.04)),
    "tukey": lambda k: (k < 1) * np.cos(np.pi / 2 * np.clip((k - 0.6) / 0.4, 0, 1)) ** 2,
    "hann": lambda k: (k < 1) * np.cos(np.pi / 2 * k) ** 2,
}


def apodised(stack: np.ndarray, share: float, axis: int, name: str) -> np.ndarray:
    """Complex slices whose k-space ends at a share of the Nyquist frequency."""
    frequencies = 2 * np.abs(np.fft.fftfreq(stack.shape[axis])) / share
    shape = [-1 if a == axis else 1 for a in range(stack.ndim)]
    weights = FILTERS[name](frequencies).reshape(shape)
    return np.fft.ifft(np.fft.fft(stack, axis=axis) * weights, axis=axis)


def zero_filled(stack: np.ndarray, size: int, axis: int) -> np.ndarray:
    """The rounded magnitude of slices whose k-space beyond ``size`` samples is emptied."""
    count = stack.shape[axis]
    spectrum = np.fft.fft(stack.astype(float), axis=axis)
    kept = np.abs(np.fft.fftfreq(count, 1 / count)) < size / 2
    kept = np.expand_dims(kept, tuple(a for a in range(stack.ndim) if a != axis))
    return np.abs(np.fft.ifft(spectrum * kept, axis=axis)).round()


# ---- the detector on real images ----


def manifest() -> list[dict]:
    path = DATA / "manifest.json"
    return json.loads(path.read_text()) if path.is_file() else []


needs_data = pytest.mark.skipif(not manifest(), reason=f"no real images at {DATA}")
FULL = (
    "prostatex0001_t2w_tra",
    "prostatex0000_t2w_sag",
    "fnndsc_sag01",
    "studyforrest02",
    "sct019_mt0",
    "spinegeneric_unf05_mtoff",
)


@cache
def full_images() -> list[tuple[str, np.ndarray]]:
    """Some slices of images whose whole matrix was acquired."""
    chosen = [f for f in manifest() if any(name in f["file"] for name in FULL)]
    stacks = [(f["file"], stored_slices(f)) for f in chosen]
    found = [(name, s[:: max(1, len(s) // 6)].astype(np.float64)) for name, s in stacks]
    for _, stack in found:
        stack.flags.writeable = False
    return found


@pytest.mark.slow
@needs_data
@pytest.mark.parametrize("splits", [("train",), ("val", "test")])
def test_every_real_image_is_told_right(splits: tuple[str, ...]) -> None:
    """Nine of ten axes with an effective size below 0.9 of the stored one are found within 8 %,
    and no full axis is taken for a smaller one. The thresholds were set on the training images."""
    narrow, missed = 0, []
    for facts in (f for f in manifest() if f["split"] in splits):
        stack = stored_slices(facts)
        seen = matrix_with_signal(stack)
        sizes = zip(seen, facts["effective_matrix"], stack.shape[1:], strict=True)
        for size, effective, stored in sizes:
            if effective == stored:
                assert size == stored, facts["file"]
            elif effective < 0.9 * stored:
                narrow += 1
                if size == stored or abs(size - effective) > 0.08 * effective:
                    missed.append((facts["file"], stored, effective, size))
    assert narrow > 30
    assert len(missed) <= 0.1 * narrow, missed


@pytest.mark.slow
@needs_data
def test_measurements_fill_their_matrix() -> None:
    """Low-resolution images that were made by cropping k-space: 1 % false alarms at most."""
    judged, alarms = 0, []
    for facts in (f for f in manifest() if f["split"] != "train"):
        effective = facts["effective_matrix"]
        stack = stored_slices(facts)
        stack = fourier_crop(stack[:: max(1, len(stack) // 6)].astype(np.float32), effective)
        halves, quarters = ([n // factor for n in effective] for factor in (2, 4))
        for size in (halves, quarters, (54, 45), (64, 64), (80, 80), (96, 96)):
            measured = fourier_crop(stack, size)
            judged += sum(n >= SHORTEST for n in measured.shape[1:])
            if (seen := matrix_with_signal(measured)) != measured.shape[1:]:
                alarms.append((facts["file"], measured.shape, seen))
    assert judged > 400
    assert len(alarms) <= 0.01 * judged, alarms


@needs_data
@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("share", [slow(0.25), slow(0.55), 0.7, slow(0.85)])
def test_full_real_images_that_are_zero_filled(share: float, axis: int) -> None:
    for name, stack in full_images():
        count = stack.shape[axis]
        size = round(share * count)
        seen = matrix_with_signal(zero_filled(stack, size, axis))
        assert abs(seen[axis - 1] - size) <= 0.03 * size + 2, name
        assert seen[2 - axis] == stack.shape[3 - axis]


@needs_data
@pytest.mark.parametrize("name", slow_but(FILTERS, "none", "hann"))
@pytest.mark.parametrize("noise", [slow(0.0), 0.01])
@pytest.mark.parametrize("share", [0.5, slow(0.7)])
def test_apodised_real_images(share: float, noise: float, name: str) -> None:
    """Scanners filter signal and noise alike. The edge is on the slope, inside the end."""
    rng = np.random.default_rng(0)
    for file, stack in full_images():
        sigma = noise * np.quantile(stack, 0.999)
        noisy = stack + sigma * (rng.normal(size=(2, *stack.shape)) * [[[[1]]], [[[1j]]]]).sum(0)
        seen = matrix_with_signal(np.abs(apodised(noisy, share, 1, name)))
        assert 0.8 * share < seen[0] / stack.shape[1] < 1.03 * share, file
        assert seen[1] == stack.shape[2]


@needs_data
def test_what_happens_to_images_is_no_edge() -> None:
    """Little smoothing, noise, an air offset, padding, 8 bits and masked air."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    for name, stack in full_images():
        top = np.quantile(stack, 0.999)
        noise = 0.02 * top * rng.normal(size=(2, *stack.shape))
        changed = {
            "smooth": gaussian_filter(stack, (0, 0.7, 0.7)).round(),
            "noisy": np.hypot(stack + noise[0], noise[1]),
            "offset": stack - 1024,
            "padded": np.pad(stack, ((0, 0), (30, 40), (20, 60)), constant_values=-1024),
            "8 bit": (255 * stack / top).clip(0, 255).round(),
            "masked": np.where(stack > 0.1 * top, stack, 0),
            "one slice": stack[3:4],
        }
        for kind, images in changed.items():
            assert matrix_with_signal(images) == images.shape[1:], (name, kind)


@needs_data
def test_padding_hides_no_edge() -> None:
    for name, stack in full_images():
        small = zero_filled(stack, round(0.6 * stack.shape[1]), 1)
        padded = np.pad(small, ((0, 0), (20, 30), (10, 0)), constant_values=-5)
        rows, columns = matrix_with_signal(padded)
        assert abs(rows / padded.shape[1] - 0.6) < 0.02, name
        assert columns == padded.shape[2]


@needs_data
@pytest.mark.parametrize(("upper", "share"), [(0.7, 0.7), (1.0, 1.0)])
def test_the_longer_end_of_complex_images_counts(upper: float, share: float) -> None:
    """Partial Fourier: sampled up to 0.3 of the Nyquist frequency on one side alone."""
    name, stack = full_images()[0]
    frequencies = 2 * np.fft.fftfreq(stack.shape[1])
    kept = (frequencies > -0.3) & (frequencies < upper)
    for mask in (kept, kept[-np.arange(len(kept))]):
        images = np.fft.ifft(np.fft.fft(stack, axis=1) * mask[:, None], axis=1)
        rows, columns = matrix_with_signal(images)
        assert abs(rows / stack.shape[1] - share) < 0.02, name
        assert columns == stack.shape[2]


def test_white_noise_and_constants_have_no_edge() -> None:
    rng = np.random.default_rng(0)
    for slices in (1, 4, 16):
        for kind in (rng.normal(size=(slices, 128, 96)), np.full((slices, 128, 96), 7)):
            assert matrix_with_signal(kind) == (128, 96)
    with pytest.raises(ValueError, match="at least one"):
        matrix_with_signal([])


def test_short_axes_are_not_judged() -> None:
    stack = np.random.default_rng(0).normal(size=(4, SHORTEST - 1, 128)) + 10
    cut = zero_filled(zero_filled(stack, 40, 1), 80, 2)
    assert matrix_with_signal(cut)[0] == SHORTEST - 1
    # Edges are looked for in steps of 1 % of the axis, over windows of 5 %.
    assert abs(matrix_with_signal(cut)[1] - 80) <= 0.05 * 128


# ---- headers and sidecars ----


MATRICES = {
    "phase along columns": ([0, 20, 14, 0], {}, (14, 20)),
    "phase along rows": ([24, 0, 0, 15], {}, (24, 15)),
    "full": ([0, 20, 24, 0], {}, None),
    "more than stored": ([0, 40, 48, 0], {}, None),
    "empty": ([0, 0, 0, 0], {}, None),
    "absent": (None, {}, None),
    # 12 lines cover 60 % of the columns' 20 x 1.3 mm; the 24 x 0.7 mm stored rows would take
    # 12 x 16.8 / 15.6 = 12.9 of the same size.
    "part of the field of view": ([0, 20, 12, 0], {"PercentPhaseFieldOfView": "60"}, (13, 20)),
    # 60 % of the field of view with 12 lines, stored over 100 % with 24: 12 / 0.6 = 20 x 16.8 / 26.
    "full field of view": ([0, 20, 20, 0], {"PercentPhaseFieldOfView": "53.85"}, None),
}


@pytest.mark.parametrize("case", slow_but(MATRICES, "full", "part of the field of view"))
def test_acquisition_matrix_of_dicom(tmp_path: Path, case: str, sr: Callable, capsys) -> None:
    matrix, elements, expected = MATRICES[case]
    if matrix is not None:
        elements = {**elements, "AcquisitionMatrix": matrix}
    folder = series(tmp_path / "s", phantom((2, 24, 20)), **elements)
    assert sr(folder) == 0
    said = capsys.readouterr().out
    assert ("warning" in said) == (expected is not None), said
    if expected is not None:
        assert f"24 x 20 pixels were interpolated from {expected[0]} x {expected[1]}" in said
        sidecar = json.loads((tmp_path / "out" / "s_desc-sr2x.json").read_text())
        assert sidecar["AcquiredMatrix"] == list(expected)
        assert sidecar["CroppedToAcquired"] is False


def test_crop_of_dicom(tmp_path: Path, sr: Callable, capsys) -> None:
    """The crop keeps the centre of pixel 0 and the field of view; so does the result."""
    pixels = phantom((2, 48, 40))
    folder = series(tmp_path / "s", pixels, "oblique", AcquisitionMatrix=[0, 40, 32, 0])
    assert sr(folder, "--acquired-matrix", "auto") == 0
    assert "cropped" in capsys.readouterr().out
    result, source = (read_image(p) for p in (tmp_path / "out" / "s_desc-sr2x.dicom", folder))
    assert result.shape == (80, 64, 2)
    np.testing.assert_allclose(result.spacing[:2], (SPACING[1] / 2, SPACING[0] * 48 / 64))
    np.testing.assert_allclose(result.affine[:, 3], source.affine[:, 3], atol=1e-6)
    # Noise-free: the result reproduces what was cropped, so their low frequencies are equal.
    for number in range(2):
        spectra = [np.fft.fft2(a.data[..., number]) / a.data[..., 0].size for a in (result, source)]
        low = np.ix_(np.r_[0:19, -19:0], np.r_[0:15, -15:0])
        # Rounding to integers: 1/2 at most, in any frequency of the average.
        assert np.abs(spectra[0][low] - spectra[1][low]).max() < 0.5


@pytest.mark.parametrize("matrix", ["32,40", "40,32"])
def test_crop_by_hand(tmp_path: Path, sr: Callable, matrix: str) -> None:
    nib.save(nib.Nifti1Image(phantom((48, 40, 2)), AFFINE), tmp_path / "a.nii")
    assert sr(tmp_path / "a.nii", "--acquired-matrix", matrix) == 0
    rows, columns = map(int, matrix.split(","))
    result = nib.load(tmp_path / "out" / "a_desc-sr2x.nii.gz")
    assert result.shape == (2 * rows, 2 * columns, 2)
    np.testing.assert_allclose(
        np.diag(result.affine)[:2], (48 / (2 * rows), 40 / (2 * columns)), rtol=1e-6
    )


def test_wrong_matrices(tmp_path: Path, sr: Callable, capsys) -> None:
    nib.save(nib.Nifti1Image(phantom((48, 40, 2)), AFFINE), tmp_path / "a.nii")
    assert sr(tmp_path / "a.nii", "--acquired-matrix", "49,40") == 2
    message = capsys.readouterr().err
    assert "acquired matrix 49,40 is larger than the stored 48,40" in message
    assert message.count("\n") == 1
    for text in ("0,40", "48", "a,b", "48,40,2"):
        with pytest.raises(SystemExit):
            sr(tmp_path / "a.nii", "--acquired-matrix", text)
    assert not (tmp_path / "out").exists()


SIDECARS = {
    "four numbers": ({"AcquisitionMatrix": [0, 40, 32, 0]}, {0: 40, 1: 32}),
    "phase axis": (
        {"PhaseEncodingDirection": "j-", "AcquisitionMatrixPE": 24, "BaseResolution": 44},
        {0: 44, 1: 24},
    ),
    "phase in DICOM's words": (
        {"InPlanePhaseEncodingDirectionDICOM": "ROW", "AcquisitionMatrixPE": 24},
        {0: 24},
    ),
    "nothing": ({"EchoTime": 0.09}, None),
    "nonsense": ({"AcquisitionMatrix": [1, "x", None, True]}, None),
    "no object": ([1, 2], None),
}


@pytest.mark.parametrize("case", slow_but(SIDECARS, "phase axis", "nonsense"))
def test_sidecar_of_nifti(tmp_path: Path, case: str, sr: Callable, capsys) -> None:
    document, expected = SIDECARS[case]
    nib.save(nib.Nifti1Image(phantom((48, 40, 2)), AFFINE), tmp_path / "a.nii.gz")
    (tmp_path / "a.json").write_text(json.dumps(document))
    assert sr(tmp_path / "a.nii.gz") == 0
    said = capsys.readouterr().out
    sizes = (48, 40) if expected is None else (expected.get(0, 48), expected.get(1, 40))
    assert ("warning" in said) == (expected is not None)
    if expected is not None:
        assert f"from {sizes[0]} x {sizes[1]} acquired ones (the JSON file beside it)" in said


def test_auto_sees_the_spectrum(tmp_path: Path, sr: Callable, capsys) -> None:
    stack = zero_filled(phantom((2, 96, 80)).astype(float), 64, 1)
    data = np.moveaxis(stack, 0, 2).astype(np.int16)
    nib.save(nib.Nifti1Image(data, AFFINE), tmp_path / "a.nii")
    assert sr(tmp_path / "a.nii") == 0
    assert "the empty border of its k-space" in capsys.readouterr().out
    assert sr(tmp_path / "a.nii", "--acquired-matrix", "auto", "--overwrite") == 0
    rows, columns, _ = nib.load(tmp_path / "out" / "a_desc-sr2x.nii.gz").shape
    assert 128 <= rows <= 136
    assert columns == 160


@pytest.mark.parametrize(("stated", "expected"), [(66, 66), (80, 64), slow(96, 64)])
def test_a_header_is_exact_and_a_spectrum_is_not(
    tmp_path: Path, sr: Callable, stated: int, expected: int
) -> None:
    """Within 10 % of what the spectrum shows the header counts, else the spectrum."""
    pixels = zero_filled(phantom((2, 96, 80)).astype(float), 64, 1).astype(np.int16)
    folder = series(tmp_path / "s", pixels, AcquisitionMatrix=[0, 80, stated, 0])
    assert sr(folder, "--acquired-matrix", "auto") == 0
    rows = read_image(tmp_path / "out" / "s_desc-sr2x.dicom").shape[1]
    assert abs(rows / 2 - expected) <= (0 if expected == stated else 0.06 * expected)


# ---- one rule for sr, evaluate and train ----


def test_all_commands_see_the_same_matrix(tmp_path: Path, sr: Callable) -> None:
    """An interpolated file without a manifest: its truth is what `sr` crops it to.

    It crops slice by slice, where others crop stacks, whose products are summed in another order.
    """
    stack = zero_filled(phantom((4, 96, 80)).astype(float), 64, 1)
    data, axes = np.moveaxis(stack, 0, 2).astype(np.int16), (0, 1)
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "a.nii"
    nib.save(nib.Nifti1Image(data, AFFINE), path)
    assert sr(path, "--acquired-matrix", "auto") == 0
    sidecar = json.loads((tmp_path / "out" / "a_desc-sr2x.json").read_text())
    matrix = tuple(sidecar["AcquiredMatrix"])
    assert matrix[0] < 70

    (file,) = find_files(tmp_path / "data", "test")
    truth = load_truth(file, (1.0, 1.0))
    assert (truth.told_by, truth.matrix, truth.stack.shape[1:]) == ("spectrum", matrix, matrix)
    with ExitStack() as stores:
        source = stores.enter_context(open_source(path))
        order = StackOrder(source.shape, source.layout, axes)
        measured = stores.enter_context(SliceStore(tmp_path, order, np.dtype(np.float32)))
        for number, image in enumerate(to_slices(read_image(path), axes)):
            measured.write(number, image[None])

        def new_store(order: StackOrder, dtype: np.dtype) -> SliceStore:
            return stores.enter_context(SliceStore(tmp_path, order, dtype))

        cropped, _ = crop_to_acquired(measured, matrix, new_store)
        rounding = 16 * np.finfo(np.float32).eps * truth.stack.max()
        np.testing.assert_allclose(truth.stack, cropped.read(0, len(cropped)), atol=rounding)
    (volume,) = read_folder(tmp_path / "data", (2,))
    np.testing.assert_allclose(volume.slices, truth.stack, atol=rounding)


@pytest.mark.parametrize(("matrix", "told"), [(None, "spectrum"), ("96,80", "table")])
def test_a_table_goes_before_the_spectrum(tmp_path: Path, matrix: str | None, told: str) -> None:
    stack = zero_filled(phantom((4, 96, 80)).astype(float), 64, 1)
    np.save(tmp_path / "a.npy", np.moveaxis(stack, 0, 2).astype(np.float32))
    table = tmp_path / "table.csv"
    table.write_text(f"a.npy,{matrix}\n")
    (file,) = find_files(tmp_path, "test", table if matrix else None)
    truth = load_truth(file, (2.0, 2.0))
    assert truth.told_by == told
    assert (truth.stack.shape[1] == 96) == (told == "table")
