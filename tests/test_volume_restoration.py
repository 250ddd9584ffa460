"""Volumes of thick slices: exact data, both kinds of planes alike, samples, least squares."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mrcascade import Intensity, MRCascadeError, Recipe, SeparableOperator
from mrcascade.measurement.border import Margins
from mrcascade.operators.profile import SliceProfile
from mrcascade.restore import Plan, Restorer, resolve_settings
from mrcascade.restore.volume import (
    ENDS,
    ThickSlices,
    VolumePlan,
    VolumeRestorer,
    along,
    least_squares,
)
from mrcascade.sampling.volume import VolumeResult

SHAPE = 6, 24, 20  # slices, rows, columns
THICK = ThickSlices(6, 22)


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    smooth = np.random.default_rng(0).random((6, 6, 5), np.float32)
    return np.kron(smooth, np.ones((1, 4, 4), np.float32))


def restored(prior, y, noise=0.0, thick=THICK):  # type: ignore[no-untyped-def]
    plan = VolumePlan.of(prior, thick, y.shape[1:], noise, resolve_settings(prior, "mean"))
    return VolumeRestorer(prior, plan)(y, Intensity.of(y), batch_size=3)


def test_every_slice_is_kept(prior, volume) -> None:  # type: ignore[no-untyped-def]
    result = restored(prior, volume)
    assert result.mean.shape == (22, 24, 20)
    assert result.mean.dtype == np.float32
    error = along(THICK.matrix(), result.mean) - volume
    assert np.linalg.norm(error) < 1e-6 * np.linalg.norm(volume)
    assert result.residual < 1e-6


def test_three_slices_are_enough(prior, volume) -> None:  # type: ignore[no-untyped-def]
    """The slices that are added at the ends are more than there are."""
    result = restored(prior, volume[:3], thick=ThickSlices(3, 18))
    error = along(ThickSlices(3, 18).matrix(), result.mean) - volume[:3]
    assert np.linalg.norm(error) < 1e-6 * np.linalg.norm(volume[:3])


def test_rows_and_columns_are_alike(prior, volume) -> None:  # type: ignore[no-untyped-def]
    turned = restored(prior, np.ascontiguousarray(volume.swapaxes(1, 2)))
    expected = restored(prior, volume).mean.swapaxes(1, 2)
    np.testing.assert_allclose(turned.mean, expected, atol=1e-5)


def test_planes_are_restored_as_slices_are(prior, volume) -> None:  # type: ignore[no-untyped-def]
    """With noise nothing is projected, so that the mean of both kinds of planes is the result."""
    scale, margin = Intensity.of(volume).scale, THICK.margin
    settings, expected = resolve_settings(prior, "mean"), np.zeros((22, 24, 20))
    for axis in (1, 2):
        planes = np.moveaxis(volume, axis, 0) / scale
        planes = Margins(rows=(ENDS, ENDS)).extend(planes)
        operator = SeparableOperator(THICK.extended(), np.eye(planes.shape[2]), "thick")
        plan = Plan.of(prior, operator, 0.02, settings)
        mean = Restorer(prior, plan)(planes, Intensity(1.0)).mean[:, margin : margin + 22]
        expected += np.moveaxis(mean, 0, axis) * scale / 2
    result = restored(prior, volume, noise=0.02)
    np.testing.assert_allclose(result.mean, expected, atol=1e-5 * scale)
    assert result.residual > 1e-4


@pytest.mark.parametrize("thick", [THICK, ThickSlices(6, 40, SliceProfile("rect"), 0.5)])
def test_more_slices_at_the_ends_see_the_same_inside(thick: ThickSlices) -> None:
    own, extended, margin = thick.matrix(), thick.extended(), thick.margin
    inner = extended[ENDS:-ENDS]
    # The middle slices lie inside; those at the ends see what the shorter grid repeats.
    np.testing.assert_allclose(inner[2:-2, margin:-margin], own[2:-2], atol=1e-14)
    folded = inner[:, margin:-margin].copy()
    folded[:, 0] += inner[:, :margin].sum(1)
    folded[:, -1] += inner[:, -margin:].sum(1)
    np.testing.assert_allclose(folded, own, atol=1e-14)


def test_least_squares_is_smooth_and_exact(volume) -> None:  # type: ignore[no-untyped-def]
    """Against the stacked least-squares problem, and the closest volume that meets the slices."""
    a, second = THICK.matrix(), np.diff(np.eye(22), 2, axis=0)
    y = volume.astype(np.float64)
    stacked = np.concatenate([a, np.sqrt(1e-3) * second])
    target = np.concatenate([y.reshape(6, -1), np.zeros((20, 24 * 20))])
    x = np.linalg.lstsq(stacked, target, rcond=None)[0]
    x += np.linalg.lstsq(a, y.reshape(6, -1) - a @ x, rcond=None)[0]
    np.testing.assert_allclose(least_squares(y, THICK).reshape(22, -1), x, atol=1e-9)
    assert least_squares(volume, THICK).dtype == np.float32


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: ThickSlices(6, 5), "as many slices or up to 8 times"),
        (lambda: ThickSlices(6, 49), "up to 8 times"),
        (lambda: ThickSlices(6, 12, thickness=-1), "thickness -1"),
        (lambda: least_squares(np.zeros((5, 4, 4)), THICK), r"expected \(6, h, w\), got \(5, 4"),
    ],
)
def test_what_does_not_fit_is_refused(make, reason) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(MRCascadeError, match=reason):
        make()


def drawn(prior, y, noise=0.0, samples=1, seed=0, mode="sample", **options):  # type: ignore[no-untyped-def]
    settings = resolve_settings(prior, f"{mode}:start_at_mean=true", 6, samples)
    plan = VolumePlan.of(prior, THICK, y.shape[1:], noise, settings)
    restorer = VolumeRestorer(prior, plan)
    return restorer(y, Intensity.of(y), samples=samples, seed=seed, **options)


@pytest.fixture(scope="module")
def three(prior, volume):  # type: ignore[no-untyped-def]
    return drawn(prior, volume, samples=3, seed=4, batch_size=50)


def test_samples_keep_every_slice(three, volume) -> None:  # type: ignore[no-untyped-def]
    for image in (three.sample, three.mean):
        assert image.shape == (22, 24, 20)
        assert image.dtype == np.float32
        error = along(THICK.matrix(), image) - volume
        assert np.linalg.norm(error) < 1e-6 * np.linalg.norm(volume)
    assert three.residual < 1e-6
    # With two more at each end there are ten slices, and ten samples at level 3.
    assert three.evaluations == {1: 2, 2: 2, 3: 0}


def test_samples_have_their_own_seeds(prior, volume, three) -> None:  # type: ignore[no-untyped-def]
    """Mean, spread and first sample are those of samples that were drawn alone."""
    scale = Intensity.of(volume).scale
    task = VolumePlan.of(prior, THICK, (24, 20), 0.0, resolve_settings(prior, "sample", 6, 3))
    assert three.settings["samples"] == 3
    assert three.settings["steps"] == task.settings.steps == 6
    first = drawn(prior, volume, seed=4, batch_size=5)
    assert first.std is None
    assert first.sample is first.mean
    # float32 sums of at most 64 terms of order one, through a few layers and steps.
    np.testing.assert_allclose(first.sample, three.sample, atol=1e-4 * scale)
    other = drawn(prior, volume, seed=5, batch_size=50)
    assert np.abs(other.sample - three.sample).max() > 1e-2 * scale


def test_mean_and_spread_of_samples(prior, volume, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """With noise nothing is projected, so that the samples' own moments are the result."""
    rng, scale = np.random.default_rng(1), Intensity.of(volume).scale
    drawn_ones = rng.random((4, 1, 22 + 2 * THICK.margin, 24, 20), np.float32)
    left = iter(torch.from_numpy(drawn_ones))
    monkeypatch.setattr(
        "mrcascade.restore.volume.restorer.volume_sample",
        lambda *a, **k: VolumeResult(next(left), {1: 1}),
    )
    result = drawn(prior, volume, noise=0.1, samples=4, mode="sample:spread=1.5")
    inside = drawn_ones[:, 0, THICK.margin : THICK.margin + 22] * scale
    np.testing.assert_allclose(result.mean, inside.mean(0), atol=1e-6 * scale)
    np.testing.assert_allclose(result.std, 1.5 * inside.std(0, ddof=1), atol=1e-5 * scale)
    np.testing.assert_allclose(result.sample, inside[0], atol=1e-6 * scale)


@pytest.mark.parametrize(("mode", "samples"), [("mean", 1), ("sample", 2), ("balanced", 1)])
def test_progress_counts_to_the_work(prior, volume, mode, samples) -> None:  # type: ignore[no-untyped-def]
    steps = None if mode == "mean" else 6
    plan = VolumePlan.of(prior, THICK, (24, 20), 0.0, resolve_settings(prior, mode, steps, samples))
    seen: list[int] = []
    VolumeRestorer(prior, plan)(
        volume, Intensity.of(volume), samples=samples, batch_size=9, progress=seen.append
    )
    assert seen == sorted(seen)
    assert plan.work(samples) - 2 <= seen[-2] <= seen[-1] == plan.work(samples)
    if mode == "mean":
        assert seen[-1] == 24 + 20


def test_other_modes_are_refused(prior, volume) -> None:  # type: ignore[no-untyped-def]
    multigrid = Recipe("multigrid", sampler="multigrid")
    with pytest.raises(MRCascadeError, match="does not restore volumes of thick slices"):
        VolumePlan.of(prior, THICK, (24, 20), 0.0, multigrid)
    plan = VolumePlan.of(prior, THICK, (24, 20), 0.0, resolve_settings(prior, "balanced", 6))
    with pytest.raises(MRCascadeError, match="use mode 'sample'"):
        VolumeRestorer(prior, plan)(volume, Intensity.of(volume), samples=2)
