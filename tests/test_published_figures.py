"""Figures in README are those of the files that commands wrote."""

import importlib
import json

import pytest

from tests.conftest import ROOT

DATA = ROOT / "docs" / "evidence" / "data"
README = (ROOT / "README.md").read_text()
WORDS = " ".join(README.split())


def test_gains_and_times_are_those_of_study_and_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    tables = importlib.import_module("results_tables")
    means = tables.read_means(DATA / "in-plane.csv")
    times = tables.read_benchmark(DATA / "benchmark.json")
    assert "\n".join(tables.readme_rows(means, times)) in README


def test_gain_over_single_scale_diffusion_is_that_of_the_scan(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    tables = importlib.import_module("evidence_tables")
    (row,) = (r for r in tables.few_steps_against(DATA) if r.startswith("| `balanced T=24` |"))
    _, _, psnr, lpips, *_ = (cell.strip() for cell in row.split("|"))
    assert f"{psnr} dB and {lpips} % of LPIPS" in WORDS


def test_gain_on_thick_slices_is_that_of_the_evaluation() -> None:
    rows = json.loads((DATA / "isotropic.json").read_text())["volumes"]
    psnr = {row["method"]: row["metrics"]["psnr"]["mean"] for row in rows}
    gain = psnr["mean"] - psnr["lsq"]
    assert f"`mean` gains {gain:.1f} dB over least squares with the slice profile" in WORDS
