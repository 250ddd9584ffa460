"""Fixtures of the BIDS tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from bids_dataset import dataset

from mrcascade.cli import main


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset that no test changes."""
    return dataset(tmp_path_factory.mktemp("bids") / "raw")


@pytest.fixture
def sr(tmp_path: Path, prior_folder: Path) -> Callable[..., int]:
    """``mrcascade sr`` into the folder ``out`` below tmp_path; the exit code."""
    fixed = ["--factor", "2", "--noise", "0", "--device", "cpu", "--prior", str(prior_folder)]

    def call(*arguments: object, output: str = "out") -> int:
        return main(["sr", *map(str, arguments), "-o", str(tmp_path / output), *fixed])

    return call
