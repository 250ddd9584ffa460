"""Scores of volumes: exact answers, and the shared reference."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tests.evaluation.isotropic_cases import blobs, reference, test_file, thin_volume, write_volume

from mrcascade.evaluation.isotropic.methods import cubic_spline
from mrcascade.evaluation.isotropic.scores import VolumeScorer, body_mask, lost_band
from mrcascade.evaluation.isotropic.volumes import (
    Slicing,
    ThickCase,
    UnsuitableVolumeError,
    read_thin_volume,
    simulate_thick,
)
from mrcascade.restore.volume import along, least_squares

SHAPE = 30, 26, 34


@pytest.fixture
def case(tmp_path: Path) -> ThickCase:
    return simulate_thick(thin_volume(tmp_path / "a.nii.gz", blobs(SHAPE)), 2, Slicing(4, 24), 0)


def test_the_truth_has_perfect_scores(case: ThickCase) -> None:
    scores = VolumeScorer(case)(case.truth)
    assert scores["psnr"] == np.inf
    assert scores["ssim"] == pytest.approx(1, abs=1e-6)
    assert scores["gain"] == pytest.approx(1)
    assert scores["power"] == pytest.approx(1)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0, -0.5])
def test_gain_and_power_are_those_of_the_band(case: ThickCase, share: float) -> None:
    """A result with ``share`` of the truth's band has that gain, and its square as power."""
    truth = case.truth.astype(np.float64)
    band = lost_band(truth, 4)
    scores = VolumeScorer(case)(truth - (1 - share) * band)
    assert scores["gain"] == pytest.approx(share, abs=1e-6)
    assert scores["power"] == pytest.approx(share**2, abs=1e-6)


def test_the_lost_band_is_a_projection_beyond_the_slices() -> None:
    n, f = 48, 4
    rng = np.random.default_rng(0)
    volume = rng.normal(size=(n, 3, 2))
    band = lost_band(volume, f)
    np.testing.assert_allclose(lost_band(band, f), band, atol=1e-12)
    # The even extension of a cosine of the DCT stays one; frequency j is j / (2 n).
    for j in (3, 11, 12, 13, 30):
        wave = np.cos(np.pi * j * (np.arange(n) + 0.5) / n)[:, None, None]
        expected = wave if j / (2 * n) >= 0.5 / f else 0 * wave
        np.testing.assert_allclose(lost_band(wave, f), expected, atol=1e-12)


def test_an_offset_has_the_psnr_and_residual_of_its_size(case: ThickCase) -> None:
    offset = 5.0
    scores = VolumeScorer(case)(case.truth.astype(np.float64) + offset)
    peak = np.percentile(case.truth, 99.9)
    assert scores["psnr"] == pytest.approx(20 * np.log10(peak / offset), abs=1e-9)
    assert scores["gain"] == pytest.approx(1, abs=1e-6)
    missed = along(case.thick.matrix(), case.truth.astype(np.float64)) - case.measurement + offset
    expected = np.sqrt((missed**2).mean() / (case.measurement.astype(np.float64) ** 2).mean())
    assert scores["residual"] == pytest.approx(expected, rel=1e-6)


def test_errors_outside_the_scored_body_do_not_count(case: ThickCase) -> None:
    scorer = VolumeScorer(case)
    assert not scorer.body[:4].any()
    assert not scorer.body[-4:].any()
    assert scorer.body[4:-4].any()
    # SSIM's window reaches 5 samples, so that only its own errors leave PSNR.
    image = np.where(scorer.body, case.truth, 999)
    assert scorer(image)["psnr"] == np.inf


def test_the_body_is_closed_and_filled_across_the_slice_axis() -> None:
    truth = np.zeros((20, 30, 30))
    truth[:, 6:24, 6:24] = 1
    truth[:, 12:18, 12:18] = 0  # a tube: a hole of each plane, open along the slice axis
    truth[:, 6:12, 14] = 0  # a slit from outside to the tube, which closing seals
    body = body_mask(truth, 1.0, 2.5)
    expected = np.zeros_like(body)
    expected[3:-3, 6:24, 6:24] = True
    # From its mouth the closing's diamond reaches three samples out, to one that no dilation meets.
    expected[3:-3, 6, 14] = False
    np.testing.assert_array_equal(body, expected)


@pytest.mark.parametrize("axis", [0, 2])
@pytest.mark.parametrize("factor", [2.5, 4])
def test_scores_are_those_of_the_reference(tmp_path: Path, axis: int, factor: float) -> None:
    bench = reference()
    source = write_volume(tmp_path / "a.nii.gz", blobs(SHAPE), (1.0, 1.05, 0.98))
    bench.make(source, tmp_path / "case", axis, float(factor), 25 if factor == 2.5 else 24)
    slicing = Slicing(factor, 25 if factor == 2.5 else 24)
    case = simulate_thick(read_thin_volume(test_file(source)), axis, slicing, 0)
    scorer = VolumeScorer(case)
    affine = nib.load(tmp_path / "case" / "truth.nii.gz").affine
    noisy = case.truth + np.random.default_rng(0).normal(0, 5, case.truth.shape)
    images = cubic_spline(case.measurement, case.thick), noisy.astype(np.float32)
    for image in (*images, least_squares(case.measurement, case.thick)):
        path = tmp_path / "result.nii.gz"
        nib.save(nib.Nifti1Image(np.moveaxis(image, 0, 2), affine), path)
        expected, found = bench.score(tmp_path / "case", path), scorer(image)
        # The reference adds squares and similarities in float32.
        assert found["psnr"] == pytest.approx(expected["psnr"], abs=1e-4)
        assert found["ssim"] == pytest.approx(expected["ssim"], abs=1e-5)
        assert found["gain"] == pytest.approx(expected["gain"], abs=1e-5)
        assert found["residual"] == pytest.approx(expected["residual"], rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    ("truth", "reason"),
    [
        (np.ones((10, 24, 24)), "fewer than 11 samples"),
        (np.pad(np.ones((3, 20, 20)), ((0, 21), (2, 2), (2, 2))), "no body between"),
        (np.ones((24, 24, 24)), "no detail along the slice axis"),
    ],
)
def test_what_cannot_be_scored_is_unsuitable(
    case: ThickCase, truth: np.ndarray, reason: str
) -> None:
    made = ThickCase(0, (1, 2), truth, case.measurement, case.thick, 1.0, 0.0)
    with pytest.raises(UnsuitableVolumeError, match=reason):
        VolumeScorer(made)
