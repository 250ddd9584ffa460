"""Slice profiles against box averages, numerical integrals and the shared forward model."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from mrcascade.errors import MRCascadeError
from mrcascade.operators import down_matrix
from mrcascade.operators.profile import SliceProfile, profile_matrix

BENCH = Path(__file__).parents[3] / "shared" / "isotropic" / "bench.py"
TRIANGLE = SliceProfile("triangle", (-1.0, 0.0, 1.0), (0.0, 1.0, 0.0))


@pytest.mark.parametrize(("n", "m"), [(32, 8), (30, 8), (7, 7), (9, 1), (24, 16)])
@pytest.mark.parametrize("thickness", [0.3, 1.0, 1.7])
@pytest.mark.parametrize(
    "profile", [SliceProfile(), SliceProfile("rect"), TRIANGLE], ids=lambda profile: profile.name
)
def test_constants_stay_and_slices_are_mirrored(
    profile: SliceProfile, n: int, m: int, thickness: float
) -> None:
    matrix = profile.matrix(n, m, thickness)
    assert matrix.shape == (m, n)
    assert (matrix >= 0).all()
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-14)
    np.testing.assert_allclose(matrix, matrix[::-1, ::-1], atol=1e-12)


@pytest.mark.parametrize("thickness", [0.5, 1.0, 1.5])
@pytest.mark.parametrize(
    "profile", [SliceProfile(), SliceProfile("rect"), TRIANGLE], ids=lambda profile: profile.name
)
def test_slices_lie_where_a_ramp_says(profile: SliceProfile, thickness: float) -> None:
    """A symmetric profile has the value of a ramp at its centre, away from the ends."""
    matrix = profile.matrix(60, 15, thickness)
    centres = (np.arange(15) + 0.5) * 4 - 0.5
    seen = matrix @ np.arange(60)
    np.testing.assert_allclose(seen[3:-3], centres[3:-3], atol=1e-12)


@pytest.mark.parametrize("factor", [2, 4, 5])
def test_contiguous_boxes_are_block_means(factor: int) -> None:
    n = 6 * factor
    np.testing.assert_allclose(
        SliceProfile("rect").matrix(n, 6), down_matrix("area", n, 6), atol=1e-14
    )
    measured = SliceProfile("box", (-0.5, 0.5), (3.0, 3.0))
    np.testing.assert_allclose(measured.matrix(n, 6), down_matrix("area", n, 6), atol=1e-14)


def test_a_measured_profile_is_averaged_over_each_sample() -> None:
    """Against a fine numerical integral, whose trapezoids are 1e-4 wide."""
    matrix = TRIANGLE.matrix(30, 8, 1.2)
    f, width = 30 / 8, 1.2 * 30 / 8
    fine = (np.arange(-30 * 10_000, 60 * 10_000) + 0.5) / 10_000 - 0.5
    for k in range(8):
        weight = np.clip(1 - abs(fine - ((k + 0.5) * f - 0.5)) / width, 0, None)
        row = weight.reshape(90, 10_000).sum(1)
        ends = [row[:31].sum(), *row[31:59], row[59:].sum()]
        np.testing.assert_allclose(matrix[k], np.array(ends) / row.sum(), atol=1e-6)


def test_the_gaussian_has_its_full_width_at_half_maximum() -> None:
    row = SliceProfile().matrix(400, 4, 0.4)[1]  # 40 samples wide; the centre is at 149.5
    assert row[[129, 170]] / row[149] == pytest.approx(0.5, abs=0.03)
    half = np.interp(149.5 - 20, np.arange(400), row) / np.interp(149.5, np.arange(400), row)
    assert half == pytest.approx(0.5, abs=2e-3)
    # It ends at three standard deviations, 3 * 40 / 2.3548.
    assert np.flatnonzero(row)[[0, -1]].tolist() == [99, 200]


def test_a_slice_is_not_thinner_than_a_sample() -> None:
    for name in SliceProfile.NAMED:
        profile = SliceProfile(name)
        np.testing.assert_array_equal(profile.matrix(12, 4, 0.01), profile.matrix(12, 4, 1 / 3))


@pytest.mark.skipif(not BENCH.exists(), reason="needs ../shared/isotropic")
@pytest.mark.parametrize(("n", "m"), [(128, 32), (128, 30), (61, 13)])
def test_contiguous_gaussians_are_the_shared_forward_model(n: int, m: int) -> None:
    spec = importlib.util.spec_from_file_location("bench", BENCH)
    assert spec is not None
    assert spec.loader is not None
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    np.testing.assert_allclose(profile_matrix(n, m), bench.matrix(n / m, m, n), atol=1e-9)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: SliceProfile("sinc"), "choose gaussian or rect"),
        (lambda: SliceProfile("mine", (0.0,), (1.0,)), "at least two"),
        (lambda: SliceProfile("mine", (0.0, 0.0), (1.0, 1.0)), "positions that rise"),
        (lambda: SliceProfile("mine", (0.0, 1.0), (0.0, 0.0)), "not all 0"),
        (lambda: SliceProfile("mine", (0.0, 1.0), (-1.0, 2.0)), "at least 0"),
        (lambda: SliceProfile().matrix(4, 5), "5 slices of 4 samples"),
        (lambda: SliceProfile().matrix(4, 2, 0.0), "must be above 0"),
    ],
)
def test_profiles_that_cannot_be_are_refused(make, reason: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(MRCascadeError, match=reason):
        make()
