"""Damaged fastMRI files give one clear line or a result, never another exception or a hang."""

from __future__ import annotations

import math
from pathlib import Path

import h5py
import numpy as np
import pytest
from fastmri_files import multicoil
from prostate_files import t2_scan
from tests.damage import cut, damaged_files, read_or_refused

pytestmark = pytest.mark.slow

LENGTHS = (0, 1, 2, 3, 0x10000, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFFFFFFFFFF, 1 << 40)
FILES = damaged_files(400)
# (storage, complex image, share of the files): each kind of layout that HDF5 stores its numbers in.
SEEDS = {
    "contiguous": ({}, False, 0.3),
    "chunked": ({"chunks": (1, 2, 16, 20)}, False, 0.3),
    "compressed": ({"chunks": (1, 4, 16, 20), "compression": 4, "shuffle": True}, False, 0.3),
    "complex": ({"fletcher32": True, "chunks": (2, 4, 32, 20)}, True, 0.1),
}
AVERAGES = "averages"  # of the prostate, as a complex image
ARRAYS = {"size": (32, 20), "recon": (16, 16), "slices": 2}


def structure(raw: bytearray) -> np.ndarray:
    """Where HDF5's own records lie, roughly: what is neither zero nor noise of the values."""
    marks = (b"TREE", b"HEAP", b"SNOD", b"OHDR", b"GCOL", b"\x89HDF", b"BTHD", b"FRHP")
    found = [raw.find(m, i) for m in marks for i in range(0, len(raw), 512)]
    return np.unique([p for p in found if p >= 0])


def near_structure(raw: bytearray, rng: np.random.Generator, reach: int = 400) -> int:
    place = int(rng.choice(structure(raw))) + int(rng.integers(reach))
    return min(place, len(raw) - 9)


def flipped(raw: bytearray, rng: np.random.Generator) -> bytes:
    for _ in range(rng.integers(1, 9)):
        place = near_structure(raw, rng) if rng.integers(4) else int(rng.integers(len(raw)))
        raw[place] ^= 1 << rng.integers(8)
    return bytes(raw)


def wrong_length(raw: bytearray, rng: np.random.Generator) -> bytes:
    place, size = near_structure(raw, rng), int(rng.choice((2, 4, 8)))
    value = LENGTHS[rng.integers(len(LENGTHS))]
    raw[place : place + size] = value.to_bytes(8, "little")[:size]
    return bytes(raw)


def wrong_type(raw: bytearray, rng: np.random.Generator) -> bytes:
    """A stretch of records becomes others, or another record's."""
    place, length = near_structure(raw, rng), int(rng.integers(1, 24))
    other = near_structure(raw, rng)
    piece = raw[other : other + length] if rng.integers(2) else rng.bytes(length)
    raw[place : place + length] = piece
    return bytes(raw)


DAMAGES = (cut, flipped, wrong_length, wrong_type)


@pytest.mark.parametrize("seed", [*SEEDS, AVERAGES])
def test_damaged_fastmri(tmp_path: Path, seed: str, capfd: pytest.CaptureFixture) -> None:
    (tmp_path / "whole").mkdir()
    path = tmp_path / "whole" / "a.h5"
    if seed == AVERAGES:
        complex_valued, share = True, 0.1
        t2_scan(path, coils=2)
    else:
        storage, complex_valued, share = SEEDS[seed]
        multicoil(path, without=("reconstruction_rss",), **ARRAYS, **storage)
    files = math.ceil(FILES * share)
    raw = path.read_bytes()
    assert read_or_refused(path, capfd, complex_valued) is not None
    outcomes = {False: 0, True: 0}
    for number in range(files):
        damage = DAMAGES[number % len(DAMAGES)]
        path.write_bytes(damage(bytearray(raw), np.random.default_rng(number)))
        image = read_or_refused(path, capfd, complex_valued)
        outcomes[image is None] += 1
        assert image is None or (np.isfinite(image.data).all() and damage is not cut)
    assert min(outcomes.values()) > files / 20  # both happen


def test_sizes_that_only_the_header_has(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    """A dataset that says it has a million slices, and stores two."""
    path = multicoil(tmp_path / "a.h5", without=("reconstruction_rss",), **ARRAYS).path
    with h5py.File(path, "r+") as file:
        values = file["kspace"][:]
        del file["kspace"]
        shape = (2**20, *values.shape[1:])
        grown = file.create_dataset("kspace", shape, values.dtype, chunks=(1, *values.shape[1:]))
        grown[:2] = values
    assert read_or_refused(path, capfd, False) is None
