"""A hub and a cache of its own for every test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import Hub, running_hub
from huggingface_hub import constants


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub without repositories, and an empty cache."""
    with running_hub() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        place = server.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", place)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setenv("HF_TOKEN", "hf_of_the_test")
        yield server


@pytest.fixture
def files(prior_folder: Path) -> dict[str, bytes]:
    """The files of a prior."""
    return {path.name: path.read_bytes() for path in prior_folder.iterdir()}
