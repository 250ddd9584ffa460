"""Import of the libraries of the adapters, and what is said where one is missing."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.test_release import PROJECT

from mrcascade.adapters import libraries
from mrcascade.adapters.libraries import import_deepinv
from mrcascade.errors import MRCascadeError


@pytest.mark.parametrize("library", ["monai", "torchio"])
def test_a_missing_library_is_one_line_with_its_extra(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (library, f"{library}.transforms", f"{library}.data"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"mrcascade.adapters.{library}", raising=False)
    with pytest.raises(MRCascadeError) as error:
        importlib.import_module(f"mrcascade.adapters.{library}")
    assert str(error.value).endswith(f"install it: pip install 'mrcascade[{library}]'")
    assert "\n" not in str(error.value)
    assert library in PROJECT["project"]["optional-dependencies"]


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of packages that only this test can import."""
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("deepinv", "deepinv.sampling", "torchvision"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    before = set(sys.modules)
    yield tmp_path
    libraries._SCHEMAS.clear()
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("deepinv", "torchvision"):
            del sys.modules[name]


def package(folder: Path, code: str) -> None:
    folder.mkdir()
    (folder / "__init__.py").write_text(code)


def test_torchvision_may_lack_its_operators(packages: Path) -> None:
    lacking = (
        "import torch\nif not hasattr(torch.ops.torchvision, 'nms'):\n"
        "    raise RuntimeError('operator torchvision::nms does not exist')\n"
    )
    package(packages / "torchvision", lacking)
    package(packages / "deepinv", "import torchvision")
    package(packages / "deepinv" / "sampling", "DiffPIR = 3")
    assert import_deepinv().sampling.DiffPIR == 3


@pytest.mark.parametrize("fault", ["import nothing_of_this_name", "raise RuntimeError('a\\nb')"])
def test_a_broken_deepinv_is_one_line(packages: Path, fault: str) -> None:
    package(packages / "deepinv", fault)
    with pytest.raises(MRCascadeError, match="deepinv cannot be imported") as error:
        import_deepinv()
    assert "\n" not in str(error.value)
