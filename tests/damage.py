"""Requirements that every reader meets on damaged files.

The environment variable ``MRCASCADE_DAMAGED`` sets how many files of each format are damaged.
"""

from __future__ import annotations

import copy
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from mrcascade.errors import MRCascadeError
from mrcascade.io import Image, read_image
from mrcascade.messages.printable import printable

T = TypeVar("T")
Damage = Callable[[bytearray, np.random.Generator], bytes]
SECONDS = 5  # per file; they take milliseconds


def damaged_files(usual: int) -> int:
    """Number of damaged files of a format."""
    return int(os.environ.get("MRCASCADE_DAMAGED", usual))


def cut(raw: bytearray, rng: np.random.Generator) -> bytes:
    return bytes(raw[: rng.integers(len(raw))])


def flipped(raw: bytearray, rng: np.random.Generator) -> bytes:
    end = len(raw) if rng.integers(2) else min(len(raw), 300)  # all of it, or the beginning
    for _ in range(rng.integers(1, 9)):
        raw[rng.integers(end)] ^= 1 << rng.integers(8)
    return bytes(raw)


def overwritten(raw: bytearray, rng: np.random.Generator) -> bytes:
    """Bytes are replaced, put in or left out."""
    place = int(rng.integers(len(raw) if rng.integers(2) else min(len(raw), 300)))
    raw[place : place + int(rng.integers(1, 8))] = rng.bytes(int(rng.integers(0, 12)))
    return bytes(raw)


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
    image = done_or_refused(lambda: read_image(path, complex_valued), (path,), capfd)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
    return image


def outcomes(
    raw: bytes,
    path: Path,
    damages: tuple[Damage, ...],
    files: int,
    capfd: pytest.CaptureFixture,
    check: Callable[[Image, Image, Damage], None],
) -> dict[bool, int]:
    """How many files were refused and how many read, each of these checked against the whole."""
    path.parent.mkdir()
    path.write_bytes(raw)
    whole = read_or_refused(path, capfd)
    assert whole is not None
    found = {False: 0, True: 0}
    for place in range(files):
        damage = damages[place % len(damages)]
        path.write_bytes(damage(bytearray(raw), np.random.default_rng(place)))
        image = read_or_refused(path, capfd)
        found[image is None] += 1
        if image is not None:
            check(image, whole, damage)
            capfd.readouterr()  # what other readers say
    return found


def done_or_refused(
    work: Callable[[], T],
    named: tuple[Path, ...],
    capfd: pytest.CaptureFixture,
    escaped: bool = False,
) -> T | None:
    """What work on a damaged file gives, or None after an error that names one of ``named``.

    escaped: the error may quote names out of the file, which the terminal escapes.
    """
    try:
        with limited_time():
            return work()
    except MRCascadeError as error:
        message = str(error)
        if escaped:
            message = printable(message)
        assert message.isprintable(), message
        assert any(str(path) in message for path in named), message
        assert ";" in message, message  # what is wrong; what to do
        assert len(message) < 1000, message
        return None
    finally:
        assert capfd.readouterr() == ("", "")


# ---- JSON ----

DEEP = "[" * 100_000
ODD = (
    *(None, True, False, 0, -1, 1, 2, 3, 7, 1000, 2**31, -(2**63), 10**400, 0.5, -1e-320, 1e308),
    *(float("nan"), float("inf"), -float("inf"), "", "x", "i", "1", "../x", "/", "a\0b", "\ud800"),
    *("a\n\x1b[31m", "x" * 5000, "۳", [], {}, [[]], [1, 2], [0, 0, 0, 0], {"a": 1}, {"": None}),
)


def damaged_json(document: Any, rng: np.random.Generator, number: int) -> bytes:
    """The text of a JSON document that is damaged as text, or that says other things."""
    if number % 2:
        return _odd(document, rng)
    raw = bytearray(json.dumps(document, indent=1).encode())
    if number % 100 == 0:
        place = raw.rfind(b" ", 0, int(rng.integers(2, len(raw))))
        return bytes(raw[:place]) + DEEP.encode()
    return (cut, flipped, overwritten)[number // 2 % 3](raw, rng)


def _odd(document: Any, rng: np.random.Generator) -> bytes:
    """Values are replaced by odd ones or by others of the document, left out, or renamed."""
    document = copy.deepcopy(document)
    for _ in range(rng.integers(1, 3)):
        places = list(_places(document))
        if not places:
            return json.dumps(ODD[rng.integers(len(ODD))]).encode()
        parent, key = places[rng.integers(len(places))]
        other_parent, other_key = places[rng.integers(len(places))]
        other = copy.deepcopy(other_parent[other_key])
        kind = rng.integers(8)
        if kind == 0:
            del parent[key]
        elif kind == 1 and isinstance(parent, dict):
            parent[str(key) + "x"] = parent.pop(key)
        else:
            parent[key] = other if kind == 2 else ODD[rng.integers(len(ODD))]
    return json.dumps(document).encode()


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of every value in a document."""
    keys: Any = ()
    if isinstance(document, dict):
        keys = document.keys()
    elif isinstance(document, list):
        keys = range(len(document))
    for key in keys:
        yield document, key
        yield from _places(document[key])
