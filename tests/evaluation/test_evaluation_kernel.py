"""A kernel that a user registers is evaluated like any other."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.toy_kernel import TRIANGLE

from mrcascade.cli import main
from mrcascade.operators import KERNELS


def test_a_registered_kernel(
    test_set: Callable[..., Path],
    prior_folder: Path,
    random_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(KERNELS, TRIANGLE.name, TRIANGLE)
    root, output = test_set(("brain/test/s1_x.npy",)), tmp_path / "out"
    arguments = ["evaluate", "--data", root, "-o", output, "--prior", prior_folder, "--noise", "0"]
    arguments += ["--kernel", "triangle", "--factor", "2", "--methods", "zero-fill,bicubic,mean"]
    arguments += ["--lpips-weights", random_weights, "--device", "cpu", "--max-slices", "1"]
    assert main([*map(str, arguments), "--noise-handling", "known"]) == 0
    with (output / "metrics.csv").open(newline="") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert {row["kernel"] for row in rows.values()} == {"triangle"}
    assert float(rows["mean"]["residual"]) < 1e-5
    assert "triangle 2x" in (output / "table.md").read_text()
