"""Fixtures of the fastMRI tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fastmri_files import Scan, multicoil
from tests.conftest import write_random_prior

from mrcascade.cli import main


@pytest.fixture
def scan(tmp_path: Path) -> Scan:
    return multicoil(tmp_path / "brain.h5")


@pytest.fixture(scope="session")
def complex_prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_prior(tmp_path_factory.mktemp("complex"), channels=2)


@pytest.fixture
def sr(tmp_path: Path, prior_folder: Path) -> Callable[..., int]:
    """`mrcascade sr` by 2 with a prior of tiny networks, into tmp_path / "out"; noise-free data."""

    def call(*arguments: object, prior: Path = prior_folder) -> int:
        fixed = ["--device", "cpu", "--prior", prior, "-o", tmp_path / "out", "--noise", "0"]
        return main(["sr", *map(str, [*arguments, "--factor", "2", *fixed])])

    return call
