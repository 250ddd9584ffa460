"""Modes: one table of names, the recipe of each, and the default for several samples."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mrcascade import (
    RECIPES,
    CascadePrior,
    MRCascadeError,
    Recipe,
    SeparableOperator,
    super_resolve,
)
from mrcascade.cli import main
from mrcascade.jobs import Request, SuperResolution
from mrcascade.prior.format import BUNDLED, PRIOR_FILE, list_priors, prior_folder, read_document
from mrcascade.recipes.modes import COMPARED, MODES, default_mode
from mrcascade.restore import resolve_settings

T = {"balanced": 24, "sample": 24}


def measured(side: int = 32) -> tuple[np.ndarray, SeparableOperator]:
    image = np.random.default_rng(1).uniform(0, 1, (side, side)).astype(np.float32)
    operator = SeparableOperator.from_kernel("fourier", 2, image.shape)
    return operator(torch.from_numpy(image)).numpy(), operator


def test_every_mode_has_settings_and_a_line() -> None:
    assert list(MODES) == ["mean", "balanced", "sample", "paper"]
    assert list(RECIPES) == [*MODES, *COMPARED]
    for name, about in (MODES | COMPARED).items():
        steps = RECIPES[name].steps
        assert ("T = " in about) == (steps is not None)
        assert steps is None or about.endswith(f"T = {steps}")
        assert steps == T.get(name, None if name == "mean" else 200)
        assert f"{name}: {about}" in (Recipe.__doc__ or "")


def test_help_and_errors_list_the_modes(prior: CascadePrior, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main(["sr", "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert all(f"{name} ({about})" in printed for name, about in MODES.items())
    with pytest.raises(MRCascadeError) as error:
        resolve_settings(prior, "foo")
    assert str(error.value) == (
        "unknown mode 'foo': choose one of mean, balanced, sample, paper"
        f" (for comparison: {', '.join(COMPARED)})"
    )


def test_several_samples_take_the_mode_sample(prior: CascadePrior) -> None:
    assert (default_mode(1), default_mode(2)) == ("mean", "sample")
    assert resolve_settings(prior, None) == RECIPES["mean"]
    assert resolve_settings(prior, None, samples=2) == RECIPES["sample"]
    assert resolve_settings(prior, "sample:observed_zeta=0.3", samples=2).observed_zeta == 0.3
    assert resolve_settings(prior, "paper") == RECIPES["paper"]
    spreading = replace(RECIPES["paper"], observed_zeta=1.0)
    assert resolve_settings(prior, "paper", samples=2) == spreading
    assert resolve_settings(prior, "paper:observed_zeta=0.3", samples=2).observed_zeta == 0.3
    y, operator = measured()
    drawn = super_resolve(y, operator, prior, noise=0.0, steps=3, samples=2)
    named = super_resolve(y, operator, prior, noise=0.0, steps=3, samples=2, mode="sample")
    assert drawn.settings["name"] == "sample"
    assert np.array_equal(drawn.std, named.std)
    for mode in ("mean", "balanced"):
        with pytest.raises(MRCascadeError, match=r"for 2 samples use mode 'sample'$"):
            resolve_settings(prior, mode, samples=2)


def test_the_command_says_which_mode_several_samples_take(
    tmp_path: Path, prior_folder: Path, capsys: pytest.CaptureFixture
) -> None:
    np.save(tmp_path / "a.npy", measured()[0])
    command = ["sr", str(tmp_path / "a.npy"), "--factor", "2", "--noise", "0", "--device", "cpu"]
    command += ["--prior", str(prior_folder), "--overwrite", "-o", str(tmp_path / "out")]
    sidecar = tmp_path / "out" / "a_desc-sr2x.json"
    line = "mode sample, for --samples 2; --mode names another"
    assert main([*command, "--samples", "2", "--steps", "3"]) == 0
    assert line in capsys.readouterr().out.splitlines()
    assert json.loads(sidecar.read_text())["Settings"]["Name"] == "sample"
    assert main([*command, "--samples", "2", "--steps", "3", "--mode", "paper"]) == 0
    assert main(command) == 0
    assert line not in capsys.readouterr().out
    settings = json.loads(sidecar.read_text())["Settings"]
    assert settings["Name"] == "mean"
    assert not settings.keys() & {"Zeta", "Sampler", "Grids", "Spread", "StepSize"}


def test_a_prior_tunes_each_mode_by_its_name(prior: CascadePrior) -> None:
    paper, sample = {"zeta": 0.7, "steps": 100}, {"orientations": 4}
    tuned = replace(prior, sampling={"paper": paper, "sample": sample})
    assert resolve_settings(tuned, "paper") == replace(RECIPES["paper"], **paper)
    assert resolve_settings(tuned, "sample") == replace(RECIPES["sample"], **sample)
    assert resolve_settings(tuned, "balanced") == RECIPES["balanced"]


@pytest.mark.parametrize("name", list_priors())
def test_shipped_priors_fit_every_mode_that_they_tune(prior: CascadePrior, name: str) -> None:
    sampling = read_document(prior_folder(name))["sampling"]
    levels = prior.levels[:1] if sampling.keys() & {"multigrid", "multigrid-pnp"} else prior.levels
    shipped = replace(prior, sampling=sampling, levels=levels)
    for mode in [*sampling, "sample"]:
        assert resolve_settings(shipped, mode).name == mode


def test_settings_without_effect_in_a_prior_are_named(prior: CascadePrior) -> None:
    wrong = replace(prior, sampling={"mean": {"zeta": 0.1}})
    with pytest.raises(MRCascadeError, match=r"'random': 'sampling' in its prior\.json .* zeta"):
        resolve_settings(wrong, "mean")


def test_a_prior_may_be_named(
    prior: CascadePrior, prior_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    y, operator = measured()
    expected = super_resolve(y, operator, prior, noise=0.0).mean
    for named in (prior_folder, str(prior_folder)):
        assert np.array_equal(super_resolve(y, operator, named, noise=0.0).mean, expected)
    shutil.copytree(prior_folder, tmp_path / "bundled")
    monkeypatch.setattr("mrcascade.prior.format.BUNDLED", tmp_path)
    assert np.array_equal(super_resolve(y, operator, "bundled", noise=0.0).mean, expected)
    (tmp_path / "bundled" / "level1.safetensors").unlink()  # what was read is kept
    assert np.array_equal(super_resolve(y, operator, "bundled", noise=0.0).mean, expected)
    with pytest.raises(MRCascadeError, match="unknown prior 'nothing'"):
        super_resolve(y, operator, "nothing")


def test_the_shipped_prior_by_name() -> None:
    if not (BUNDLED / "mr-small" / PRIOR_FILE).is_file():
        pytest.skip("mr-small is not part of this checkout")
    y, operator = measured()
    assert super_resolve(y, operator, "mr-small", noise=0.0).residual.max() < 1e-5


def test_noise_is_estimated_by_default(prior: CascadePrior) -> None:
    y, operator = measured()
    assert super_resolve(y, operator, prior).settings["noise"] > 0.01  # white noise all of it


def test_a_request_names_the_mode_and_what_has_an_effect(prior: CascadePrior) -> None:
    request = Request.of(prior, SuperResolution((2, 2))).document
    assert request["mode"] == "mean"
    assert request["sampler"] == RECIPES["mean"].record(1)
    several = Request.of(prior, SuperResolution((2, 2), samples=2)).document
    assert (several["mode"], several["sampler"]["steps"]) == ("sample", 24)
    assert "spread" in several["sampler"]
    job = SuperResolution((2, 2), mode=Recipe("own", steps=9))
    own = Request.of(prior, job).document
    assert own["mode"] == own["sampler"]["name"] == "own"


def test_results_of_an_earlier_version_count_as_done(
    tmp_path: Path, prior_folder: Path, capsys: pytest.CaptureFixture
) -> None:
    """Their sidecars hold every setting; those without effect are no reason to refuse."""
    np.save(tmp_path / "a.npy", measured()[0])
    command = ["sr", str(tmp_path / "a.npy"), "--factor", "2", "--noise", "0", "--device", "cpu"]
    command += ["--prior", str(prior_folder), "-o", str(tmp_path / "out")]
    sidecar = tmp_path / "out" / "a_desc-sr2x.json"
    assert main(command) == 0
    document = json.loads(sidecar.read_text())
    document["Request"]["sampler"] = {
        **RECIPES["mean"].record(1),
        **{"sampler": "diffpir", "zeta": 0.3, "redistribute": False, "gone": 1},
    }
    sidecar.write_text(json.dumps(document))
    assert main([*command, "--resume"]) == 0
    assert "already done" in capsys.readouterr().out
    for changed in (None, {**document["Request"]["sampler"], "orientations": 2}):
        document["Request"]["sampler"] = changed
        sidecar.write_text(json.dumps(document))
        assert main([*command, "--resume"]) == 2
        assert "come from other sampler; add --overwrite" in capsys.readouterr().err
