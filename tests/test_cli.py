"""The command line for its user: exit codes, one-line errors, the documented commands."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from mrcascade import __version__
from mrcascade.cli import main
from mrcascade.cli.computing import resolve_workers
from mrcascade.cli.sharing import sharing_of
from mrcascade.executors import local
from mrcascade.operators import KERNELS


@pytest.fixture
def low(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "low.npy", 100 + rng.normal(size=(16, 16)).astype(np.float32))
    return tmp_path / "low.npy"


def test_a_process_per_gpu_unless_a_number_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    found = [resolve_workers(*args) for args in ((None, "cuda"), (2, "cuda"), (None, "cpu"))]
    assert found == [3, 2, 1]


def test_processes_of_a_batch_fit_into_the_cpu_s_threads_and_memory(monkeypatch) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: 16)
    for gibibytes, expected in ((64, 16), (7, 2), (2, 1)):
        monkeypatch.setattr(local, "whole_memory", lambda _, size=gibibytes: size * 2**30)
        assert resolve_workers(None, "cpu", batch=True) == expected
        assert resolve_workers(5, "cpu", batch=True) == 5
    assert resolve_workers(None, "cpu") == 1


def test_few_files_have_one_process_unless_a_number_is_given(monkeypatch) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)
    words = argparse.Namespace(device="cpu", workers=None, scheduler=None)
    shared = sharing_of(words, "float32", batch=True)
    assert [shared.here(files) for files in (1, 3, 4, 9)] == [True, True, False, False]
    words.workers = 2
    given = sharing_of(words, "float32", batch=True)
    assert [given.here(files) for files in (1, 2)] == [True, False]
    words.workers = None
    assert sharing_of(words, "float32").here(100)


def test_python_dash_m_and_version() -> None:
    command = [sys.executable, "-m", "mrcascade", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"mrcascade {__version__}\n"


def test_help_and_info_do_not_import_torch() -> None:
    """Nor rich, nor the first of them numpy. In one process, as starting one takes longest."""
    code = (
        "import sys\nfrom contextlib import suppress\nfrom mrcascade.cli import main\n"
        "for words in ('--help', '--version', 'sr --help', 'list', 'info mr-small'):\n"
        "    with suppress(SystemExit):\n        main(words.split())\n"
        "    assert words != '--help' or 'numpy' not in sys.modules\n"
        "    assert not {'torch', 'rich', 'shtab', 'matplotlib'} & set(sys.modules), words\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_sr_and_simulate(
    tmp_path: Path, low: Path, prior_folder: Path, capsys: pytest.CaptureFixture
) -> None:
    out = str(tmp_path / "out")
    arguments = ["sr", str(low), "-o", out, "--factor", "4", "--prior", str(prior_folder)]
    arguments += ["--mode", "paper", "--steps", "6", "--samples", "2", "--seed", "0"]
    assert main([*arguments, "--noise", "0", "--device", "cpu", "--batch-size", "1"]) == 0
    printed = capsys.readouterr().out
    assert "relative residual" in printed
    assert printed.splitlines()[-1].endswith("low_desc-sr4x.json")
    result = tmp_path / "out" / "low_desc-sr4x.npy"
    assert np.load(result).shape == (64, 64)
    assert main(["simulate", str(result), "-o", out, "--factor", "2,1", "--kernel", "area"]) == 0
    assert np.load(tmp_path / "out" / "low_desc-low2by1x.npy").shape == (32, 64)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sr", "nowhere.nii.gz", "-o", "OUT", "--factor", "2"], "nowhere.nii.gz"),
        (["sr", "LOW", "-o", "OUT", "--factor", "2", "--prior", "none"], "unknown prior 'none'"),
        (["sr", "LOW", "-o", "OUT", "--factor", "4", "--device", "abacus"], "--device abacus"),
        (["info", "nothing"], "nothing: neither a prior (bundled: mr-small, "),
        (["train", "--data", "nowhere", "-o", "OUT"], "nowhere"),
        (["train", "--data", ".", "-o", "OUT", "--network", "huge"], "unknown network 'huge'"),
        (["train", "--data", ".", "-o", "OUT", "--set", "fun=1"], "--set fun=1: known are"),
        (["train", "--data", ".", "-o", "OUT", "--levels", "fine"], "--levels fine"),
        (["cache", "--data", ".", "-o", "OUT"], "the name of a cache ends in .hdf5"),
    ],
)
def test_errors_are_one_line_and_code_2(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    low: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    places = {"LOW": str(low), "OUT": str(tmp_path / "out"), ".": str(tmp_path)}
    assert main([places.get(a, a) for a in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("mrcascade: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("factor", ["0", "0.5", "two", "2,2,2", "inf", "nan"])
def test_impossible_factors_are_refused_by_the_parser(
    factor: str, low: Path, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["sr", str(low), "-o", "out", "--factor", factor])
    assert stop.value.code == 2
    assert "factor" in capsys.readouterr().err


def test_factor_one_is_refused(
    low: Path, prior_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = ["sr", str(low), "-o", str(tmp_path / "out"), "--factor", "1"]
    assert main([*arguments, "--prior", str(prior_folder)]) == 2
    assert "above 1" in capsys.readouterr().err


def test_info_of_prior_and_image(
    prior_folder: Path, low: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["info", str(prior_folder)]) == 0
    out = capsys.readouterr().out
    assert "magnitude, kernel fourier, 3 levels, factors up to 4" in out
    assert sha256((prior_folder / "prior.json").read_bytes()).hexdigest() in out
    assert main(["info", str(low)]) == 0
    assert "16 x 16 pixels" in capsys.readouterr().out


def test_info_of_a_result_says_how_it_was_made(
    prior_folder: Path, low: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = ["sr", str(low), "-o", str(tmp_path / "out"), "--factor", "2", "--noise", "0.012"]
    arguments += ["--samples", "2", "--mode", "sample", "--steps", "6", "--seed", "7"]
    assert main([*arguments, "--prior", str(prior_folder), "--device", "cpu"]) == 0
    sidecar = tmp_path / "out" / "low_desc-sr2x.json"
    record = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps(record | {"Warnings": ["what to mind"]}))
    expected = [
        "made as: Super-resolved 2x in plane, mode sample, prior random, kernel fourier,"
        f" 2 samples, seed {record['Settings']['Seed']}",
        "made of: low.npy",
        "noise of its input: 1.2 % of the maximum (given)",
    ]
    for name in ("low_desc-sr2x", "low_desc-sr2xsample", "low_desc-sr2xstd"):
        capsys.readouterr()
        assert main(["info", str(tmp_path / "out" / f"{name}.npy")]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith(f"{tmp_path}/out/{name}.npy: npy")
        made = next(n for n, line in enumerate(lines) if line.startswith("made by: mrcascade"))
        assert lines[made + 1 : made + 4] == expected
        assert lines[made + 4].startswith("its residual: ")
        assert lines[-1] == "warning: what to mind"
    assert main(["info", str(low)]) == 0  # an image that has no such sidecar
    assert "made " not in capsys.readouterr().out


def test_kernel_choices_are_those_of_the_table(low: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main(["sr", "--help"])
    assert ", ".join(KERNELS) in " ".join(capsys.readouterr().out.split())
    with pytest.raises(SystemExit) as stop:
        main(["sr", str(low), "-o", "out", "--factor", "2", "--kernel", "sinc"])
    assert stop.value.code == 2
    printed = capsys.readouterr().err
    assert all(name in printed for name in ("sinc", *KERNELS))
