"""Steps of one level, its validation, its log and the plot."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.quick import slow
from training_data import DENOISER, TINY, assert_same, trainer, volumes

from mrcascade.training import level as level_module
from mrcascade.training import validation
from mrcascade.training.cascade_data import CascadeData
from mrcascade.training.distributed import Processes
from mrcascade.training.draws import StepDraws
from mrcascade.training.level import LevelTrainer
from mrcascade.training.log import best_profile, cut_log, read_log
from mrcascade.training.noise import draw_sigma
from mrcascade.training.patches import Batch
from mrcascade.training.plot import plot_losses
from mrcascade.training.run import train_cascade
from mrcascade.training.slice_cache import write_cache
from mrcascade.training.slices import load_volumes
from mrcascade.training.validation import validate

# ---- steps ----


@pytest.mark.slow
def test_losses_fall(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """60 steps on discs. The kernel's bands are in part a linear function of the condition, so
    even a short run learns to use it."""
    monkeypatch.setattr(validation, "VALIDATION_PATCHES", 16)
    config = replace(TINY, images=960, mean_images=480, kernel="gaussian", rate=0.03)
    config = replace(config, data_condition=False)  # which knows part of such bands
    run = trainer(data, config=config)
    before = validate(run.averaged(0), run.data, 1, config)
    assert before["mean"] == 1  # the zero band
    while run.seen < run.images:
        losses = run.step()
    assert all(math.isfinite(v) for v in losses.values())
    after = validate(run.averaged(0), run.data, 1, config)
    # Found: regression 0.80, s = 3: 0.74 from 0.91, s = 0.8: 0.38 from 0.42. Half of that must be.
    assert after["mean"] < 0.9
    assert after["s3"] < before["s3"] - 0.085
    assert after["s0.8"] < before["s0.8"] - 0.02
    assert after == validate(run.averaged(0), run.data, 1, config)  # fixed patches and noise


def test_validation_starts_at_the_wiener_filter(data: Path) -> None:
    """Where the network is zero, D = x / (1 + s^2): of a band of energy e it leaves, relative to
    e, (s^4 + s^2 / e) / (1 + s^2)^2."""
    run = trainer(data)
    raw = run.data.validation.raw(validation.VALIDATION_PATCHES, np.random.default_rng(0))
    energy = float(np.square(raw[:, 0] / run.data.own.std).mean())
    figures = validate(run.averaged(0), run.data, 1, run.config)
    n = raw[:, 0].size
    for s in validation.VALIDATION_SIGMAS:
        expected = (s**4 + s**2 / energy) / (1 + s**2) ** 2
        # Noise energy is known to sqrt(2 / n); its product with the band adds 2 s^3 sqrt(e / n).
        noise = s**2 * math.sqrt(2 / n) / energy + 2 * s**3 / math.sqrt(n * energy)
        tolerance = 5 * noise / (1 + s**2) ** 2 + 1e-6
        assert figures[f"s{s:g}"] == pytest.approx(expected, abs=tolerance)
    assert figures["mean"] == figures["mean_degraded"] == 1


def test_bfloat16_steps_run_on_the_cpu(data: Path) -> None:
    steps = 3
    found = {}
    for precision in ("float32", "bfloat16"):
        run = trainer(data, config=replace(DENOISER, precision=precision))
        found[precision] = [run.step()["loss"] for _ in range(steps)]
        assert all(p.dtype == torch.float32 for p in run.networks.parameters())
        assert all(p.isfinite().all() for p in run.networks.parameters())
    # The first step starts at zero output, so it is the same up to the float32 loss; then
    # outputs carry a relative error of 2^-8, as their products do.
    assert found["bfloat16"][0] == pytest.approx(found["float32"][0], rel=1e-6)
    assert found["bfloat16"] == pytest.approx(found["float32"], rel=0.02)
    assert found["bfloat16"] != found["float32"]


@pytest.mark.parametrize("microbatch", [slow(1), 3, slow(8), slow(100)])
@pytest.mark.parametrize("stage", [0, 1])
def test_microbatches_have_the_gradient_of_the_batch(
    data: Path, monkeypatch: pytest.MonkeyPatch, microbatch: int, stage: int
) -> None:
    """In double precision, where sums in another order agree to 1e-15 of their terms."""
    original = LevelTrainer._batch

    def doubled(*arguments):
        batch = original(*arguments)
        parts = batch.band, batch.condition, batch.unknown
        return Batch(*(v if v is None else v.to(torch.float64) for v in parts))

    monkeypatch.setattr(LevelTrainer, "_batch", doubled)
    monkeypatch.setattr(level_module, "draw_sigma", lambda *a: draw_sigma(*a).double())
    runs, losses = [], []
    for size in (0, microbatch):
        run = trainer(data, config=replace(TINY, microbatch=size))
        torch.manual_seed(0)
        with torch.no_grad():  # outputs begin at zero, which has no gradient to compare
            for name, parameter in run.networks.named_parameters():
                if name.endswith("gain"):
                    parameter.fill_(0.5)
            run.networks.mean.tail.weight.normal_(std=0.1)
        run.networks.double()
        monkeypatch.setattr(run.ema, "update", lambda *_: None)  # which is in single precision
        run.seen = stage * TINY.mean_images
        losses.append(run.step())
        runs.append(run)
    whole, parts = (dict(run.networks.named_parameters()) for run in runs)
    compared = [name for name, p in whole.items() if p.grad is not None]
    assert len(compared) >= 8
    assert all(name.startswith("mean.") == (stage == 0) for name in compared)
    for name in compared:
        size = whole[name].grad.norm()
        assert size > 0, name
        assert (parts[name].grad - whole[name].grad).norm() < 1e-12 * size, name
    assert losses[1] == pytest.approx(losses[0], rel=1e-12)


def test_a_microbatch_of_the_batch_changes_no_bit(data: Path) -> None:
    runs = [trainer(data, config=replace(TINY, microbatch=m)) for m in (0, TINY.batch)]
    for run in runs:
        run.seen = TINY.mean_images
        run.step()
        run.step()
    assert_same(*(run.networks.state_dict() for run in runs))


def test_gradients_that_are_not_finite_change_nothing(data: Path) -> None:
    run = trainer(data, config=DENOISER)
    run.step()
    before = {k: v.clone() for k, v in run.networks.state_dict().items()}
    run.optimizers[0][0].state.clear()  # Adam without momentum: only this step's gradient counts
    run.networks.unet.out.gain.register_hook(lambda g: torch.full_like(g, math.inf))
    run.networks.unet.stem.weight.register_hook(lambda g: torch.full_like(g, math.nan))
    run.step()
    after = run.networks.state_dict()
    assert torch.equal(after["unet.out.gain"], before["unet.out.gain"])
    assert after["unet.stem.weight"].isfinite().all()
    # Only renormalised in place, to within float32 rounding and EPS.
    torch.testing.assert_close(
        after["unet.stem.weight"], before["unet.stem.weight"], rtol=0.1, atol=0
    )


def test_each_stage_trains_its_own_part(data: Path) -> None:
    run = trainer(data)
    states = [{k: v.clone() for k, v in run.networks.state_dict().items()}]
    for seen in (TINY.mean_images, TINY.images):
        while run.seen < seen:
            losses = run.step()
        assert ("regression" in losses) == (seen == TINY.mean_images)
        states.append({k: v.clone() for k, v in run.networks.state_dict().items()})

    def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
        different = {k for k in before if not torch.equal(before[k], after[k])}
        return {"mean" if k.startswith("mean.") else "denoiser" for k in different}

    assert changed(states[0], states[1]) == {"mean"}
    assert changed(states[1], states[2]) == {"denoiser"}


def test_training_starts_from_given_weights(data: Path) -> None:
    weights = trainer(data, config=replace(TINY, seed=5)).networks.state_dict()
    cascade = CascadeData(load_volumes(data, 4, (2, 4)), TINY)
    run = LevelTrainer(1, TINY, cascade.level(1), Processes("cpu"), weights)
    assert_same(dict(run.networks.state_dict()), dict(weights))
    assert_same(run.ema.parameters(1), {k: weights[k] for k in run.ema.parameters(1)})


def test_averaged_networks_have_the_weights_of_their_profile(data: Path) -> None:
    run = trainer(data, config=DENOISER)
    for _ in range(3):
        run.step()
    before = {k: v.clone() for k, v in run.networks.state_dict().items()}
    for profile in range(2):
        averaged = run.averaged(profile)
        expected = {**before, **run.ema.parameters(profile)}
        assert_same(dict(averaged.state_dict()), expected)
        assert not averaged.training
        assert not torch.equal(expected["unet.out.gain"], before["unet.out.gain"])
    assert_same(dict(run.networks.state_dict()), before)


def test_rates_follow_the_schedule_of_their_stage(data: Path) -> None:
    run = trainer(data)
    for stage, length in ((run.mean_optimizers, 4), (run.optimizers, 6)):
        for number in range(length):
            run.step()
            share = run.config.learning_rate(number / length)
            for optimizer, rate in stage:
                assert [g["lr"] for g in optimizer.param_groups] == [rate * share]
    assert [rate for _, rate in run.mean_optimizers] == [TINY.mean_rate, TINY.mean_rate / 3]
    assert [rate for _, rate in run.optimizers] == [TINY.rate]
    assert run.optimizers[0][0].defaults["betas"] == (0.9, 0.99)


# ---- logs and the plot ----


def test_log_has_losses_and_validation(finished: Path) -> None:
    for number in (1, 3):
        records = read_log(finished / f"level{number}.jsonl")
        assert [r["images"] for r in records] == list(range(16, 80 + 1, 16))
        for record in records:
            regressing = number == 1 and record["images"] <= 32
            losses = {"regression"} if regressing else {"loss", "weighted_error"}
            assert set(record) == {"images", "seconds", "val_ema0.05", "val_ema0.1"} | losses
        noises = [k for k in records[0]["val_ema0.05"] if k.startswith("s")]
        assert noises == ["s0.05", "s0.2", "s0.8", "s3", "s12", "s80"]


def test_log_is_cut_at_the_checkpoint(tmp_path: Path) -> None:
    log = tmp_path / "level1.jsonl"
    log.write_text('{"images": 8}\n{"images": 16}\n{"images": 24}\n{"ima')
    assert [r["images"] for r in read_log(log)] == [8, 16, 24]
    cut_log(log, 16)
    assert log.read_text() == '{"images": 8}\n{"images": 16}\n'
    cut_log(tmp_path / "absent.jsonl", 16)
    assert read_log(tmp_path / "absent.jsonl") == []


def test_best_profile() -> None:
    record = {"val_ema0.05": {"a": 0.5, "b": 0.4}, "val_ema0.1": {"a": 0.3, "b": 0.5}}
    assert best_profile(record, (0.05, 0.1)) == 1
    assert best_profile({"loss": 1.0}, (0.05, 0.1)) == 0


def test_plot_shows_every_level_with_a_log(finished: Path, tmp_path: Path) -> None:
    from matplotlib.image import imread

    assert plot_losses(tmp_path, 3) is None
    heights = []
    for level in (2, 3):
        shutil.copy(finished / f"level{level}.jsonl", tmp_path)
        path = plot_losses(tmp_path, 3)
        assert path == tmp_path / "loss.png"
        heights.append(imread(path).shape[0])
    assert heights[1] == 2 * heights[0]
    assert imread(finished / "loss.png").shape[0] == 3 * heights[0]


@pytest.mark.usefixtures("_no_plot")
def test_run_without_validation_data(tmp_path: Path) -> None:
    write_cache([v for v in volumes() if v.split == "train"], tmp_path / "c.hdf5")
    train_cascade(
        tmp_path / "c.hdf5", tmp_path / "run", replace(TINY, images=8, mean_images=None), levels=[3]
    )
    (record,) = read_log(tmp_path / "run" / "level3.jsonl")
    assert not any(k.startswith("val") for k in record)
    assert plot_losses(tmp_path / "run", 3) == tmp_path / "run" / "loss.png"


def test_the_default_device_has_no_effect(data: Path) -> None:
    """On weights and losses; torch's Adam counts its steps there."""

    def losses() -> list[dict[str, float]]:
        run = trainer(data)
        assert all(p.device.type == "cpu" for p in run.networks.parameters())
        draws = [StepDraws(1, TINY, first, slice(0, TINY.batch)) for first in (0, 40)]
        batch = run._batch(draws[0], 0.5)
        regression = run._regression_loss(batch.band, batch.condition, batch.unknown)[1]
        return [regression, run._diffusion_loss(*run._noisy_batch(draws[1]))[1]]

    expected = losses()
    torch.set_default_device("meta")
    try:
        assert losses() == expected
    finally:
        torch.set_default_device(None)
