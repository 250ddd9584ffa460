"""Lossless JPEG: every predictor, restarts, point transforms, against an encoder written here."""

from __future__ import annotations

import time

import gdcm
import numpy as np
import pytest
from dicom_series import classic, phantom

from mrcascade.io.dicom.jpeg_lossless import decode


def encode(samples: np.ndarray, predictor: int, precision: int, point: int, lines: int) -> bytes:
    """T.81 annex H, sample by sample; 17 categories with codes of 5 bits. lines: per restart."""
    rows, columns = samples.shape
    shifted = (samples >> point).tolist()
    pieces, bits = [], ""
    for y in range(rows):
        top = y % lines == 0 if lines else y == 0
        if top and y:
            pieces.append(bits)
            bits = ""
        for x in range(columns):
            a, b, c = (
                shifted[y - j][x - i] if y >= j and x >= i else 0
                for i, j in ((1, 0), (0, 1), (1, 1))
            )
            guesses = (a, b, c, a + b - c, a + (b - c) // 2, b + (a - c) // 2, (a + b) // 2)
            guess = guesses[predictor - 1]
            if top:
                guess = a if x else 1 << (precision - point - 1)
            elif x == 0:
                guess = b
            change = (shifted[y][x] - guess + 32767) % 65536 - 32767  # -32767 to 32768
            size = abs(change).bit_length()
            bits += f"{size:05b}"
            if 0 < size < 16:
                bits += f"{change if change > 0 else change + (1 << size) - 1:0{size}b}"
    pieces.append(bits)
    coded = b""
    for number, piece in enumerate(pieces):
        piece += "1" * (-len(piece) % 8)
        raw = int(piece, 2).to_bytes(len(piece) // 8, "big").replace(b"\xff", b"\xff\0")
        coded += raw + (bytes((0xFF, 0xD0 + number % 8)) if number < len(pieces) - 1 else b"")
    table = bytes((0, 0, 0, 0, 0, 17)) + bytes(11) + bytes(range(17))
    frame = bytes((precision, *divmod(rows, 256), *divmod(columns, 256), 1, 1, 0x11, 0))
    parts = [(0xC3, frame), (0xC4, table)]
    if lines:
        parts.append((0xDD, (lines * columns).to_bytes(2, "big")))
    parts.append((0xDA, bytes((1, 1, 0, predictor, 0, point))))
    head = b"".join(bytes((0xFF, m)) + (len(p) + 2).to_bytes(2, "big") + p for m, p in parts)
    return b"\xff\xd8" + head + coded + b"\xff\xd9"


@pytest.mark.parametrize("lines", [0, 1, 3])
@pytest.mark.parametrize(("precision", "point"), [(16, 0), (12, 0), (16, 2), (8, 0)])
@pytest.mark.parametrize("predictor", range(1, 8))
def test_samples_come_back(predictor: int, precision: int, point: int, lines: int) -> None:
    rng = np.random.default_rng(predictor)
    samples = rng.integers(0, 1 << precision, (10, 7)) >> point << point
    samples[0, :2] = 0, (1 << precision) - (1 << point)  # the largest step
    frame = encode(samples, predictor, precision, point, lines)
    np.testing.assert_array_equal(decode(frame), samples)


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_damage_is_an_error_or_other_samples(damage: str) -> None:
    samples = phantom((1, 12, 10))[0].astype(int)
    frame = encode(samples, 6, 16, 0, 4)
    errors = 0
    for number in range(len(frame) - 2):  # what lies behind the last sample is not needed
        raw = bytearray(frame)
        if damage == "cut":
            raw = raw[:number]
        else:
            raw[number] ^= 1 << number % 8
        try:
            found = decode(bytes(raw))
        except (ValueError, IndexError):
            errors += 1
        else:
            assert damage == "flip", number
            assert found.dtype == np.uint16
    assert errors == len(frame) - 2 if damage == "cut" else errors > 20


def test_another_process_is_refused() -> None:
    frame = encode(np.full((8, 8), 5), 1, 8, 0, 0)
    with pytest.raises(ValueError, match="another JPEG process"):
        decode(frame.replace(b"\xff\xc3", b"\xff\xc0", 1))


def test_as_gdcm_encodes_it(tmp_path) -> None:
    """Tables as an encoder in use makes them; and the time that the module promises."""
    pixels = phantom((1, 128, 120)).astype(np.uint16)
    path = tmp_path / "a.dcm"
    classic(pixels)[0].save_as(path, enforce_file_format=True)
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    fragments = change.GetOutput().GetDataElement().GetSequenceOfFragments()
    value = fragments.GetFragment(0).GetByteValue().GetBuffer()
    frame = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
    started = time.process_time()
    np.testing.assert_array_equal(decode(frame), pixels[0])
    assert time.process_time() - started < 30e-6 * pixels.size
