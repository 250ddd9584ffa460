"""Meaningless numbers in a prior, a manifest and a training run are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import mrcascade.jobs.memory
from mrcascade.data.folder import read_manifest
from mrcascade.errors import MRCascadeError
from mrcascade.jobs.memory import check_memory, image_bytes
from mrcascade.operators import SeparableOperator
from mrcascade.prior.cascade import CascadePrior, read_prior
from mrcascade.recipes.settings import RECIPES
from mrcascade.restore import make_plan
from mrcascade.training.config import TrainConfig


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("levels", 0, "networks", "unet", "blocks"), 10**9),
        (("levels", 0, "networks", "unet", "attention"), [99]),
        (("levels", 0, "networks", "unet", "stem"), -2),
        (("levels", 0, "file"), "x" * 300),
        (("levels", 0, "file"), "../level1.safetensors"),
        (("levels", 0, "training"), None),
        (("levels", 0, "sigma_max"), float("inf")),
        (("provenance",), []),
        (("levels", 0, "statistics", "std"), "wide"),
        (("channels",), 10**6),
        (("step",), 2**40),
        (("levels",), []),
    ],
)
def test_a_prior_with_numbers_out_of_range(
    tmp_path: Path, prior_folder: Path, place: tuple[Any, ...], value: object
) -> None:
    folder = tmp_path / "p"
    shutil.copytree(prior_folder, folder)
    path = folder / "prior.json"
    document = inside = json.loads(path.read_text())
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = value
    path.write_text(json.dumps(document))
    with pytest.raises(MRCascadeError, match=r"prior\.json: not a valid prior"):
        read_prior(folder)


def test_weights_larger_than_the_networks_are_not_read(tmp_path: Path, prior_folder: Path) -> None:
    folder = tmp_path / "p"
    shutil.copytree(prior_folder, folder)
    with (folder / "level1.safetensors").open("r+b") as file:
        file.truncate(2**40)
    with pytest.raises(MRCascadeError, match="larger than the networks"):
        read_prior(folder)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('[{"file": "a.npy", "effective_matrix": [1e999, 1]}]', "not two whole numbers"),
        ('[{"file": "/etc/passwd"}]', "lies elsewhere"),
        ('[{"file": "../a.npy"}]', "lies elsewhere"),
        ("[" * 100_000, "not a list of objects"),
    ],
)
def test_a_manifest_of_other_things(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(MRCascadeError, match=f"manifest.json: .*{reason}"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [("images", 10**12), ("batch", 10**9), ("patch", 10**9), ("rate", float("nan")), ("seed", -1)],
)
def test_training_settings_out_of_range(name: str, value: float) -> None:
    with pytest.raises(MRCascadeError, match=f"training setting {name} is .* must lie from"):
        TrainConfig(**{name: value})  # type: ignore[arg-type]


def test_results_beyond_all_memory(prior: CascadePrior, monkeypatch: pytest.MonkeyPatch) -> None:
    operator = SeparableOperator.from_kernel("fourier", 2, (64, 64))
    plan = make_plan(prior, operator, 0.0, RECIPES["mean"])
    needed = image_bytes(prior, plan, scores=False)
    assert needed <= image_bytes(prior, plan)
    monkeypatch.setattr(mrcascade.jobs.memory, "whole_memory", lambda device: float(needed))
    check_memory(prior, plan)
    monkeypatch.setattr(mrcascade.jobs.memory, "whole_memory", lambda device: needed - 1.0)
    with pytest.raises(MRCascadeError, match="a result of 64 x 64 pixels needs"):
        check_memory(prior, plan)
