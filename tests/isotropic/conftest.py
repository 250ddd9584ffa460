"""Fixtures of the tests of thick slices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mrcascade.cli import main


@pytest.fixture
def sr(tmp_path: Path, prior_folder: Path) -> Callable[..., int]:
    """``mrcascade sr --isotropic`` with a prior of tiny networks, into tmp_path / "out"."""

    def call(*arguments: object) -> int:
        fixed = ["--device", "cpu", "--prior", str(prior_folder), "-o", str(tmp_path / "out")]
        fixed += [] if "--isotropic" in arguments or "--factor" in arguments else ["--isotropic"]
        return main(["sr", *map(str, arguments), *fixed])

    return call
