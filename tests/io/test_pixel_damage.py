"""Damaged .npy, PNG and TIFF files give one clear line, or what other readers read.

A PNG file has checksums, so its damage is always detectable; a TIFF file has none.
"""

from __future__ import annotations

import gzip
import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image as Picture
from PIL import PngImagePlugin
from tests.damage import Damage, cut, damaged_files, flipped, outcomes, overwritten

from mrcascade.io import Image

pytestmark = pytest.mark.slow
sitk.ProcessObject.SetGlobalWarningDisplay(False)

FILES = damaged_files(800)
LENGTHS = (0, 1, 2, 3, 8, 17, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 1000, shape)


def number(raw: bytearray, rng: np.random.Generator) -> bytes:
    """A number near the beginning is an unusual one, in either byte order."""
    for _ in range(rng.integers(1, 3)):
        size = int(rng.choice((1, 2, 4)))
        place = int(rng.integers(4, min(len(raw), 300) - size)) // 2 * 2
        value = int(rng.choice(LENGTHS)) % 256**size
        raw[place : place + size] = value.to_bytes(size, ("little", "big")[rng.integers(2)])
    return bytes(raw)


# ---- .npy ----


def saved(array: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version)
    return stream.getvalue()


NPY = {
    "int16": saved(noise(9, 10, 6).astype("<i2")),
    "Fortran": saved(np.asfortranarray(noise(9, 10, 6).astype("<f4"))),
    "big endian": saved(noise(9, 10).astype(">f8")),
    "complex": saved((noise(5, 6, 4) * (1 + 2j)).astype("<c8")),
    "version 2": saved(noise(5, 6, 4, 2).astype("u1"), (2, 0)),
    "gzip": gzip.compress(saved(noise(9, 10, 6).astype("<u2")), mtime=0),
}


def words(raw: bytearray, rng: np.random.Generator) -> bytes:
    """A piece of the header says something else."""
    old = (b"<", b"i2", b"f4", b"f8", b"c8", b"False", b"True", b"shape", b"9", b"5", b"(", b",")
    new = (b"|", b"O", b"U4", b"M8", b"V", b"i8", b"-1", b"999999999", b"[", b"", b"None", b"a" * 9)
    found = [word for word in old if word in raw[:128]]
    if not found:
        return flipped(raw, rng)
    chosen = found[rng.integers(len(found))]
    return bytes(raw[:128].replace(chosen, new[rng.integers(len(new))], 1) + raw[128:])


def by_numpy(path: Path) -> np.ndarray | None:
    raw = path.read_bytes()
    try:
        if raw.startswith(b"\x1f\x8b"):
            raw = gzip.decompress(raw)
        return np.load(io.BytesIO(raw), allow_pickle=False)
    except Exception:  # whatever: numpy does not promise which
        return None


# ---- pictures ----


def grey(data: np.ndarray, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Picture.fromarray(data).save(stream, format=kind, **options)
    return stream.getvalue()


def with_texts() -> bytes:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Comment", "of a scan", zip=True)
    texts.add_itxt("Title", "Bild")
    return grey(noise(20, 18).astype(np.uint16), "PNG", pnginfo=texts, dpi=(72, 72), gamma=1.0)


def tiff(data: np.ndarray, **options: object) -> bytes:
    tifffile = pytest.importorskip("tifffile")
    stream = io.BytesIO()
    tifffile.imwrite(stream, data, photometric="minisblack", **options)
    return stream.getvalue()


OPAQUE = np.dstack([noise(12, 14) % 256, np.full((12, 14), 255)]).astype(np.uint8)
PNG = {
    "8 bits": grey((noise(20, 18) % 256).astype(np.uint8), "PNG"),
    "16 bits": grey(noise(20, 18).astype(np.uint16), "PNG"),
    "opaque": grey(OPAQUE, "PNG"),
    "texts": with_texts(),
}
SHORTS = noise(20, 18).astype(np.uint16)
TIFF = {
    "8 bits": grey((noise(20, 18) % 256).astype(np.uint8), "TIFF"),
    "float32": grey((noise(20, 18) / 7).astype(np.float32), "TIFF"),
    "deflate": grey(SHORTS, "TIFF", compression="tiff_adobe_deflate"),
    "LZW": grey(SHORTS, "TIFF", compression="tiff_lzw"),
    "PackBits": grey(np.repeat(SHORTS, 3, 1), "TIFF", compression="packbits"),
    "big endian": tiff(SHORTS, byteorder=">"),
    "strips": tiff(SHORTS, rowsperstrip=3),
    "tiles": tiff(SHORTS, tile=(16, 16)),
    "BigTIFF": tiff(SHORTS, bigtiff=True),
}


def resealed(raw: bytearray, rng: np.random.Generator) -> bytes:
    """The head of a PNG file, or another chunk, is damaged, and its checksum fits."""
    chunks, place = [], 8
    while place < len(raw):
        (length,) = struct.unpack_from(">L", raw, place)
        chunks.append((place, length))
        place += 12 + length
    place, length = chunks[0 if rng.integers(2) else rng.integers(len(chunks) - 1)]
    for _ in range(rng.integers(1, 3)):
        raw[place + 4 + rng.integers(length + 4)] = rng.choice((0, 1, 2, 3, 4, 8, 16, 77, 255))
    end = place + 8 + length
    struct.pack_into(">L", raw, end, zlib.crc32(raw[place + 4 : end]))
    return bytes(raw)


def by_itk(path: Path, capfd: pytest.CaptureFixture) -> np.ndarray | None:
    """None also where it says that it passes over something."""
    try:
        array = sitk.GetArrayFromImage(sitk.ReadImage(path))
    except RuntimeError:
        return None
    return None if any(capfd.readouterr()) else array


def by_pillow(path: Path) -> np.ndarray | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Picture.open(path) as picture:
                return np.asarray(picture)
        except Exception:  # whatever: Pillow does not promise which
            return None


def per_seed(seeds: dict[str, bytes]) -> int:
    return -(-FILES // len(seeds))


@pytest.mark.parametrize("seed", NPY)
@pytest.mark.filterwarnings("error")
def test_damaged_npy(tmp_path: Path, seed: str, capfd: pytest.CaptureFixture) -> None:
    path, alone = tmp_path / "in" / "a.npy", 0

    def check(image: Image, whole: Image, damage: Damage) -> None:
        nonlocal alone
        assert damage is not cut
        other = by_numpy(path)
        alone += other is None
        if other is not None:
            np.testing.assert_array_equal(image.data, other.astype(image.data.dtype))

    damages = (cut, flipped, number, overwritten, words)
    found = outcomes(NPY[seed], path, damages, per_seed(NPY), capfd, check)
    assert found[True] > per_seed(NPY) / 20
    assert alone < per_seed(NPY) / 20
    if seed != "gzip":  # which notices nearly all damage
        assert found[False] > per_seed(NPY) / 20


@pytest.mark.parametrize("seed", PNG)
@pytest.mark.filterwarnings("error")
def test_damaged_png(tmp_path: Path, seed: str, capfd: pytest.CaptureFixture) -> None:
    path = tmp_path / "in" / "a.png"

    def check(image: Image, whole: Image, damage: Damage) -> None:
        if damage is not resealed:
            np.testing.assert_array_equal(image.data, whole.data)
        elif (other := by_itk(path, capfd)) is not None and other.shape == image.data.shape:
            np.testing.assert_array_equal(image.data, other)

    damages = (cut, flipped, number, overwritten, resealed)
    found = outcomes(PNG[seed], path, damages, per_seed(PNG), capfd, check)
    assert found[True] > per_seed(PNG) / 2


@pytest.mark.parametrize("seed", TIFF)
@pytest.mark.filterwarnings("error")
def test_damaged_tiff(tmp_path: Path, seed: str, capfd: pytest.CaptureFixture) -> None:
    path, compared = tmp_path / "in" / "a.tif", 0

    def check(image: Image, whole: Image, damage: Damage) -> None:
        nonlocal compared
        if damage is cut:
            np.testing.assert_array_equal(image.data, whole.data)
        for other in (by_pillow(path), by_itk(path, capfd)):
            if other is not None and other.shape == image.data.shape:
                compared += 1
                np.testing.assert_array_equal(image.data, other.astype(np.float32))

    damages = (cut, flipped, number, overwritten)
    found = outcomes(TIFF[seed], path, damages, per_seed(TIFF), capfd, check)
    assert min(found.values()) > per_seed(TIFF) / 20
    assert compared >= found[False]
