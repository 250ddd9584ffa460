"""`list`, `doctor` and `completion`: what there is to choose from, and whether it works here."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from mrcascade.benchmark.table import read_benchmark
from mrcascade.cli import build_parser, doctor, main
from mrcascade.errors import MRCascadeError
from mrcascade.operators import SeparableOperator
from mrcascade.prior.format import list_priors, prior_folder, verify_weights
from mrcascade.recipes.modes import MODES, TABLE
from tests.conftest import ROOT


def test_list_names_what_there_is(capsys) -> None:
    assert main(["list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [prior["name"] for prior in found["priors"]] == list_priors()
    assert [prior["name"] for prior in found["priors"] if prior["default"]] == ["mr-small"]
    (default,) = (prior for prior in found["priors"] if prior["default"])
    facts = json.loads((prior_folder("mr-small") / "facts.json").read_text())
    trained = {a["anatomy"]: a["subjects"] for a in facts["data"]["train"]["anatomies"]}
    assert default["people"] == trained
    beside = json.loads((prior_folder("mr-small") / "slices" / "facts.json").read_text())
    assert default["bytes"] == facts["prior"]["bytes"] + beside["prior"]["bytes"]
    assert default["domain_score"] is True
    assert [mode["name"] for mode in found["modes"]] == [*MODES, "lsq"]
    steps = {mode["name"]: mode["steps"] for mode in found["modes"]}
    assert steps == {"mean": None, "balanced": 24, "sample": 24, "paper": 200, "lsq": None}
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in (*list_priors(), *MODES))
    assert f"{trained['brain']} brain" in printed


def test_costs_are_those_of_the_benchmark() -> None:
    """To two digits, as the table of modes states them."""
    (path,) = ROOT.joinpath("docs").rglob("benchmark.json")
    document = read_benchmark(path)
    assert document is not None
    flop = {r["mode"]: r["gflop"] for r in document["results"] if r["batch"] == 1}
    for name in MODES:
        assert TABLE[name].cost == float(f"{flop[name] / flop['mean']:.2g}")


def test_a_machine_that_is_ready(capsys) -> None:
    assert main(["doctor", "--device", "cpu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["usable"] is True
    names = [check["name"] for check in found["checks"]]
    assert names[:2] == ["mrcascade", "python"]
    assert names[-2:] == ["weights", "self-test"]
    assert {"demo", "distributed", "hub", "trackers"} <= found["extras"].keys()
    assert not found["extras"].keys() & {"test", "docs"}


def test_the_grating_has_a_known_measurement() -> None:
    operator = SeparableOperator.from_kernel("fourier", 2, (64, 64))
    np.testing.assert_allclose(operator @ doctor._grating(64), doctor._grating(32), atol=1e-6)


def test_a_machine_that_is_not(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(doctor, "_restored", lambda device: "not run here")
    monkeypatch.setattr(doctor, "_LEAST_DISK", 2**80)
    assert main(["doctor", "--device", "abacus"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "not usable: device, precision, disk space"
    (device,) = (line for line in lines if line.startswith("device: "))
    assert device == "device: FAILED, --device abacus: not usable here; try --device cpu"


def test_a_wrong_answer_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = doctor._grating
    monkeypatch.setattr(doctor, "_grating", lambda side: right(side) * (1 + 1e-3 * (side == 32)))
    check = doctor._checked("self-test", lambda: doctor._restored("cpu"))
    assert not check.ok
    assert "a known image is missed by 1.5e-03 in its measurement" in check.found


def test_weights_that_changed_are_seen(tmp_path: Path, prior_folder: Path) -> None:
    copy = tmp_path / "prior"
    shutil.copytree(prior_folder, copy)
    assert verify_weights(copy) == sum(p.stat().st_size for p in copy.glob("*.safetensors"))
    with (copy / "level1.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    with pytest.raises(MRCascadeError, match=r"level1.safetensors: missing, or not the file"):
        verify_weights(copy)


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_commands_options_and_names(shell: str, capsys) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for word in ("sr", "doctor", "--isotropic", "mr-small-complex", "balanced"):
        assert word.lstrip("-") in script
    assert build_parser().parse_args(["completion", shell]).shell == shell


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_completes(capsys) -> None:
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    ask = script + (
        "\nCOMP_WORDS=(mrcascade sr --prior mr-small-c); COMP_CWORD=3\n"
        '_shtab_mrcascade\necho "found:${COMPREPLY[*]}"\n'
    )
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "found:mr-small-complex", done.stderr
