"""Damaged zip archives of a DICOM series give one clear line, or the whole series.

Every member has a checksum, so all damage to it is detectable.
"""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from dicom_series import phantom, series
from tests.damage import Damage, cut, damaged_files, flipped, outcomes, overwritten

from mrcascade.io import Image

pytestmark = pytest.mark.slow

STORAGE = {"stored": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED, "LZMA": zipfile.ZIP_LZMA}
PER_SEED = -(-damaged_files(400) // len(STORAGE))
MARKS = (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06")
NUMBERS = (0, 1, 2, 8, 12, 14, 99, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


def record(raw: bytearray, rng: np.random.Generator) -> bytes:
    """A field of the archive's own records has another value."""
    found = [i for i in range(len(raw) - 4) if bytes(raw[i : i + 4]) in MARKS]
    for _ in range(rng.integers(1, 3)):
        place, size = int(rng.choice(found)) + int(rng.integers(60)), int(rng.choice((1, 2, 4)))
        place = min(place, len(raw) - size)
        raw[place : place + size] = struct.pack("<L", rng.choice(NUMBERS))[:size]
    return bytes(raw)


DAMAGES = (cut, flipped, overwritten, record)


@pytest.mark.parametrize("storage", STORAGE)
@pytest.mark.filterwarnings("error")
def test_damaged_archive(tmp_path: Path, storage: str, capfd: pytest.CaptureFixture) -> None:
    folder = series(tmp_path / "series", phantom((3, 12, 10)))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", STORAGE[storage]) as packed:
        for path in sorted(folder.iterdir()):
            packed.write(path, path.name)
    raw, path = stream.getvalue(), tmp_path / "in" / "a.zip"

    def check(image: Image, whole: Image, damage: Damage) -> None:
        np.testing.assert_array_equal(image.data, whole.data)
        np.testing.assert_array_equal(image.affine, whole.affine)

    found = outcomes(raw, path, DAMAGES, PER_SEED, capfd, check)
    assert min(found.values()) > PER_SEED / 20
