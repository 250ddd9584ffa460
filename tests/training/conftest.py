"""Fixtures of the tests of training."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from training_data import TINY, cache, quick

from mrcascade.training import run as run_module


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with quick():
        yield


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slice cache."""
    return cache(tmp_path_factory.mktemp("data") / "slices.hdf5")


@pytest.fixture(scope="session")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of an undisturbed cascade of 6 steps per level. Do not change it."""
    folder = tmp_path_factory.mktemp("run") / "all"
    with quick():
        run_module.train_cascade(data, folder, TINY)
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(finished, tmp_path / "all"))


@pytest.fixture
def _no_plot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than the steps of these tests."""
    monkeypatch.setattr(run_module, "plot_losses", lambda folder, levels: None)
