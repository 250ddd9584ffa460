"""The scan of network shapes: equal budgets, one trainer, finished shapes stay."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import ROOT
from training_data import cache, trainer

from mrcascade import MRCascadeError
from mrcascade.networks import (
    NETWORKS,
    LevelConfig,
    MeanConfig,
    UNetConfig,
    config,
    network_preset,
)
from mrcascade.networks.unet import parameter_count
from mrcascade.prior.cascade import read_prior
from mrcascade.training.config import TrainConfig
from mrcascade.training.validation import validate

Run = Callable[..., dict[str, Any]]
PRESET = "batch=2,patch=16,coarse_patch=16,coarser_copies=0"
BUDGET = 0.03  # seconds
SETTINGS = TrainConfig(batch=2, patch=16, coarse_patch=16, coarser_copies=0)


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cache(tmp_path_factory.mktemp("slices") / "slices.hdf5")


@pytest.fixture
def scan(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("network_scan")


@pytest.fixture
def run_scan(scan: Any, slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command and returns its two documents."""

    def run(*words: str) -> dict[str, Any]:
        # Each run of the command is a process of its own, with its own table of networks.
        monkeypatch.setattr(config, "NETWORKS", dict(NETWORKS))
        words = ("--data", str(slices), "--network", "tiny", "--set", PRESET, *words)
        words = ("--seconds", str(BUDGET), "--rounds", "1", "--patches", "3", *words)
        monkeypatch.setattr(sys, "argv", ["network_scan.py", *words, "-o", str(tmp_path)])
        scan.main()
        files = [f for f in (tmp_path / "plan.json", tmp_path / "scan.json") if f.exists()]
        return {file.stem: json.loads(file.read_text()) for file in files}

    return run


def test_shapes_replace_one_network(scan: Any) -> None:
    level = network_preset("xs").levels[1]
    branch = LevelConfig(None, MeanConfig(32, 5, 4))
    assert scan.shaped(level, "32x5s4", "branch") == branch
    wide = replace(level, unet=UNetConfig(48, (1, 2, 3), 1, (), 1))
    assert scan.shaped(level, "48x1s1", "unet") == wide
    deep = replace(level, unet=UNetConfig(48, (1, 2, 4, 4), 1, (), 2))
    assert scan.shaped(level, "48x1s2m1-2-4-4", "unet") == deep
    for shape, stage in (("48x1", "unet"), ("8x1s2m1-2", "branch"), ("9999x1s2", "branch")):
        with pytest.raises(MRCascadeError, match=f"shape '{shape}'"):
            scan.shaped(level, shape, stage)
    with pytest.raises(MRCascadeError, match="no such network"):
        scan.shaped(network_preset("xs").levels[2], "8x1s2", "branch")


def test_each_shape_trains_for_its_budget(run_scan: Run, slices: Path) -> None:
    written = run_scan("--shapes", "4x1s2,6x2s1")
    plan, found = written["plan"]["shapes"], written["scan"]["shapes"]
    for shape, told in plan.items():
        assert told["patches"] == max(round(BUDGET / told["step"]), 1) * 2
        assert found[shape]["patches"] == told["patches"]
    # Figures are those of a plain training of that length, whose rate falls to zero at its end.
    length = plan["6x2s1"]["patches"]
    trained = trainer(slices, 1, replace(SETTINGS, network="tiny-6x2s1", images=length))
    assert trained.stages == (length, 0)
    while trained.seen < length:
        trained.step()
    own = [validate(trained.averaged(i), trained.data, 1, trained.config, 3) for i in (0, 1)]
    expected = min(own, key=lambda errors: sum(errors.values()))
    assert found["6x2s1"]["validation"] == expected
    assert found["6x2s1"]["weights"] == parameter_count(trained.networks)


@pytest.mark.slow
def test_a_trained_shape_stays(scan: Any, run_scan: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    before = run_scan("--shapes", "4x1s2,6x1s2", "--only", "4x1s2")["scan"]["shapes"]
    after = run_scan("--shapes", "4x1s2,6x1s2")
    assert before == {"4x1s2": after["scan"]["shapes"]["4x1s2"]}
    assert list(after["scan"]["shapes"]) == ["4x1s2", "6x1s2"]
    monkeypatch.setattr(scan, "train_level", None)
    assert run_scan("--shapes", "4x1s2,6x1s2") == after
    with pytest.raises(MRCascadeError, match="made with another --seconds"):
        run_scan("--shapes", "4x1s2", "--seconds", "0.2")


@pytest.mark.slow
def test_later_shapes_are_timed_against_the_first(
    scan: Any, run_scan: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine is three times as slow when the second command runs."""
    monkeypatch.setattr(scan, "train", lambda *_: None)
    monkeypatch.setattr(scan, "report", lambda *_: None)
    for slow, shapes in ((1.0, "4x1s2"), (3.0, "4x1s2,6x1s2")):
        times = {"4x1s2": slow * 0.005, "6x1s2": slow * 0.01}
        monkeypatch.setattr(scan, "timed", lambda *_, t=times: (t, t))
        plan = run_scan("--shapes", shapes)["plan"]["shapes"]
    assert plan["6x1s2"] == pytest.approx({"step": 0.01, "evaluation": 0.01, "patches": 6})


@pytest.mark.slow
def test_u_nets_share_a_trained_branch(
    scan: Any, run_scan: Run, prior_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(scan, "train_level", lambda trainer, *_, **__: seen.append(trainer))
    shapes = ("--shapes", "8x1s2,4x1s2m1-2-2")
    run_scan("--stage", "unet", "--branch", str(prior_folder), *shapes)
    prior, weights = read_prior(str(prior_folder))
    for trained, multipliers in zip(seen, ((1, 2), (1, 2, 2)), strict=True):
        assert trained.networks.unet.config.multipliers == multipliers
        assert trained.data.own == prior.levels[0].spec.statistics
        assert trained.stages[0] == 0
        body = {k: v for k, v in weights[0].items() if k.startswith("mean.body")}
        for held in (trained.networks.state_dict(), trained.ema.parameters(0)):
            assert all(torch.equal(held[k], v) for k, v in body.items())
