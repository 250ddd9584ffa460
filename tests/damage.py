"""What is asked of any reader whose file is damaged."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from mrcascade.errors import MRCascadeError
from mrcascade.io import Image, read_image

SECONDS = 5  # per file; they take milliseconds


def cut(raw: bytearray, rng: np.random.Generator) -> bytes:
    return bytes(raw[: rng.integers(len(raw))])


@contextmanager
def limited_time() -> Iterator[None]:
    def late(*_: object) -> None:
        raise AssertionError("hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def read_or_refused(
    path: Path, capfd: pytest.CaptureFixture, complex_valued: bool = False
) -> Image | None:
    """The image, or None after a proper error."""
    before = path.read_bytes()
    try:
        with limited_time():
            return read_image(path, complex_valued)
    except MRCascadeError as error:
        message = str(error)
        assert message.isprintable()
        assert str(path) in message
        assert ";" in message  # what is wrong; what to do
        return None
    finally:
        assert path.read_bytes() == before
        assert list(path.parent.iterdir()) == [path]
        assert capfd.readouterr() == ("", "")
