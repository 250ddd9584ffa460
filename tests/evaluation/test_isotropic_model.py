"""Thick slices of a volume against a dense forward model, and against the shared reference."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tests.evaluation.isotropic_cases import (
    blobs,
    reference,
    test_file,
    thin_volume,
    write_volume,
)

from mrcascade.evaluation.isotropic import volumes
from mrcascade.evaluation.isotropic.methods import cubic_spline
from mrcascade.evaluation.isotropic.volumes import (
    Slicing,
    UnsuitableVolumeError,
    read_thin_volume,
    simulate_thick,
)
from mrcascade.measurement.noise import NoiseEstimate
from mrcascade.operators.profile import SliceProfile

SHAPE = 30, 26, 34
# A slice is a sum of up to 60 products in float32, with weights that sum to 1: each product and
# each partial sum rounds by 2^-24 of the largest value at most.
ROUNDING = 2 * 60 * 2.0**-24


def dense_slices(
    source: np.ndarray, start: int, factor: float, slices: int, thickness: float
) -> np.ndarray:
    """Slices (S, h, w) of a source (n, h, w) by the definition, sample by sample."""
    sigma = thickness * factor / 2.354820045
    result = []
    for k in range(slices):
        centre = start + (k + 0.5) * factor - 0.5
        i = np.arange(np.ceil(centre - 3 * sigma), np.floor(centre + 3 * sigma) + 1)
        weights = np.exp(-0.5 * ((i - centre) / sigma) ** 2)
        inside = i.astype(int).clip(0, len(source) - 1)
        result.append(np.tensordot(weights / weights.sum(), source[inside].astype(float), 1))
    return np.stack(result)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("thickness", [1.0, 1.4])
def test_slices_are_those_of_the_dense_model(tmp_path: Path, axis: int, thickness: float) -> None:
    values = blobs(SHAPE)
    volume = thin_volume(tmp_path / "a.nii.gz", values)
    case = simulate_thick(volume, axis, Slicing(4, 20, thickness=thickness), 0)
    source = np.moveaxis(values, axis, 0)
    assert case.truth.shape == (20, 20, 20)
    assert case.measurement.shape == (5, 20, 20)
    # The crop, found again by its values.
    starts = [
        (a, b, c)
        for a in range(source.shape[0] - 19)
        for b in range(source.shape[1] - 19)
        for c in range(source.shape[2] - 19)
        if source[a + 9, b + 9, c + 9] == case.truth[9, 9, 9]
    ]
    (first, rows, columns) = next(
        s for s in starts if np.array_equal(source[tuple(slice(k, k + 20) for k in s)], case.truth)
    )
    field = source[:, rows : rows + 20, columns : columns + 20]
    expected = dense_slices(field, first, 4, 5, thickness)
    np.testing.assert_allclose(case.measurement, expected, atol=ROUNDING * values.max())


def test_sizes_that_do_not_divide_use_samples_over_slices(tmp_path: Path) -> None:
    """3.3 goes 6 times into 20; 20 samples over 6 slices are 10/3."""
    volume = thin_volume(tmp_path / "a.nii.gz", blobs(SHAPE))
    case = simulate_thick(volume, 2, Slicing(3.3, 20), 0)
    assert (case.thick.slices, case.thick.samples) == (6, 20)
    assert case.truth.shape == (20, 20, 20)
    same = simulate_thick(volume, 2, Slicing(10 / 3, 20), 0)
    np.testing.assert_array_equal(case.measurement, same.measurement)


def test_profile_and_noise_are_those_asked_for(tmp_path: Path) -> None:
    volume = thin_volume(tmp_path / "a.nii.gz", blobs(SHAPE))
    rect = simulate_thick(volume, 2, Slicing(4, 24, SliceProfile("rect")), 0)
    expected = rect.truth.reshape(6, 4, *rect.truth.shape[1:]).mean(1)
    np.testing.assert_allclose(rect.measurement, expected, atol=ROUNDING * 200)
    assert rect.noise == 0
    slicing = Slicing(2, 30, SliceProfile("rect"), noise=0.05)
    clean = simulate_thick(volume, 2, replace(slicing, noise=0.0), 3)
    noisy = simulate_thick(volume, 2, slicing, 3)
    drawn = noisy.measurement - clean.measurement
    sigma = 0.05 * clean.scale
    # A standard deviation of N draws has a relative error of 1 / sqrt(2 N).
    assert drawn.std() == pytest.approx(sigma, rel=5 / np.sqrt(2 * drawn.size))
    assert noisy.noise * noisy.scale == pytest.approx(sigma)
    assert not np.array_equal(drawn[0], drawn[1])
    again = simulate_thick(volume, 2, slicing, 3)
    np.testing.assert_array_equal(again.measurement, noisy.measurement)


def test_an_estimated_noise_is_that_of_the_slices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def estimate(slices: Iterable[np.ndarray], zero: float) -> NoiseEstimate:
        seen.append((np.stack(list(slices)), zero))
        return NoiseEstimate(3.0, "air", True)

    monkeypatch.setattr(volumes, "estimate_noise", estimate)
    volume = thin_volume(tmp_path / "a.nii.gz", blobs(SHAPE))
    case = simulate_thick(volume, 2, Slicing(4, 24, noise=0.1, known=False), 0)
    assert case.noise * case.scale == pytest.approx(3.0)
    ((stack, zero),) = seen
    np.testing.assert_array_equal(stack, case.measurement)
    assert zero == 0
    assert not simulate_thick(volume, 2, Slicing(4, 24), 0).noise
    assert len(seen) == 1


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(("factor", "size"), [(4, 20), (2.5, 25), (3, 64)])
def test_truth_and_slices_are_those_of_the_reference(
    tmp_path: Path, axis: int, factor: float, size: int
) -> None:
    bench = reference()
    values = blobs(SHAPE)
    source = write_volume(tmp_path / "a.nii.gz", values, (1.0, 1.05, 0.98))
    bench.make(source, tmp_path / "case", axis, float(factor), size)
    _, truth, low = bench.load(tmp_path / "case")
    if truth.shape[2] != low.shape[2] * factor:
        pytest.skip("sizes do not divide: samples over slices are used instead of the factor")
    case = simulate_thick(read_thin_volume(test_file(source)), axis, Slicing(factor, size), 0)
    np.testing.assert_array_equal(case.truth, np.moveaxis(truth.get_fdata(), 2, 0))
    expected = np.moveaxis(low.get_fdata(), 2, 0)
    np.testing.assert_allclose(case.measurement, expected, atol=ROUNDING * values.max())
    assert case.scale == pytest.approx(np.percentile(expected, 99.9), rel=1e-6)


def test_the_spline_is_that_of_the_reference(tmp_path: Path) -> None:
    bench = reference()
    source = write_volume(tmp_path / "a.nii.gz", blobs(SHAPE), (1.0, 1.0, 1.0))
    bench.make(source, tmp_path / "case", 1, 4.0, 24)
    bench.cubic(tmp_path / "case", tmp_path / "cubic.nii.gz")
    expected = np.moveaxis(nib.load(tmp_path / "cubic.nii.gz").get_fdata(), 2, 0)
    case = simulate_thick(read_thin_volume(test_file(source)), 1, Slicing(4, 24), 0)
    # The spline's weights sum to 1, and their magnitudes to less than 2.
    tolerance = 4 * ROUNDING * expected.max()
    np.testing.assert_allclose(cubic_spline(case.measurement, case.thick), expected, atol=tolerance)


@pytest.mark.parametrize(
    ("shape", "spacing", "reason"),
    [
        ((24, 24, 24), (1.0, 1.0, 1.11), "voxel sizes differ by more than 10%"),
        ((24, 24, 24, 2), (1.0, 1.0, 1.0), "no single volume"),
        ((24, 24, 1), (1.0, 1.0, 1.0), "no single volume"),
    ],
)
def test_what_is_no_near_isotropic_volume_is_unsuitable(
    tmp_path: Path, shape: tuple[int, ...], spacing: tuple[float, float, float], reason: str
) -> None:
    values = np.random.default_rng(0).random(shape, np.float32)
    path = write_volume(tmp_path / "a.nii.gz", values, spacing)
    with pytest.raises(UnsuitableVolumeError, match=reason):
        read_thin_volume(test_file(path))


def test_arrays_without_geometry_and_short_volumes_are_unsuitable(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", blobs(SHAPE))
    with pytest.raises(UnsuitableVolumeError, match="no voxel sizes"):
        read_thin_volume(test_file(tmp_path / "a.npy"))
    volume = thin_volume(tmp_path / "a.nii.gz", blobs((24, 24, 11)))
    with pytest.raises(UnsuitableVolumeError, match="fewer than 3 thick slices along axis 2"):
        simulate_thick(volume, 2, Slicing(4), 0)


def test_the_slice_axis_is_that_of_the_manifest(tmp_path: Path) -> None:
    values = blobs(SHAPE)
    assert [thin_volume(tmp_path / "a.nii.gz", values, axis).axis for axis in range(3)] == [0, 1, 2]


def test_an_offset_of_the_values_is_taken_off(tmp_path: Path) -> None:
    """Masked air of one value that nothing falls below is no signal."""
    plain = thin_volume(tmp_path / "a.nii.gz", blobs(SHAPE))
    shifted = thin_volume(tmp_path / "b.nii.gz", blobs(SHAPE) - 1024)
    assert shifted.zero == -1024
    # 1024 + 200 have 11 digits before the point: float32 keeps 2^-13 of them.
    np.testing.assert_allclose(shifted.values, plain.values, atol=2.0**-13)
