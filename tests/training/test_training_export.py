"""From a run folder to a prior, and the command."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.conftest import REGRESSION, SINGLE
from training_data import TINY, checkpoint, volumes

from mrcascade import CascadePrior, MRCascadeError, SeparableOperator, super_resolve
from mrcascade.arrays.intensity import Intensity
from mrcascade.cli import main
from mrcascade.networks import NETWORKS
from mrcascade.training.level import read_checkpoint
from mrcascade.training.log import read_log
from mrcascade.training.run import train_cascade
from mrcascade.training.snapshots import rebuild_profile


def exported(data: Path, run: Path, **settings: Any) -> dict[str, Any]:
    folder = train_cascade(data, run, TINY, resume=True, **settings)
    assert folder == run / "prior"
    return json.loads((folder / "prior.json").read_text())


def assert_weights(run: Path, level: int, weights: dict[str, torch.Tensor]) -> None:
    stored = load_file(run / "prior" / f"level{level}.safetensors")
    for name, value in weights.items():
        assert torch.equal(stored[name], value.half()), name


def test_prior_of_a_run_loads(finished: Path, data: Path) -> None:
    prior = CascadePrior.from_pretrained(finished / "prior")
    assert prior.name == "all"
    assert len(prior.levels) == 3
    for number, level in enumerate(prior.levels, start=1):
        saved = json.loads(checkpoint(finished, number)["statistics"])[0]
        assert vars(level.spec.statistics) == saved
        assert level.spec.training["images"] == TINY.images
        branch = TINY.mean_images if level.conditional else 0
        assert level.spec.training["config"]["mean_images"] == branch
    assert [level.spec.condition_error for level in prior.levels] == [0.95, 0.15, 0.0]
    assert prior.provenance["slices"] == 9
    assert prior.provenance["files"] == ["a/train/x.npy", "b/train/y.npy"]


@pytest.mark.usefixtures("_no_plot")
@pytest.mark.parametrize("best", [0, 1])
def test_profile_that_validates_best_is_exported(data: Path, run: Path, best: int) -> None:
    log = run / "level1.jsonl"
    records = read_log(log)
    worse = f"val_ema{TINY.ema[1 - best]:g}"
    records[-1][worse] = {k: v + 1 for k, v in records[-1][worse].items()}
    log.write_text("".join(json.dumps(r) + "\n" for r in records))
    document = exported(data, run)
    assert document["levels"][0]["training"]["ema"] == TINY.ema[best]
    assert_weights(run, 1, checkpoint(run)["ema"][best])


@pytest.mark.usefixtures("_no_plot")
def test_no_prior_of_a_level_in_the_middle_of_its_run(data: Path, run: Path) -> None:
    """Its checkpoint is there after a minute, be it that another process is at it."""
    shutil.rmtree(run / "prior")
    path = run / "level3.ckpt"
    state = torch.load(path, weights_only=True)
    torch.save(state | {"seen": state["seen"] - TINY.batch}, path)
    assert train_cascade(data, run, TINY, levels=[1, 2], resume=True) is None
    assert not (run / "prior").exists()
    torch.save(state, path)
    assert train_cascade(data, run, TINY, levels=[1, 2], resume=True) == run / "prior"


@pytest.mark.slow
@pytest.mark.usefixtures("_no_plot")
def test_another_profile_is_exported_on_request(data: Path, run: Path) -> None:
    document = exported(data, run, ema_std=0.07)
    for level in (1, 2, 3):
        training = document["levels"][level - 1]["training"]
        assert training["ema"] == 0.07
        figures = read_log(run / f"level{level}.jsonl")[-1]["val_ema0.05"]
        # Close to the profiles that it lies between, and not equal to them.
        assert training["validation"] == pytest.approx(figures, rel=0.2)
        assert_weights(run, level, rebuild_profile(run, level, 0.07))
    assert CascadePrior.from_pretrained(run / "prior").name == "all"


@pytest.mark.usefixtures("_no_plot")
def test_levels_of_different_cascades_are_not_mixed(data: Path, run: Path) -> None:
    stored = checkpoint(run, 2)
    config = json.loads(stored["config"])
    stored["config"] = json.dumps({**config, "kernel": "area"})
    torch.save(stored, run / "level2.ckpt")
    with pytest.raises(MRCascadeError, match=r"made with kernel 'area'.*'fourier'") as error:
        train_cascade(data, run, TINY, levels=[1], resume=True)
    assert str(error.value).startswith(f"{run / 'level2.ckpt'}: ")


@pytest.mark.slow
@pytest.mark.usefixtures("_no_plot")
def test_command(data: Path, tmp_path: Path, capsys) -> None:
    run = tmp_path / "run"
    arguments = ["train", "--data", str(data), "-o", str(run), "--network", "tiny"]
    arguments += ["--images", "24", "--mean-images", "8", "--batch-size", "8", "--set", "patch=32"]
    arguments += ["--set", "coarse_patch=16"]
    assert main([*arguments, "--levels", "2,3"]) == 0
    assert "not fully trained" in capsys.readouterr().out
    assert not (run / "prior").exists()
    assert main([*arguments, "--levels", "1", "--name", "mine"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said.pop(0) == f"reading {data}"
    assert said[0] == (
        "training data: 2 files, 9 slices (a 6, b 3); to validate: 1 file, 3 slices (a 3)"
    )
    assert said[1].startswith("networks 'tiny': ")
    time = r" \(about [\d:]+ \w+\)"
    assert re.fullmatch(
        f"level 1: 8 patches for the regression branch{time}, then 16 patches for the U-Net{time},"
        " each 32 x 32",
        said[3],
    )
    assert re.fullmatch(r"in all about [\d:]+ \w+", said[2])
    ended = r": (regression|loss) \d+\.\d{3}, \d+(\.\d)? patches/s, (8|16) patches in \d+:\d\d"
    assert re.fullmatch("level 1, regression branch" + ended, said[4])
    assert re.fullmatch("level 1, U-Net" + ended, said[5])
    assert said[6:] == [str(run / "prior")]
    assert main(arguments) == 2
    assert "use --resume" in capsys.readouterr().err
    assert main([*arguments, "--resume", "--ema-std", "0.07"]) == 0
    capsys.readouterr()
    assert main([*arguments, "--resume", "--ema-std", "0.5"]) == 2
    assert "EMA profile 0.5" in capsys.readouterr().err
    begin = [*arguments, "--start", str(run / "prior"), "--levels", "3"]
    begin[begin.index("-o") + 1] = str(tmp_path / "tuned")
    assert main(begin) == 0
    config = json.loads(read_checkpoint(tmp_path / "tuned" / "level3.ckpt")["config"])
    assert (config["rate"], config["mean_rate"]) == (0.006, 0.0006)  # lower for a start
    assert main([*begin, "--kernel", "area", "--resume"]) == 2
    assert "made for kernel 'fourier'" in capsys.readouterr().err
    assert main([*begin, "--network", "small", "--resume"]) == 2
    assert "not made of 'small' networks" in capsys.readouterr().err
    assert main([*arguments, "--set", "colour=1"]) == 2
    assert main([*arguments, "--set", "rate=fast"]) == 2
    assert main([*arguments, "--levels", "one"]) == 2
    prior = CascadePrior.from_pretrained(run / "prior")
    assert prior.levels[0].spec.training["ema"] == 0.07
    document = json.loads((run / "prior" / "prior.json").read_text())
    document["sampling"] = {"mean": {"orientations": 4}}  # by hand, and kept
    (run / "prior" / "prior.json").write_text(json.dumps(document))
    assert main([*arguments, "--resume"]) == 0
    assert CascadePrior.from_pretrained(run / "prior").sampling == document["sampling"]
    names = {p.name for p in run.iterdir()}
    assert {"prior", "level1.ckpt", "level1.jsonl", "level1-snapshot-16.safetensors"} <= names
    assert not [n for n in names if n.startswith(".")]


@pytest.mark.usefixtures("_no_plot")
def test_training_starts_from_a_prior(finished: Path, data: Path, tmp_path: Path) -> None:
    """Its weights and its statistics, not those of the new data; its settings; recorded."""
    changed = tmp_path / "changed"
    shutil.copytree(finished / "prior", changed)
    document = json.loads((changed / "prior.json").read_text())
    document["levels"][2]["statistics"]["std"] *= 1.5
    document["sampling"] = {"paper": {"zeta": 0.7}}
    (changed / "prior.json").write_text(json.dumps(document))
    # A rate of zero leaves the weights alone but for EDM2's normalisation of them.
    config = replace(TINY, images=8, mean_images=0, rate=0.0, start=str(changed))
    folder = train_cascade(data, tmp_path / "run", config)
    old, new = CascadePrior.from_pretrained(changed), CascadePrior.from_pretrained(folder)
    assert new.sampling == {"paper": {"zeta": 0.7}}
    for a, b in zip(old.levels, new.levels, strict=True):
        assert a.spec.statistics == b.spec.statistics
        assert b.spec.training["config"]["start"] == str(changed)
        for name, value in a.networks.state_dict().items():
            # Weights are stored with 11 bits, twice here, and the normalisation adds EPS.
            torch.testing.assert_close(b.networks.state_dict()[name], value, rtol=3e-3, atol=1e-4)


@pytest.mark.usefixtures("_no_plot")
def test_folder_of_images_trains_like_its_cache(tmp_path: Path) -> None:
    """The command's usual input: images in folders, one level for a step."""
    for v in volumes():
        path = tmp_path / "data" / v.file
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.moveaxis(v.slices, 0, -1))
    config = replace(TINY, images=8, mean_images=None)
    train_cascade(tmp_path / "data", tmp_path / "run", config, levels=[3])
    assert checkpoint(tmp_path / "run", 3)["seen"] == 8


@pytest.fixture
def measurement() -> tuple[np.ndarray, SeparableOperator]:
    """4x, and the operator of a 48 x 64 image."""
    y = np.random.default_rng(0).random((12, 16)).astype(np.float32)
    return y, SeparableOperator.from_kernel("fourier", 4, (48, 64))


@pytest.mark.usefixtures("_no_plot")
def test_one_level_is_single_scale_sampling(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measurement
) -> None:
    y, operator = measurement
    monkeypatch.setitem(NETWORKS, "one", SINGLE)
    config = replace(TINY, network="one", images=8, mean_images=None)
    prior = CascadePrior.from_pretrained(train_cascade(data, tmp_path / "run", config))
    assert (len(prior.levels), prior.step, prior.maximum_factor) == (1, 2, 4)
    draw = super_resolve(y, operator, prior, noise=0.0, mode="paper", steps=3)
    assert draw.evaluations == {1: 3}
    assert super_resolve(y, operator, prior, noise=0.0).evaluations == {1: 0}
    # float32 sums of a few dozen terms and sampling noise a few times larger than y
    assert draw.residual.max() < 1e-5


@pytest.mark.usefixtures("_no_plot")
def test_regression_network_for_4x(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measurement, capsys
) -> None:
    y, operator = measurement
    monkeypatch.setitem(NETWORKS, "4x", REGRESSION)
    config = replace(TINY, network="4x", images=16, mean_images=None)
    folder = train_cascade(data, tmp_path / "run", config)
    assert (checkpoint(tmp_path / "run")["seen"], checkpoint(tmp_path / "run", 2)["seen"]) == (
        16,
        0,
    )
    assert not read_log(tmp_path / "run" / "level2.jsonl")
    prior = CascadePrior.from_pretrained(folder)
    assert (prior.step, prior.maximum_factor, prior.generative) == (4, 4, False)
    # The band of the whole factor, added to the zero-filled image.
    level, up = prior.levels[0], operator.pinv(torch.from_numpy(y))
    band = level.condition(up[None, None]).mean()
    result = super_resolve(y, operator, prior, noise=0.0, intensity=Intensity(1.0))
    expected = operator.project(up + band[0, 0], torch.from_numpy(y))
    # float32 sums of a few dozen terms of order one
    np.testing.assert_allclose(result.mean, expected, atol=1e-5)
    assert np.abs(result.mean - up.numpy()).max() > 1e-3
    assert result.evaluations == {1: 1, 2: 0}
    with pytest.raises(MRCascadeError, match="regression network and has no samples"):
        super_resolve(y, operator, prior, mode="paper")
    assert main(["info", str(folder)]) == 0
    assert "level 1: band std" in (out := capsys.readouterr().out)
    assert "no network" in out
