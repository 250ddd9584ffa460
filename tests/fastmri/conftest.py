"""Fixtures of the fastMRI tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastmri_files import Scan, multicoil


@pytest.fixture
def scan(tmp_path: Path) -> Scan:
    return multicoil(tmp_path / "brain.h5")
