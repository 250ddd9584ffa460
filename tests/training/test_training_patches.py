"""Training pairs: bands and conditions of real pyramids, degradation, sampling weights."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from training_data import TINY, volume, volumes

from mrcascade.arrays.phase import with_simulated_phase
from mrcascade.operators import downsampler, upsampler
from mrcascade.operators.pyramid import LaplacianPyramid
from mrcascade.prior.level import LevelStatistics
from mrcascade.sampling.noise import NoiseSource
from mrcascade.training import patches as patches_module
from mrcascade.training.bands import BandSlice, BandSlices, coarser_copies, reduced
from mrcascade.training.cascade_data import CascadeData
from mrcascade.training.patches import PatchSource, make_batch
from mrcascade.training.selection import slice_weights
from mrcascade.training.volume import Volume

OWN = LevelStatistics(0.0, 0.05, 0.4, 0.3)
COARSER = LevelStatistics(0.0, 0.2)
ROUNDING = 30 * 2.0**-24  # float32, sums of some dozen terms of order one


def images(level: int, kernel: str) -> list[torch.Tensor]:
    """The image on the grid of ``level`` for every slice of one volume, unpadded."""
    (x,) = (torch.from_numpy(volume().slices / 1.2),)
    pyramid = LaplacianPyramid(kernel, (48, 48), 3)
    for i in range(1, level):
        x = pyramid.down(x, i)
    return list(x)


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("kernel", ["fourier", "area", "gaussian"])
def test_band_and_condition_rebuild_the_image(level: int, kernel: str) -> None:
    config = replace(TINY, kernel=kernel, patch=8, coarse_patch=8)
    slices = BandSlices([volume()], level, config)
    for item, image in zip(slices, images(level, kernel), strict=True):
        assert item.stack.shape == (3, 1, *image.shape)
        np.testing.assert_allclose(item.stack.sum(0)[0], image, atol=ROUNDING)


def test_condition_splits_into_the_coarser_band_and_the_rest() -> None:
    config = replace(TINY, patch=8, coarse_patch=8)
    x = torch.from_numpy(volume().slices[0] / 1.2)
    pyramid = LaplacianPyramid("fourier", (48, 48), 3)
    bands = pyramid.decompose(x)
    stack = torch.from_numpy(BandSlices([volume()], 1, config)[0].stack)[:, 0]
    torch.testing.assert_close(stack[0], bands[0], rtol=0, atol=ROUNDING)
    rest = pyramid.up(pyramid.up(bands[2], 2), 1)
    torch.testing.assert_close(stack[1], rest, rtol=0, atol=ROUNDING)
    torch.testing.assert_close(stack[2], pyramid.up(bands[1], 1), rtol=0, atol=ROUNDING)
    stack = torch.from_numpy(BandSlices([volume()], 2, config)[0].stack)[:, 0]
    assert not stack[1].any()  # the whole condition is the coarsest image
    torch.testing.assert_close(stack[2], pyramid.up(bands[2], 2), rtol=0, atol=ROUNDING)


def complex_volume() -> Volume:
    return replace(volume(), slices=with_simulated_phase(volume().slices, "x"), simulated=True)


@pytest.mark.parametrize("level", [1, 2, 3])
def test_parts_of_complex_slices_are_decomposed_by_themselves(level: int) -> None:
    config = replace(TINY, patch=8, coarse_patch=8)
    images = complex_volume()
    both = BandSlices([images], level, config)
    for channel, part in enumerate((images.slices.real, images.slices.imag)):
        alone = BandSlices([replace(images, slices=part)], level, config)
        for item, one in zip(both, alone, strict=True):
            # The same sums, perhaps in another order.
            np.testing.assert_allclose(item.stack[:, channel], one.stack[:, 0], atol=ROUNDING)


def test_small_images_are_padded_to_a_patch() -> None:
    (item, *_) = BandSlices([volume(side=48)], 1, replace(TINY, patch=64))
    assert item.stack.shape == (3, 1, 64, 64)


def test_other_factors_are_other_scales() -> None:
    (item, *_) = BandSlices([volume()], 1, TINY)
    assert item.scales == pytest.approx((1.0, 1.2 / 1.1))


def source(rows: list[np.ndarray], level: int = 1, **settings) -> PatchSource:
    config = replace(TINY, **settings)
    slices = [BandSlice(stack, (1.0,)) for stack in rows]
    return PatchSource(slices, np.full(len(rows), 1 / len(rows)), level, config)


def pair() -> tuple[PatchSource, PatchSource]:
    """Two sources that draw alike: band and condition, and the whole image in the band's place."""
    stacks = [s.stack for s in BandSlices([volume()], 1, TINY)]
    whole = [np.concatenate([s.sum(0, keepdims=True), s[1:]]) for s in stacks]
    return source(stacks), source(whole)


def test_patches_of_band_and_condition_belong_together() -> None:
    bands, whole = pair()
    raw = bands.raw(20, np.random.default_rng(0))
    images = whole.raw(20, np.random.default_rng(0))[:, 0]
    assert raw.shape == (20, 3, 1, 32, 32)
    batch = make_batch(raw, torch.zeros(20), OWN, COARSER, TINY, NoiseSource(range(20)))
    condition = batch.condition[:, :1] * OWN.condition_std + OWN.condition_mean
    rebuilt = batch.band * OWN.std + OWN.mean + condition
    np.testing.assert_allclose(rebuilt, images, atol=2 * ROUNDING)


def test_all_flips_and_rotations_occur() -> None:
    ramp = np.arange(64.0, dtype=np.float32).reshape(1, 1, 8, 8) + 1
    raw = source([np.concatenate([ramp] * 3)], patch=8, scale_jitter=0.0).raw(
        200, np.random.default_rng(0)
    )
    found = {tuple(r[0, 0].ravel()) for r in raw}
    expected = {
        tuple(turned.ravel())
        for k in range(4)
        for turned in (np.rot90(ramp[0, 0], k), np.rot90(ramp[0, 0], k)[:, ::-1])
    }
    assert found == expected  # one of 8 missing in 200 draws: chance 8 (7/8)^200 = 2e-11


def test_jitter_scales_band_and_condition_alike() -> None:
    flat = np.ones((3, 1, 8, 8), np.float32) * np.array([1, 2, 3])[:, None, None, None]
    raw = source([flat.astype(np.float32)], patch=8, scale_jitter=0.2).raw(
        500, np.random.default_rng(0)
    )
    scale = raw[:, 0, 0, 0, 0]
    np.testing.assert_allclose(raw[:, 2, 0, 5, 5], 3 * scale, rtol=1e-6)
    assert math.exp(-0.2) <= scale.min() < math.exp(-0.19)
    assert math.exp(0.19) < scale.max() <= math.exp(0.2)


def test_complex_patches_turn_as_a_whole() -> None:
    """Every patch is its image times one phase factor, or its conjugate: band and condition alike.

    Both happen, and the angles fill the circle: the mean of n unit numbers is below 4 / sqrt(n),
    but for a chance of exp(-16).
    """
    config = replace(TINY, patch=8, coarse_patch=8, scale_jitter=0.0)
    rng = np.random.default_rng(0)
    image = (rng.normal(size=(1, 8, 8)) + 1j * rng.normal(size=(1, 8, 8))).astype(np.complex64)
    one = Volume("a", "a", "train", image, {2: 1.0})
    source = PatchSource(BandSlices([one], 1, config), np.ones(1), 1, config)
    n = 200
    raw = source.raw(n, np.random.default_rng(1))
    assert raw.dtype == np.float32
    patches = raw[:, :, 0] + 1j * raw[:, :, 1]
    (stored,) = BandSlices([one], 1, config)
    expected = stored.stack[:, 0] + 1j * stored.stack[:, 1]
    turned = [np.rot90(expected, k, (-2, -1)) for k in range(4)]
    forms = [g for f in turned for g in (f, f[..., ::-1])]
    kinds = [(conjugate, f.conj() if conjugate else f) for f in forms for conjugate in (0, 1)]
    angles, conjugates = [], []
    for patch in patches:
        products = [np.vdot(f, patch) / np.vdot(f, f).real for _, f in kinds]
        best = int(np.argmax(np.abs(products)))
        conjugate, form = kinds[best]
        np.testing.assert_allclose(patch, products[best] * form, atol=4 * ROUNDING)
        angles.append(products[best])
        conjugates.append(conjugate)
    # complex64 sums of 192 products
    np.testing.assert_allclose(np.abs(angles), 1, rtol=192 * 2.0**-24)
    assert abs(np.mean(angles)) < 4 / np.sqrt(n)
    # Five standard deviations of a fair coin.
    assert abs(np.mean(conjugates) - 0.5) < 5 * 0.5 / np.sqrt(n)


def test_numbers_are_drawn_in_the_order_that_older_runs_go_on_with() -> None:
    """Slice, place, turns, flip, jitter, scale: nothing else draws while no slice is changed."""
    stacks = [s.stack for s in BandSlices([volume()], 1, TINY)]
    config = replace(TINY, patch=32)
    found = source(stacks, patch=32).raw(6, np.random.default_rng(4), drawn=1000)
    rng, expected = np.random.default_rng(4), []
    while len(expected) < 6:
        stack = stacks[int(np.searchsorted(np.cumsum([1 / 4] * 4), rng.random()))]
        i, j = rng.integers(48 - 32 + 1), rng.integers(48 - 32 + 1)
        patch = stack[..., i : i + 32, j : j + 32]
        assert np.abs(patch[1:].sum(0)).mean() > 0.06  # none of these is air
        patch = np.rot90(patch, int(rng.integers(4)), (-2, -1))
        patch = patch[..., ::-1] if rng.integers(2) else patch
        jitter = np.exp(rng.uniform(-1, 1) * config.scale_jitter)
        expected.append(patch * np.float32(jitter))
        rng.integers(1)
    np.testing.assert_array_equal(found, expected)


def test_air_is_avoided() -> None:
    stack = np.zeros((3, 1, 64, 64), np.float32)
    stack[:, :, :32, :32] = 1
    drawn = source([stack], patch=32).raw(200, np.random.default_rng(0))
    empty = np.mean([np.abs(r[1] + r[2]).mean() <= 0.06 for r in drawn])
    # Of the 33^2 places the share p has content below 0.06 of 2; a draw fails four times.
    p = np.mean([(32 - i) * (32 - j) * 2 / 32**2 <= 0.06 for i in range(33) for j in range(33)])
    assert 0 < p < 0.3
    assert empty <= p**4 + 5 * math.sqrt(p**4 / 200)


# ---- degradation of the condition ----


def degraded(t: float, count: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """Coarse band and its degraded version, both on the coarse grid and in the band's units."""
    side = 32
    rng = np.random.default_rng(7)
    band = rng.normal(COARSER.mean, COARSER.std, (count, 1, side // 2, side // 2))
    coarse = torch.from_numpy(band.astype(np.float32))
    up = upsampler("fourier", (side, side), (side // 2, side // 2))
    raw = np.zeros((count, 3, 1, side, side), np.float32)
    raw[:, 1] = 0.4
    raw[:, 2] = up(coarse).numpy()
    noise = NoiseSource(range(count))
    batch = make_batch(raw, torch.full((count,), t), OWN, COARSER, TINY, noise)
    assert batch.condition.shape == (count, 2, side, side)
    assert (batch.condition[:, 1] - t).abs().max() < 1e-7
    condition = batch.condition[:, :1] * OWN.condition_std + OWN.condition_mean - 0.4
    down = downsampler("fourier", (side, side), (side // 2, side // 2))
    return coarse, down(condition)


def test_exact_condition_is_the_band() -> None:
    coarse, seen = degraded(0.0)
    torch.testing.assert_close(seen, coarse, rtol=0, atol=2 * ROUNDING)


@pytest.mark.parametrize("t", [0.1, 0.5, 0.8, 0.95])
def test_degradation_is_a_wiener_estimate_that_misses_t_squared(t: float) -> None:
    """Estimate c = (1 - t^2)(b + n) of b: E (c - b)^2 = t^2, E c b = 1 - t^2 and E c (c - b) = 0
    in units of the band's variance. N independent samples; a mean of products of Gaussians of
    variances u and v errs by at most sqrt(2 u v / N)."""
    coarse, seen = degraded(t)
    b, c = coarse / COARSER.std, seen / COARSER.std
    error, deviation = c - b, 5 * math.sqrt(2 / b.numel())
    assert float(error.square().mean()) == pytest.approx(t**2, abs=deviation * t**2)
    assert float((b * c).mean()) == pytest.approx(1 - t**2, abs=deviation * math.sqrt(1 - t**2))
    assert float((c * error).mean()) == pytest.approx(0, abs=deviation * t * math.sqrt(1 - t**2))


def test_degradation_shrinks_towards_the_mean_of_the_coarsest_level() -> None:
    coarsest = LevelStatistics(0.3, 0.25)
    raw = np.zeros((1, 3, 1, 8, 8), np.float32)
    raw[:, 2] = 0.3  # the mean itself: the noise apart, shrinking must not move it
    totals = []
    for seed in range(200):
        noise = NoiseSource([seed])
        batch = make_batch(raw, torch.tensor([0.5]), OWN, coarsest, TINY, noise)
        totals.append(batch.condition[:, 0].mean() * OWN.condition_std + OWN.condition_mean)
    # 16 coarse pixels of noise (1 - t^2) s = 0.25 t sqrt(1 - t^2) per image, 200 images.
    deviation = 0.25 * 0.5 * math.sqrt(0.75) / math.sqrt(16 * 200)
    assert float(np.mean(totals)) == pytest.approx(0.3, abs=5 * deviation)


def test_unconditional_level_has_a_standard_image() -> None:
    raw = np.full((2, 3, 1, 4, 4), 0.8, np.float32)
    noise = NoiseSource(range(2))
    batch = make_batch(raw, torch.zeros(2), LevelStatistics(0.3, 0.25), None, TINY, noise)
    assert batch.condition is None
    torch.testing.assert_close(batch.band, torch.full((2, 1, 4, 4), 2.0))


# ---- statistics and weights ----


def test_groups_are_drawn_alike_and_files_by_the_root_of_their_length() -> None:
    def empty(group: str, slices: int) -> Volume:
        return Volume(f"{group}/x", group, "train", np.zeros((slices, 4, 4)), {2: 1.0})

    weights = slice_weights([empty("a", 4), empty("b", 9), empty("a", 16)])
    assert weights.sum() == pytest.approx(1)
    parts = [weights[:4], weights[4:13], weights[13:]]
    assert [p.sum() for p in parts] == pytest.approx([0.5 * 2 / 6, 0.5, 0.5 * 4 / 6])
    assert all(np.ptp(p) == 0 for p in parts)


def test_slices_are_drawn_by_weight() -> None:
    rows = [np.full((3, 1, 8, 8), v, np.float32) for v in (1, 2, 3)]
    slices = [BandSlice(r, (1.0,)) for r in rows]
    weights = np.array([0.2, 0.0, 0.8])
    patches = PatchSource(slices, weights, 1, replace(TINY, patch=8, scale_jitter=0.0))
    drawn = patches.raw(2000, np.random.default_rng(0))[:, 0, 0, 0, 0]
    assert set(drawn) == {1.0, 3.0}
    assert np.mean(drawn == 1) == pytest.approx(0.2, abs=5 * math.sqrt(0.2 * 0.8 / 2000))


def test_statistics_standardise_the_training_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patches_module, "STATISTICS_PATCHES", 1500)
    data = CascadeData(volumes(), TINY)
    for level in (1, 3):
        patches = data.source(data.shown, level)
        statistics = data.statistics(level, patches)
        raw = patches.raw(1500, np.random.default_rng(5))
        band = (raw[:, 0] - statistics.mean) / statistics.std
        # Other random patches of few slices: the patches overlap, so only a few hundred are
        # independent, and a few per cent is what a std of those is known to.
        assert float(band.std()) == pytest.approx(1, abs=0.05)
        assert abs(float(band.mean())) < 0.05
        if level == 1:
            condition = raw[:, 1] + raw[:, 2]
            assert float(condition.mean()) == pytest.approx(statistics.condition_mean, rel=0.05)
            assert float(condition.std()) == pytest.approx(statistics.condition_std, rel=0.05)
    assert data.statistics(1) == CascadeData(volumes(), TINY).statistics(1)


def test_statistics_of_complex_patches_have_no_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deviation is that of one part: half of the energy of the complex band."""
    monkeypatch.setattr(patches_module, "STATISTICS_PATCHES", 64)
    for level in (1, 3):
        source = CascadeData([complex_volume()], TINY).source([complex_volume()], level)
        found = source.statistics(np.random.default_rng(2))
        raw = source.raw(64, np.random.default_rng(2))
        band = raw[:, 0, 0] + 1j * raw[:, 0, 1]
        assert (found.mean, found.condition_mean) == (0.0, 0.0)
        expected = np.sqrt((np.abs(band) ** 2).mean() / 2 - raw[:, 0].mean() ** 2)
        assert found.std == pytest.approx(expected, rel=1e-5)  # float32 means


@pytest.mark.parametrize("kernel", ["fourier", "area"])
def test_reduced_volumes_are_what_a_coarser_level_sees(kernel: str) -> None:
    config = replace(TINY, kernel=kernel, reduction=4)
    (small,) = reduced([volume()], config)
    # The volume has intensities up to 1.2, of which images(...) are in units.
    expected = torch.stack(images(3, kernel)).numpy() * 1.2
    np.testing.assert_allclose(list(small.slices), expected, atol=2 * ROUNDING)
    assert small.scales == volume().scales
    assert config.multiple == 4 * TINY.multiple


def test_coarser_copies_are_scans_with_a_smaller_matrix() -> None:
    config = replace(TINY, coarser_copies=3)
    (original, other) = volumes()[:2]
    copies = coarser_copies([original, other], config)
    assert [c.file for c in copies] == [original.file] * 3 + [other.file] * 3
    shapes = {c.slices.shape[1:] for c in copies[:3]}
    assert len(shapes) > 1  # each has shares of its own
    for copy in copies[:3]:
        assert copy.scales == original.scales
        for n, side in zip(original.slices.shape[1:], copy.slices.shape[1:], strict=True):
            assert 0.6 * n - config.multiple < side <= n
            assert side % config.multiple == 0
        crop = downsampler("fourier", original.slices.shape[1:], copy.slices.shape[1:])
        expected = crop(torch.from_numpy(original.slices)).numpy()
        # float32 products of two matrices whose rows sum to one, of values up to 1.5
        np.testing.assert_allclose(list(copy.slices), expected, atol=2 * ROUNDING)
    assert not coarser_copies([original], replace(TINY, coarser_copies=0))
