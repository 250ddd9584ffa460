"""All modes in both precisions by CUDA's rules, without a GPU: which types meet, and where."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.conftest import ROOT
from tests.gpu.fake_cuda import CASES

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def guard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled stand-in for CUDA's device guard."""
    if torch.backends.cuda.is_built():
        pytest.skip("this torch has CUDA, whose own guard must not be replaced")
    if not (shutil.which("ninja") and (shutil.which("g++") or os.environ.get("CXX"))):
        pytest.skip("compiling the stand-in for CUDA's device guard needs ninja and g++")
    folder = tmp_path_factory.mktemp("guard")
    code = (
        "import sys; from torch.utils.cpp_extension import load;"
        "load('guard', [sys.argv[1]], build_directory=sys.argv[2], is_python_module=False)"
    )
    built = _run(["-c", code, str(HERE / "guard.cpp"), str(folder)])
    library = folder / "guard.so"
    if built.returncode or not library.exists():
        pytest.skip(f"the stand-in for CUDA's device guard cannot be compiled: {built.stderr}")
    return library


@pytest.mark.slow
def test_every_mode_passes_by_the_rules_of_cuda(guard: Path, tmp_path: Path) -> None:
    done = _run(["-m", "tests.gpu.fake_cuda", str(guard), str(tmp_path)])
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert len(lines) == 2 * (len(CASES) + 2)
    assert [line for line in lines if not re.fullmatch(r".+: passed", line)] == []


def _run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )
