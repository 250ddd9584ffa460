"""Damaged DICOM files give one clear line or a right result, never another exception or a hang.

Other readers check a result. A flipped bit of a pixel cannot be detected, and gives the pixels that
pydicom reads. Detectable damage gives an error. A cut is detectable, except between two elements
behind the pixels.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_series import classic, compressed, enhanced, phantom, series
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless
from tests.damage import Damage, cut, damaged_files, outcomes

from mrcascade.errors import MRCascadeError
from mrcascade.io import Image, read_image

pytestmark = pytest.mark.slow

PACKAGED = Path(pydicom.__file__).parent / "data" / "test_files"
NAMES = ("", "_RLE", "_bigendian", "_implicit", "_jp2klossless", "_jpeg_ls_lossless")
LENGTHS = (0, 1, 2, 3, 0x10000, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)


def encoded(dataset: pydicom.Dataset) -> bytes:
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def seeds() -> dict[str, bytes]:
    found = {f"MR_small{n}": (PACKAGED / f"MR_small{n}.dcm").read_bytes() for n in NAMES}
    found["classic"] = encoded(classic(phantom((1, 24, 20)), "oblique")[0])
    found["enhanced"] = encoded(enhanced(phantom((3, 24, 20)), "oblique", [2, 0, 1]))
    deflated = classic(phantom((1, 24, 20)))[0]
    deflated.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    found["deflated"] = encoded(deflated)
    return found


SEEDS = seeds()
PER_SEED = -(-damaged_files(1080) // len(SEEDS))


def flipped(raw: bytearray, rng: np.random.Generator) -> bytes:
    end = len(raw) if rng.integers(2) else min(len(raw), 3500)  # all of it, or the header
    for _ in range(rng.integers(1, 9)):
        raw[rng.integers(132, end)] ^= 1 << rng.integers(8)
    return bytes(raw)


def wrong_length(raw: bytearray, rng: np.random.Generator) -> bytes:
    place = rng.integers(132, min(len(raw), 3500) - 4)
    size = int(rng.choice((2, 4)))
    raw[place : place + size] = int(rng.choice(LENGTHS)).to_bytes(4, "little")[:size]
    return bytes(raw)


def wrong_type(raw: bytearray, rng: np.random.Generator) -> bytes:
    """The value representation of an element, or a stretch of bytes, is another one."""
    kinds = (b"SQ", b"UN", b"OB", b"US", b"DS", b"PN", b"FD", b"??")
    found = [i for i in range(132, min(len(raw), 3500)) if bytes(raw[i : i + 2]) in kinds[3:6]]
    if found and rng.integers(2):
        place = int(rng.choice(found))
        raw[place : place + 2] = kinds[rng.integers(len(kinds))]
    else:
        place = rng.integers(132, len(raw) - 8)
        raw[place : place + rng.integers(1, 8)] = rng.bytes(rng.integers(0, 12))
    return bytes(raw)


DAMAGES = (cut, flipped, wrong_length, wrong_type)


def check_result(image: Image, path: Path) -> None:
    """Against pydicom, where both read the same elements: native or well compressed pixels."""
    assert np.isfinite(image.data).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(path, force=True)
        if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
            return
        if dataset.BitsStored != dataset.BitsAllocated:
            return  # pydicom keeps the bits above
        syntax = dataset.file_meta.get("TransferSyntaxUID")
        if syntax is None or "SamplesPerPixel" not in dataset:
            return  # pydicom does not guess here
        if syntax == RLELossless:  # another decoder that may be installed panics
            dataset.pixel_array_options(decoding_plugin="pydicom")
        try:
            stored = dataset.pixel_array
        except AttributeError:
            return  # it wants an element that the damage renamed and that reading can do without
    if "PerFrameFunctionalGroupsSequence" in dataset:
        assert image.data.size == stored.size
        return
    slope = float(dataset.get("RescaleSlope") or 1)
    expected = stored.T * slope + float(dataset.get("RescaleIntercept") or 0)
    np.testing.assert_array_equal(image.data[..., 0], expected.astype(np.float32))


@pytest.mark.parametrize("seed", SEEDS)
def test_damaged_dicom(tmp_path: Path, seed: str, capfd: pytest.CaptureFixture) -> None:
    path = tmp_path / "in" / "a.dcm"

    def check(image: Image, whole: Image, damage: Damage) -> None:
        assert damage is not cut
        check_result(image, path)

    found = outcomes(SEEDS[seed], path, DAMAGES, PER_SEED, capfd, check)
    assert min(found.values()) > PER_SEED / 20  # both happen: the damage is neither all nor none


def framing(raw: bytearray, rng: np.random.Generator) -> bytes:
    """The table of frames, or the length of a compressed piece, is another one."""
    start = raw.index(b"\xe0\x7f\x10\x00OB") + 12
    if rng.integers(2):
        raw[start + rng.integers(20)] ^= 1 << rng.integers(8)
    else:
        pieces = [i for i in range(start, len(raw)) if raw[i : i + 4] == b"\xfe\xff\x00\xe0"]
        place = int(rng.choice(pieces)) + 4
        raw[place : place + 4] = int(rng.choice((*LENGTHS, 8, 256))).to_bytes(4, "little")
    return bytes(raw)


@pytest.mark.parametrize(("pieces", "table"), [(1, True), (1, False), (2, True)])
def test_damaged_places_of_compressed_frames(
    tmp_path: Path, pieces: int, table: bool, capfd: pytest.CaptureFixture
) -> None:
    """The frames that were stored, in their order, or none."""
    raw, path = encoded(compressed(phantom((3, 24, 20)), pieces, table)), tmp_path / "in" / "a.dcm"

    def check(image: Image, whole: Image, damage: Damage) -> None:
        assert damage is not cut
        np.testing.assert_array_equal(image.data, whole.data)

    found = outcomes(raw, path, (cut, framing), PER_SEED, capfd, check)
    assert found[True] > PER_SEED / 2


def test_damaged_slice_of_a_series(tmp_path: Path) -> None:
    """A slice that cannot be read is named; it is never left out."""
    folder = tmp_path / "s"
    folder.mkdir()
    for place, dataset in enumerate(classic(phantom((3, 12, 10)))):
        dataset.save_as(folder / f"{place}.dcm", enforce_file_format=True)
    raw = (folder / "1.dcm").read_bytes()
    for end in range(0, len(raw), 7):
        (folder / "1.dcm").write_bytes(raw[:end])
        with pytest.raises(MRCascadeError, match=r"s/1\.dcm is a damaged DICOM file"):
            read_image(folder)


def test_a_damaged_series_does_not_stop_the_others(tmp_path: Path, sr: Callable, capsys) -> None:
    for name in "abc":
        series(tmp_path / "in" / name, phantom((3, 16, 16)))
    for path in (tmp_path / "in" / "b" / "IM003.dcm", *(tmp_path / "in" / "c").iterdir()):
        path.write_bytes(path.read_bytes()[:-5])
    assert sr(tmp_path / "in") == 1
    lines = capsys.readouterr().err.splitlines()
    assert [p.name for p in (tmp_path / "out").glob("*.dicom")] == ["a_desc-sr2x.dicom"]
    assert all("truncated" in line for line in lines[:-1])
    assert lines[-1].startswith("mrcascade: 4 of 5 files failed")  # a series and three files
    assert sr(tmp_path / "in" / "b") == 2
    assert "IM003.dcm is a damaged DICOM file" in capsys.readouterr().err
