"""Evaluation of complex images: their metrics, table columns and simulated phase."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.conftest import write_random_prior

from mrcascade.arrays.phase import with_simulated_phase
from mrcascade.cli import main
from mrcascade.evaluation.ledger import COMPLEX_METRICS, SLICE_COLUMNS
from mrcascade.evaluation.metrics import complex_metrics
from mrcascade.operators import SeparableOperator

NAMES = ("brain/test/s1_x.npy", "brain/test/s2_x.npy")
TestSet = Callable[..., Path]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def command(root: Path, output: Path, prior: Path, *more: str) -> list[str]:
    given = ["evaluate", "--data", str(root), "-o", str(output), "--prior", str(prior)]
    return [*given, "--factor", "2", "--device", "cpu", "--methods", "zero-fill,mean", *more]


@pytest.fixture(scope="module")
def complex_prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_prior(tmp_path_factory.mktemp("complex"), channels=2)


def test_known_complex_errors() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(8, 9)) + 1j * rng.normal(size=(8, 9))
    angle = 0.3
    turned = complex_metrics(truth, truth * np.exp(1j * angle))
    # |1 - exp(i a)|^2 = 4 sin^2(a / 2); float64 sums of 72 terms.
    assert turned["nmse_complex"] == pytest.approx(4 * np.sin(angle / 2) ** 2, rel=1e-12)
    assert turned["phase_error"] == pytest.approx(angle, rel=1e-12)
    longer = complex_metrics(truth, 1.5 * truth)
    assert longer["nmse_complex"] == pytest.approx(0.25, rel=1e-12)
    assert longer["phase_error"] == pytest.approx(0, abs=1e-14)
    # Two pixels of weights 1 and 3, turned by 0.2 and by 2 pi - 0.1.
    pair = complex_metrics(np.array([[1, 3j]]), np.array([[np.exp(0.2j), 5j * np.exp(-0.1j)]]))
    assert pair["phase_error"] == pytest.approx(np.sqrt((0.04 + 3 * 0.01) / 4), rel=1e-12)
    assert set(complex_metrics(np.abs(truth), np.abs(truth)).values()) == {None}


def test_columns_of_complex_data(test_set: TestSet, complex_prior: Path, tmp_path: Path) -> None:
    root, output = test_set(NAMES), tmp_path / "out"
    for name in NAMES:
        image = np.moveaxis(np.load(root / name), -1, 0)
        np.save(root / name, np.moveaxis(with_simulated_phase(image, name, 7), 0, -1))
    assert main(command(root, output, complex_prior)) == 0
    rows = table(output / "metrics.csv")
    assert set(rows[0]) == {*SLICE_COLUMNS, *COMPLEX_METRICS}
    truth = np.moveaxis(np.load(root / NAMES[0]), -1, 0)
    operator = SeparableOperator.from_kernel("fourier", 2, (32, 32))
    filled = operator.pinv(operator(torch.from_numpy(truth))).numpy()
    chosen = [r for r in rows if (r["file"], r["method"]) == (NAMES[0], "zero-fill")]
    for row, x, t in zip(chosen, filled, truth, strict=True):
        for key, value in complex_metrics(t, x).items():
            assert float(row[key]) == pytest.approx(value, rel=1e-5)  # float32 images
        magnitude = np.sum((np.abs(x) - np.abs(t)) ** 2) / np.sum(np.abs(t) ** 2)
        assert float(row["nmse"]) == pytest.approx(magnitude, rel=1e-4)
        assert float(row["nmse_complex"]) > float(row["nmse"])  # triangle inequality
    markdown = (output / "table.md").read_text()
    assert "complex NMSE | phase error (rad)" in markdown
    assert "**Phase:** that of the files" in markdown
    # It goes on where it was: nothing is done twice, the table stays.
    before = (output / "metrics.csv").read_bytes()
    assert main(command(root, output, complex_prior)) == 0
    assert (output / "metrics.csv").read_bytes() == before


@pytest.mark.slow
def test_simulated_phase_is_labelled(
    test_set: TestSet, complex_prior: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, output = test_set(NAMES), tmp_path / "out"
    assert main(command(root, output, complex_prior)) == 2
    assert "has no phase" in capsys.readouterr().err
    assert main(command(root, output, complex_prior, "--simulate-phase")) == 0
    settings = json.loads((output / "evaluation.json").read_text())["settings"]
    assert settings["simulated_phase"] is True
    assert "SIMULATED" in (output / "table.md").read_text()
    assert all(float(r["phase_error"]) > 0 for r in table(output / "metrics.csv"))
    assert main(command(root, output, complex_prior, "--simulate-phase", "--seed", "1")) == 2
    assert "other settings" in capsys.readouterr().err


@pytest.mark.slow
def test_magnitudes_have_no_complex_columns(
    test_set: TestSet, prior_folder: Path, tmp_path: Path
) -> None:
    root, output = test_set(NAMES[:1]), tmp_path / "out"
    assert main(command(root, output, prior_folder)) == 0
    assert tuple(table(output / "metrics.csv")[0]) == SLICE_COLUMNS
    assert "complex" not in (output / "table.md").read_text()
    assert "complex" not in json.loads((output / "evaluation.json").read_text())["settings"]
