"""Figures in README and docs are those of the files that commands wrote."""

import importlib
import json

import pytest

from tests.conftest import ROOT


def test_gains_are_those_of_the_study(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    tables = importlib.import_module("results_tables")
    means = tables.read_means(ROOT / "docs" / "results.csv")
    times = tables.read_benchmark(ROOT / "docs" / "benchmark.json")
    assert "\n".join(tables.readme_rows(means, times)) in (ROOT / "README.md").read_text()
    assert "\n".join(tables.range_lines(means)) in (ROOT / "docs" / "results.md").read_text()


def test_few_steps_are_those_of_the_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    scan = importlib.import_module("few_steps")
    table = json.loads((ROOT / "docs" / "few-steps.json").read_text())
    page = (ROOT / "docs" / "few-steps.md").read_text()
    for lines in (scan.summary(table), scan.per_anatomy(table)):
        assert "\n".join(lines) in page
