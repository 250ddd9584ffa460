"""Interpolated inputs: found by header, sidecar and spectrum; warned about; cropped on demand."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_series import SPACING, phantom, series

from mrcascade.acquired import EDGE_DB, SHORTEST, _edge, matrix_with_signal
from mrcascade.io import read_image
from mrcascade.noise_estimate import slices_for_noise

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("MRCASCADE_DATA", ROOT.parent / "shared" / "data"))
AFFINE = np.diag([1.0, 1.0, 4.0, 1.0])


def stored_slices(facts: dict) -> np.ndarray:
    image = nib.load(DATA / facts["file"])
    stack = np.moveaxis(np.asarray(image.dataobj), facts.get("slice_axis", 2), 0)
    return stack[slices_for_noise(len(stack))]


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


@pytest.mark.skipif(not manifest(), reason=f"no real images at {DATA}")
def test_every_real_image_is_told_right() -> None:
    """62 files: 16 knee series and 2 of the brain were zero-filled along one axis, no other was."""
    found = {True: 0, False: 0}
    for facts in manifest():
        stack = stored_slices(facts)
        seen, true = matrix_with_signal(stack), facts["effective_matrix"]
        for size, effective, stored in zip(seen, true, stack.shape[1:], strict=True):
            found[effective < stored] += 1
            assert (size < stored) == (effective < stored), facts["file"]
            assert abs(size - effective) <= 0.06 * effective, (facts["file"], size)
    assert found == {True: 18, False: 106}


@pytest.mark.skipif(not manifest(), reason=f"no real images at {DATA}")
@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("share", [0.55, 0.7, 0.8, 0.85])
def test_full_real_images_that_are_zero_filled(share: float, axis: int) -> None:
    names = ("prostatex0001_t2w_tra", "prostatex0000_t2w_sag", "fnndsc_sag01", "studyforrest02")
    for facts in (f for f in manifest() if any(name in f["file"] for name in names)):
        stack = stored_slices(facts)[::4]
        count = stack.shape[axis]
        size = round(share * count)
        seen = matrix_with_signal(zero_filled(stack, size, axis))
        assert 0.99 * size - 1 <= seen[axis - 1] <= 1.1 * size, facts["file"]
        assert seen[2 - axis] == stack.shape[3 - axis]


def test_white_noise_has_no_edge() -> None:
    rng = np.random.default_rng(0)
    power = (np.abs(np.fft.fft2(rng.normal(size=(8, 128, 96)))) ** 2).sum((0, 2))
    assert _edge(power)[0] < EDGE_DB / 2
    assert matrix_with_signal(rng.normal(size=(4, 128, 96))) == (128, 96)


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


@pytest.mark.parametrize("case", MATRICES)
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


@pytest.mark.parametrize("case", SIDECARS)
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


@pytest.mark.parametrize(("stated", "expected"), [(66, 66), (80, 64), (96, 64)])
def test_a_header_is_exact_and_a_spectrum_is_not(
    tmp_path: Path, sr: Callable, stated: int, expected: int
) -> None:
    """Within 10 % of what the spectrum shows the header counts, else the spectrum."""
    pixels = zero_filled(phantom((2, 96, 80)).astype(float), 64, 1).astype(np.int16)
    folder = series(tmp_path / "s", pixels, AcquisitionMatrix=[0, 80, stated, 0])
    assert sr(folder, "--acquired-matrix", "auto") == 0
    rows = read_image(tmp_path / "out" / "s_desc-sr2x.dicom").shape[1]
    assert abs(rows / 2 - expected) <= (0 if expected == stated else 0.06 * expected)
