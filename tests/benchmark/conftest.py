"""Random priors of all kinds that a benchmark runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import SINGLE, write_random_prior


@pytest.fixture(scope="session")
def baselines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("baselines")
    write_random_prior(folder / "single-scale", cascade=SINGLE)
    return folder
