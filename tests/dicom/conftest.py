"""Fixtures of the DICOM tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mrcascade.cli import main


@pytest.fixture
def sr(tmp_path: Path, prior_folder: Path) -> Callable[..., int]:
    """`mrcascade sr` with a prior of tiny networks, into tmp_path / "out", noise-free data."""

    def call(*arguments: object) -> int:
        fixed = ["--device", "cpu", "--prior", str(prior_folder), "-o", str(tmp_path / "out")]
        for option, value in (("--factor", "2"), ("--noise", "0")):
            if option not in arguments:
                fixed += [option, value]
        return main(["sr", *map(str, arguments), *fixed])

    return call
