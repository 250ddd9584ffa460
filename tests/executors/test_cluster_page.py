"""The page on clusters: its arithmetic, and the job of its SLURM example."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import ROOT


@pytest.fixture
def arithmetic(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("cluster_arithmetic")


def test_the_page_has_the_tables_of_its_command(arithmetic) -> None:
    (page,) = (ROOT / "docs").rglob("clusters.md")
    text = page.read_text()
    assert arithmetic.with_tables(text, arithmetic.tables(arithmetic.arguments([]))) == text


def test_work_per_patch_is_found_from_runs(arithmetic) -> None:
    """Runs of 2 PFLOP per branch patch and 3 per U-Net patch; the second is the fastest."""
    common = {"level": 1, "hardware": "a CPU"}
    runs = [
        common | {"branch_patches": 1, "unet_patches": 1, "petaflop": 5, "seconds": 5},
        common | {"branch_patches": 2, "unet_patches": 0, "petaflop": 4, "seconds": 2},
        common | {"branch_patches": 0, "unet_patches": 0, "petaflop": 0, "seconds": 0},
    ]
    (level,) = arithmetic.levels_of(runs)
    np.testing.assert_allclose([level.branch, level.unet, level.rate], [2, 3, 2], rtol=1e-12)
    options = arithmetic.arguments(["--teraflops", "10"])
    assert arithmetic.gpu_hours(36.0, options) == pytest.approx(1.0)


def test_the_example_makes_a_job_with_one_gpu(tmp_path: Path) -> None:
    pytest.importorskip("dask_jobqueue", reason="pip install dask-jobqueue")
    command = [sys.executable, str(ROOT / "examples" / "slurm_cluster.py"), "--show"]
    command += ["--partition", "gpu", "--gpus", "1", "--threads", "4"]
    # dask-jobqueue makes a folder for logs where it runs.
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    script = done.stdout
    for line in ("-p gpu", "--cpus-per-task=4", "--gres=gpu:1", "--requeue", "-t 04:00:00"):
        assert f"#SBATCH {line}\n" in script
    assert "--nthreads 4 " in script
