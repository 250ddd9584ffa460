"""Processes that tests start."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import AnyStr


@contextmanager
def ended(process: subprocess.Popen[AnyStr]) -> Iterator[subprocess.Popen[AnyStr]]:
    """Kill a process that a failed test leaves behind, which `subprocess.Popen` would wait for."""
    with process:
        try:
            yield process
        finally:
            process.kill()
