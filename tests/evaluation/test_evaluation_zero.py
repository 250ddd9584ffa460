"""Evaluations of images whose value of no signal is not 0."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mrcascade.cli import main

EXACT = ("psnr_slice", "psnr_volmax", "ssim_slice", "ssim_volmax", "nmse")


@pytest.mark.slow
@pytest.mark.parametrize("offset", [-1024.0, 3000.0])
def test_an_offset_changes_no_figure(
    tmp_path: Path, prior_folder: Path, test_set: Callable[..., Path], offset: float
) -> None:
    """Float32 drops up to 2^-13 of values near 2,000, a part in a million of the range."""
    data = test_set(("brain/test/a.npy",))
    rows, about = {}, {}
    for name in ("plain", "moved"):
        output = tmp_path / name
        command = ["evaluate", "--data", str(data), "-o", str(output), "--factor", "2"]
        command += ["--methods", "zero-fill,bicubic,mean", "--prior", str(prior_folder)]
        assert main([*command, "--device", "cpu", "--noise-handling", "known"]) == 0
        with next(output.glob("*.csv")).open() as stream:
            rows[name] = list(csv.DictReader(stream))
        about[name] = json.loads((output / "evaluation.json").read_text())
        file = data / "brain/test/a.npy"
        np.save(file, np.load(file) + np.float32(offset))
    for plain, moved in zip(rows["plain"], rows["moved"], strict=True):
        for key in EXACT:
            assert float(moved[key]) == pytest.approx(float(plain[key]), rel=2e-3)
    assert '"zero"' not in json.dumps(about["plain"])
    assert json.dumps({"zero": {"brain/test/a.npy": offset}})[1:-1] in json.dumps(about["moved"])
