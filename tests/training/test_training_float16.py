"""Training in float16, whose gradients are scaled so that small ones are not lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_data import DENOISER, TINY, assert_same, trainer

from mrcascade.training.level import LevelTrainer

HALF = replace(DENOISER, precision="float16")
ROUNDING = 2.0**-11  # relative error of a float16


def with_scale(data: Path, scale: float) -> LevelTrainer:
    run = trainer(data, config=HALF)
    run.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    with torch.no_grad():  # outputs begin at zero, which lets no gradient pass
        run.networks.unet.out.gain.fill_(0.5)
    return run


@pytest.mark.parametrize("config", [TINY, DENOISER])
def test_steps_are_those_of_float32(data: Path, config: object) -> None:
    """Losses of both stages, from outputs that begin at zero."""
    found = {}
    for precision in ("float32", "float16"):
        run = trainer(data, config=replace(config, precision=precision))
        found[precision] = [next(iter(run.step().values())) for _ in range(4)]
        assert all(p.dtype == torch.float32 for p in run.networks.parameters())
    assert found["float16"][0] == pytest.approx(found["float32"][0], rel=1e-6)
    # A few products one after another, each with the rounding of float16.
    assert found["float16"] == pytest.approx(found["float32"], rel=8 * ROUNDING)
    assert found["float16"] != found["float32"]


def test_scaled_gradients_are_those_of_float32(data: Path) -> None:
    """Products on the way through the network round to float16, 30 in a row at most."""

    def gradient(run: LevelTrainer) -> torch.Tensor:
        with torch.no_grad():
            run.networks.unet.out.gain.fill_(0.5)
        run.step()
        found = [p.grad for p in run.networks.unet.parameters() if p.grad is not None]
        return torch.cat([g.flatten() for g in found])

    expected = gradient(trainer(data, config=DENOISER))

    def error(scale: float) -> float:
        return float((gradient(with_scale(data, scale)) - expected).norm() / expected.norm())

    assert error(2.0**10) < 30 * ROUNDING
    assert error(2.0**-16) > 0.5  # most are then below 6e-8, the least float16


def test_a_gradient_that_overflows_takes_no_step(data: Path) -> None:
    run = with_scale(data, 2.0**10)
    run.step()
    before = {k: v.clone() for k, v in run.networks.state_dict().items()}
    momenta = run.optimizers[0][0].state_dict()["state"][0]["exp_avg"].clone()
    run.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    run.step()
    # Weights were only normalised, to within float32 rounding and EPS.
    for name, weight in run.networks.state_dict().items():
        torch.testing.assert_close(weight, before[name], rtol=0.1, atol=0)
    assert torch.equal(run.networks.unet.out.gain, before["unet.out.gain"])
    assert torch.equal(run.optimizers[0][0].state_dict()["state"][0]["exp_avg"], momenta)
    assert run.scaler.get_scale() == 2.0**39
    assert run.seen == 2 * TINY.batch
    run.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    run.step()
    assert not torch.equal(run.networks.unet.out.gain, before["unet.out.gain"])
    assert all(p.isfinite().all() for p in run.networks.parameters())


def test_the_scale_is_resumed(data: Path, tmp_path: Path) -> None:
    runs = [with_scale(data, 2.0**30), trainer(data, config=HALF)]
    for _ in range(2):
        runs[0].step()
    runs[0].save(tmp_path / "level1.ckpt")
    runs[1].load(tmp_path / "level1.ckpt")
    assert runs[1].scaler.get_scale() == runs[0].scaler.get_scale() != 2.0**16
    for run in runs:
        run.step()
    assert_same(*(run.networks.state_dict() for run in runs))
