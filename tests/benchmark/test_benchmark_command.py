"""The command: its table, its file, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mrcascade.benchmark import peak
from mrcascade.benchmark.peak import Workload
from mrcascade.benchmark.table import (
    benchmark_table,
    describe_machine,
    describe_task,
    read_benchmark,
)
from mrcascade.cli import main

DOCUMENT = {
    "machine": {
        "processor": "1 CPU thread (Abacus)",
        "precision": "bfloat16",
        "compiled": True,
        "torch": "2.9",
        "peak_gflops": 123.4,
    },
    "settings": {"factor": [4.0, 2.0], "kernel": "fourier", "noise": 0.01, "rounds": 1},
    "results": [
        {
            "mode": "mean",
            "batch": 1,
            "size": 64,
            "steps": None,
            "timed_steps": None,
            "seconds_per_slice": 0.25,
            "nfe": 6,
            "gflop": 58.66,
            "share_of_peak": 0.41,
            "outside_networks": 0.052,
            "first_slice_seconds": 0.31,
        },
        {
            "mode": "mean",
            "batch": 8,
            "size": 64,
            "steps": None,
            "timed_steps": None,
            "seconds_per_slice": 0.2,
            "nfe": 6,
            "gflop": 58.66,
            "share_of_peak": 0.5,
            "outside_networks": 0.03,
            "first_slice_seconds": 0.31,
        },
        {
            "mode": "dps",
            "batch": 1,
            "size": 64,
            "steps": 200,
            "timed_steps": 12,
            "seconds_per_slice": 31.4,
            "nfe": 200,
            "gflop": 1976.0,
            "share_of_peak": None,
            "outside_networks": None,
            "first_slice_seconds": 32.0,
        },
    ],
}
TABLE = """\
| mode | batch | s / slice | first slice | evaluations | GFLOP | of peak | outside |
| ---- | ----: | --------: | ----------: | ----------: | ----: | ------: | ------: |
| mean |     1 |      0.25 |        0.31 |           6 | 58.66 |    41 % |   5.2 % |
| mean |     8 |       0.2 |             |           6 | 58.66 |    50 % |     3 % |
| dps  |     1 |     31.4* |          32 |         200 |  1976 |       - |       - |
"""


def test_the_table() -> None:
    lines = benchmark_table(DOCUMENT)
    assert "\n".join(lines).startswith(TABLE)
    assert lines[-1].startswith("* timed with fewer steps")
    whole = {**DOCUMENT, "results": DOCUMENT["results"][:2]}
    assert not any("*" in line for line in benchmark_table(whole))


def test_the_head_of_the_table() -> None:
    machine = "1 CPU thread (Abacus), bfloat16, compiled, torch 2.9, peak 123.4 GFLOP/s"
    assert describe_machine(DOCUMENT) == machine
    assert describe_task(DOCUMENT) == "4x2x to 64 x 64 (fourier, noise 0.01), one round"


@pytest.fixture
def command(prior_folder: Path, baselines: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(peak, "CPU_WORKLOAD", Workload(32, 1, 8, 32))
    words = ["benchmark", "--size", "32", "--mode", "mean", "--prior", str(prior_folder)]
    return [*words, "--baselines", str(baselines), "--device", "cpu", "--batch-size", "2"]


def test_table_and_file(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "new" / "b.json"
    again = [*command, "--mode", "paper,diffpir", "--steps", "12", "--repeats", "2"]
    assert main([*again, "-o", str(path)]) == 0
    printed = capsys.readouterr().out
    document = read_benchmark(path)
    assert document is not None
    assert [r["mode"] for r in document["results"]] == ["mean", "paper", "diffpir"]
    assert {r["batch"] for r in document["results"]} == {2}
    assert document["settings"]["rounds"] == 2
    assert printed.splitlines()[-1] == str(path)
    assert "\n".join(benchmark_table(document)) in printed
    assert describe_machine(document) in printed
    assert [p.name for p in path.parent.iterdir()] == ["b.json"]

    kept = path.read_bytes()
    assert main([*command, "-o", str(path)]) == 2
    assert "already exists" in capsys.readouterr().err
    assert path.read_bytes() == kept
    assert main([*command, "-o", str(path), "--overwrite"]) == 0
    assert len(json.loads(path.read_text())["results"]) == 1


def test_without_a_file(
    command: list[str], tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(command) == 0
    assert "| mean |" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_only_a_benchmark_is_replaced(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """A sidecar is a JSON file of mrcascade, too."""
    path = tmp_path / "t2_desc-sr4x.json"
    for content in ({"mine": 1}, {"Software": [{"Name": "mrcascade"}], "Files": {}}):
        path.write_text(json.dumps(content))
        assert main([*command, "-o", str(path), "--overwrite"]) == 2
        assert "is not known as a file of mrcascade" in capsys.readouterr().err
        assert json.loads(path.read_text()) == content


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--size", "30"], "size 30 is not divided by factor 4"),
        (["--size", "16"], "needs at least 32 pixels"),
        (["--factor", "8"], "factor 8 is larger than prior"),
        (["--factor", "1"], "above 1"),
        (["--threads", "100000"], "--threads 100000: this machine has"),
        (["--device", "abacus"], "--device abacus"),
        (["--prior", "none"], "unknown prior 'none'"),
        (["--mode", "fun"], "unknown method 'fun'"),
        (["-o", "b.csv"], "b.csv: the name of a benchmark ends in .json"),
    ],
)
def test_refusals_are_one_line(
    words: list[str], message: str, command: list[str], tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*command, *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["--batch-size", "0"], ["--batch-size", "1,"], ["--size", "0"]])
def test_the_parser_refuses(words: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["benchmark", *words])
    assert stop.value.code == 2
    assert words[0] in capsys.readouterr().err
