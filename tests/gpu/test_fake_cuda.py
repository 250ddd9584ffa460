"""All modes in both precisions by the dtype rules of CUDA, without a GPU."""

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
from torch.utils.cpp_extension import include_paths, library_paths

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def guard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled stand-in for CUDA's device guard."""
    if torch.backends.cuda.is_built():
        pytest.skip("this torch has CUDA, whose own guard must not be replaced")
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        pytest.skip("compiling the stand-in for CUDA's device guard needs g++, or $CXX")
    library = tmp_path_factory.mktemp("guard") / "guard.so"
    abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"
    flags = ["-std=c++20", "-shared", "-fPIC", abi, *(f"-I{path}" for path in include_paths())]
    links = [*(f"-L{path}" for path in library_paths()), "-lc10"]
    command = [compiler, *flags, str(HERE / "guard.cpp"), *links, "-o", str(library)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return library


@pytest.mark.slow
def test_every_mode_passes_by_the_rules_of_cuda(guard: Path, tmp_path: Path) -> None:
    done = _run(["-m", "tests.gpu.fake_cuda", str(guard), str(tmp_path)])
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert len(lines) == 2 * (len(CASES) + 3)
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
