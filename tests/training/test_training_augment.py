"""Random changes of training images: exact definition of each, and exact resume."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from training_data import TINY, assert_same, checkpoint, volume, volumes

from mrcascade.arrays.intensity import robust_maximum
from mrcascade.arrays.phase import with_simulated_phase
from mrcascade.training import bands as bands_module
from mrcascade.training import level as level_module
from mrcascade.training.augment import (
    AIR,
    TABLE,
    augmented,
    bias_field,
    blurred,
    is_on,
    noisy,
    random_map,
    with_contrast,
)
from mrcascade.training.bands import BandSlice, BandSlices, ChangedSlices, level_patch
from mrcascade.training.cascade_data import CascadeData
from mrcascade.training.patches import PatchSource
from mrcascade.training.run import train_cascade

IMAGE = volume().slices[0]
COMPLEX = with_simulated_phase(volume().slices, "x")[0]
EVERYTHING = replace(
    TINY, contrast_map_share=1.0, bias_field_share=1.0, blur_share=1.0, added_noise_share=1.0
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("image", [IMAGE, COMPLEX], ids=["magnitude", "complex"])
def test_no_strength_is_no_change(image: np.ndarray) -> None:
    for seed in range(20):
        np.testing.assert_array_equal(with_contrast(image, random_map(0.0, rng(seed))), image)
    assert (bias_field((8, 9), 0.0, rng()) == 1).all()
    np.testing.assert_array_equal(blurred(image, (0.0, 0.0)), image)
    np.testing.assert_array_equal(noisy(image, 0.0, rng()), image)
    config = replace(
        EVERYTHING,
        contrast_map_strength=0.0,
        bias_field_strength=0.0,
        largest_blur=0.0,
        largest_added_noise=0.0,
    )
    result = augmented(image, config, rng())
    np.testing.assert_array_equal(result, image)
    assert result.dtype == image.dtype
    assert augmented(image, TINY, rng()) is image
    assert (is_on(TINY), is_on(EVERYTHING)) == (False, True)


def test_maps_are_of_all_kinds_and_keep_air_dark() -> None:
    rising = falling = 0
    for seed in range(300):
        values = random_map(1.0, rng(seed))
        assert values[0] == 0
        assert 0 <= values.min() <= values.max() <= 1
        assert values[TABLE <= AIR].max() <= AIR + 1e-12
        # No step: monotone cubic pieces are at most three times as steep as their chords, here of
        # 0.95 in 0.25, or 0.2 at the end.
        assert np.abs(np.diff(values)).max() <= 3 * 0.95 / 0.2 * TABLE[1]
        tissue = np.diff(values[TABLE >= 0.3])
        rising += (tissue >= 0).all()
        falling += (tissue <= 0).all()
    # A third each, and some of any order: four of the standard deviation of a share.
    for count in (rising, falling):
        assert count / 300 > 1 / 3 - 4 * math.sqrt(2 / 9 / 300)
    assert rising + falling < 300


def test_monotone_maps_keep_order_and_the_maximum() -> None:
    image = np.linspace(0, 1.4, 400, dtype=np.float32).reshape(20, 20)
    monotone = [v for s in range(60) if (np.diff(v := random_map(1.0, rng(s))) > 0).all()]
    assert len(monotone) > 5
    for values in monotone:
        mapped = with_contrast(image, values)
        # Products of float32 numbers are rounded by themselves.
        assert np.diff(mapped.ravel()).min() > -4 * 2.0**-24
    for seed in range(20):
        mapped = with_contrast(image, random_map(1.0, rng(seed)))
        assert mapped[0, 0] == 0
        assert robust_maximum(mapped) == pytest.approx(robust_maximum(image), rel=1e-5)


def test_air_stays_air_and_the_sign_stays() -> None:
    image = IMAGE * (np.arange(48) > 20)
    image[0, 30] = -0.3
    for seed in range(20):
        mapped = with_contrast(image, random_map(1.0, rng(seed)))
        assert not mapped[:, :21].any()
        assert mapped[0, 30] < 0
        np.testing.assert_array_equal(with_contrast(-image, random_map(1.0, rng(seed))), -mapped)


def test_a_map_is_that_of_its_table() -> None:
    """In the table's points, up to the factor that keeps the maximum; beyond 1 in proportion."""
    values = random_map(1.0, rng(3))
    image = np.concatenate([TABLE, [1.5, 2.0]]).astype(np.float32)[:, None]
    mapped = with_contrast(image, values)[:, 0]
    expected = np.concatenate([values, [1.5 * values[-1], 2 * values[-1]]])
    factor = mapped[400] / expected[400]
    np.testing.assert_allclose(mapped, expected * factor, rtol=1e-4, atol=1e-7)


def test_the_phase_stays() -> None:
    config = replace(EVERYTHING, blur_share=0.0, added_noise_share=0.0)
    changed = augmented(COMPLEX, config, rng(1))
    alone = augmented(np.abs(COMPLEX), config, rng(1))
    np.testing.assert_allclose(np.abs(changed), alone, rtol=1e-4, atol=1e-6)
    turn = np.angle(changed * COMPLEX.conj())
    assert np.abs(turn[np.abs(COMPLEX) > 0.05]).max() < 1e-5


def test_a_bias_field_is_smooth_and_bounded() -> None:
    for seed in range(10):
        field = np.log(bias_field((40, 60), 0.3, rng(seed)).astype(np.float64))
        assert np.abs(field).max() == pytest.approx(0.3, rel=1e-5)
        spectrum = np.fft.rfft2(np.pad(field, ((0, 40), (0, 60)), mode="symmetric"))
        # Cosines of up to three half periods per side are three periods of the mirrored image.
        rest = spectrum.copy()
        rest[np.ix_([0, 1, 2, 3, -3, -2, -1], range(4))] = 0
        assert np.abs(rest).max() < 1e-5 * np.abs(spectrum).max()


@pytest.mark.parametrize("image", [IMAGE[:, :40], COMPLEX[:, :40]], ids=["magnitude", "complex"])
def test_blur_is_a_gaussian_in_the_fourier_domain(image: np.ndarray) -> None:
    """Dense matrices: discrete Fourier transform, weights, inverse, along each axis."""
    dense = []
    for n, std in zip(image.shape, (0.4, 0.9), strict=True):
        k = np.arange(n)
        transform = np.exp(-2j * np.pi * np.outer(k, k) / n)
        frequency = np.minimum(k, n - k) / n
        weights = np.exp(-2 * np.pi**2 * std**2 * frequency**2)
        dense.append((transform.conj().T * weights) @ transform / n)
    expected = dense[0] @ image @ dense[1].T
    result = blurred(image, (0.4, 0.9))
    assert result.dtype == image.dtype
    np.testing.assert_allclose(result, expected, atol=1e-6)  # float32 results of order one


@pytest.mark.parametrize("kind", [np.float32, np.complex64])
def test_noise_has_its_standard_deviation(kind: type) -> None:
    image = np.ones((200, 200), kind)
    noise = noisy(image, 0.02, rng()) - 1
    assert noise.dtype == kind
    parts = [noise.real, noise.imag] if kind is np.complex64 else [noise]
    for part in parts:
        # Of n Gaussian numbers the deviation errs by 1 / sqrt(2 n), the mean by 1 / sqrt(n).
        assert part.std() == pytest.approx(0.02, rel=5 / math.sqrt(2 * image.size))
        assert abs(part.mean()) < 5 * 0.02 / math.sqrt(image.size)
    if len(parts) == 2:
        assert abs(np.corrcoef(parts[0].ravel(), parts[1].ravel())[0, 1]) < 5 / 200


# ---- slices of a run ----


def test_changes_are_those_of_seed_slice_and_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bands_module, "PATCHES_PER_CHANGE", 2)
    shown = volumes()[:2]  # 9 slices, so that 18 patches see one change
    first, second = (ChangedSlices(shown, 1, EVERYTHING) for _ in range(2))
    a, b = first.at(3, 0), first.at(3, 18)
    assert first.at(4, 17) is not None
    again = [second.at(3, n) for n in (20, 0)]
    np.testing.assert_array_equal(b.stack, again[0].stack)
    np.testing.assert_array_equal(a.stack, again[1].stack)
    assert np.abs(a.stack - b.stack).max() > 0.01
    other = ChangedSlices(shown, 1, replace(EVERYTHING, seed=5)).at(3, 0)
    assert np.abs(a.stack - other.stack).max() > 0.01
    assert first.at(3, 5) is first.at(3, 17)
    assert ChangedSlices(shown, 1, replace(TINY, blur_share=1e-9)).at(3, 0) is None


def test_a_changed_slice_is_decomposed_like_an_image() -> None:
    one = volume()
    changed = ChangedSlices([one], 2, EVERYTHING).at(1, 0)
    image = augmented(one.slices[1] / 1.2, EVERYTHING, np.random.default_rng([1, 3, 1, 0]))
    (_, expected, *_) = BandSlices(
        [replace(one, slices=np.stack([one.slices[0], image * np.float32(1.2)]))], 2, EVERYTHING
    )
    # float32 sums of a few dozen terms
    np.testing.assert_allclose(changed.stack, expected.stack, atol=30 * 2.0**-24)
    assert changed.scales == expected.scales


def test_validation_and_silent_runs_see_the_images_themselves() -> None:
    data = CascadeData(volumes(), EVERYTHING)
    quiet = CascadeData(volumes(), TINY)
    for number in (1, 3):
        pair = [d.level(number) for d in (data, quiet)]
        same = [p.validation.raw(4, rng(2)) for p in pair]
        np.testing.assert_array_equal(*same)
        changed = [p.train.raw(4, rng(2)) for p in pair]
        assert np.abs(changed[0] - changed[1]).max() > 0.01


@pytest.mark.slow
@pytest.mark.usefixtures("_no_plot")
def test_a_run_that_goes_on_sees_the_same_changes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bands_module, "PATCHES_PER_CHANGE", 1)  # 18 patches per change
    train_cascade(data, tmp_path / "whole", EVERYTHING, levels=[1])
    step, stop = level_module.LevelTrainer.step, 40

    class Stopped(Exception):
        """In place of a kill."""

    def stopping(trainer: level_module.LevelTrainer) -> dict[str, float]:
        if trainer.seen >= stop:
            trainer.save(tmp_path / "parts" / "level1.ckpt")
            raise Stopped
        return step(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(level_module.LevelTrainer, "step", stopping)
        with pytest.raises(Stopped):
            train_cascade(data, tmp_path / "parts", EVERYTHING, levels=[1])
    assert checkpoint(tmp_path / "parts")["seen"] == stop
    train_cascade(data, tmp_path / "parts", EVERYTHING, levels=[1], resume=True)
    states = [checkpoint(tmp_path / name) for name in ("whole", "parts")]
    for state in states:
        del state["seconds"]
    assert_same(*states)


# ---- blocks ----


@pytest.mark.parametrize("kernel", ["area", "bicubic", "fourier", "gaussian"])
def test_patches_of_block_kernels_begin_at_a_block(kernel: str) -> None:
    config = replace(TINY, kernel=kernel, patch=8, scale_jitter=0.0)
    places = np.arange(1.0, 1 + 21 * 19, dtype=np.float32).reshape(1, 1, 21, 19)
    rows = BandSlice(np.repeat(places, 3, 0), (1.0,))
    for number in (1, config.levels):
        size = level_patch(number, config)
        if size > 19:
            continue
        drawn = PatchSource([rows], np.ones(1), number, config).raw(400, rng())[:, 0, 0]
        starts = np.rint(drawn.min((1, 2))).astype(int) - 1
        found = {(int(s) // 19, int(s) % 19) for s in starts}
        step = 2 if kernel in ("area", "bicubic") and number == 1 else 1
        assert {i for i, _ in found} == set(range(0, 21 - size + 1, step))
        assert {j for _, j in found} == set(range(0, 19 - size + 1, step))
