"""Figures in README and docs are those of the files that commands wrote."""

import importlib

import pytest

from tests.conftest import ROOT


def test_gains_are_those_of_the_study(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    tables = importlib.import_module("results_tables")
    means = tables.read_means(ROOT / "docs" / "results.csv")
    assert "\n".join(tables.readme_rows(means)) in (ROOT / "README.md").read_text()
    assert "\n".join(tables.range_lines(means)) in (ROOT / "docs" / "results.md").read_text()
