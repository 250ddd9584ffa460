"""Damaged NIfTI files give one clear line, or what nibabel and ITK read.

A flipped bit of a voxel cannot be detected, and gives the voxels that nibabel reads. A cut is
always detectable.
"""

from __future__ import annotations

import gzip
import struct
import warnings
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tests.damage import cut, damaged_files, flipped, read_or_refused

from mrcascade.errors import MRCascadeError
from mrcascade.io import Image, write_image
from mrcascade.io.affine_precision import check_precision

pytestmark = pytest.mark.slow

FILES = damaged_files(2000)
UNITS = {1: 1e3, 3: 1e-3}
NUMBERS = (0.0, -1.0, 1e-40, 1e30, -1e38, float("nan"), float("inf"), 0.5, 3.0, 77.0, 32768.0)
INTEGERS = (0, 1, -1, 2, 7, 8, 77, 127, 128, 255, 348, 540, 2**15 - 1, -(2**15), 2**31 - 1)


def encoded(data: np.ndarray, kind: type = nib.Nifti1Image, order: str = "<") -> bytes:
    affine = np.array([[0.0, -2, 0.1, 10], [1.5, 0, 0, -20], [0, 0, 3, 5], [0, 0, 0, 1]])
    header = kind.header_class(endianness=order)
    header.set_data_dtype(data.dtype)
    image = kind(data, affine, header)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    image.header.set_xyzt_units("mm", "sec")
    return image.to_bytes()


def extended() -> bytes:
    image = nib.Nifti1Image(noise(9, 10, 6), np.eye(4))
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"x" * 40))
    return image.to_bytes()


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 1000, shape).astype("<i2")


PLAIN = {
    "NIfTI-1": encoded(noise(9, 10, 6)),
    "big endian": encoded(noise(9, 10, 6).astype(">f4"), order=">"),
    "NIfTI-2": encoded(noise(9, 10, 6).astype("<f8"), nib.Nifti2Image),
    "4-D": encoded(noise(5, 6, 4, 3).astype("<f4")),
    "complex": encoded(noise(5, 6, 4) * np.complex64(1 + 2j)),
    "extension": extended(),
}
PACKED = {
    "gzip": gzip.compress(PLAIN["NIfTI-1"], mtime=0),
    "members": b"".join(gzip.compress(PLAIN["NIfTI-1"][a:b]) for a, b in ((0, 500), (500, None))),
}


def field(raw: bytearray, rng: np.random.Generator) -> bytes:
    """A field of the header has an unusual value, in either byte order."""
    order = "<>"[rng.integers(2)]
    for _ in range(rng.integers(1, 3)):
        form = rng.choice(["f", "h", "i", "B", "d", "q"])
        place = int(rng.integers(0, min(len(raw), 352) - 8)) // 2 * 2
        if form in "fd":
            value: float = float(rng.choice(NUMBERS))
        else:
            size = 8 * struct.calcsize(form)
            value = int(rng.choice(INTEGERS)) % 2**size
            value -= 2**size * (form != "B" and value >= 2 ** (size - 1))
        struct.pack_into(order + str(form), raw, place, value)
    return bytes(raw)


def overwritten(raw: bytearray, rng: np.random.Generator) -> bytes:
    """Bytes are replaced, put in or left out."""
    place = int(rng.integers(min(len(raw), 600)))
    raw[place : place + int(rng.integers(1, 8))] = rng.bytes(int(rng.integers(0, 12)))
    return bytes(raw)


DAMAGES = (cut, flipped, field, field, overwritten)
PER_SEED = -(-FILES // len(PLAIN | PACKED))


def unpacked(raw: bytes) -> bytes:
    """The content of a gzip file; nibabel itself does not read one with bytes behind its end."""
    content = b""
    while raw.startswith(b"\x1f\x8b"):
        member = zlib.decompressobj(31)
        content += member.decompress(raw)
        raw = member.unused_data.lstrip(b"\0")
    return content or raw


def check_result(image: Image, path: Path) -> bool:
    """Compare with nibabel; whether it reads the file."""
    plain = path.with_name("plain.nii")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            plain.write_bytes(unpacked(path.read_bytes()))
            other = nib.load(plain)
            values, affine = np.asanyarray(other.dataobj), other.affine
        except Exception:  # whatever: nibabel does not promise which
            return False
        finally:
            plain.unlink(missing_ok=True)
        unit = UNITS.get(int(other.header["xyzt_units"]) & 7, 1.0)
        values = values.reshape(image.shape).astype(image.data.dtype)
    np.testing.assert_array_equal(image.data, values)
    np.testing.assert_allclose(image.affine[:3], affine[:3] * unit, rtol=1e-5, atol=1e-6)
    return True


def check_output(image: Image, path: Path) -> None:
    """What is read can be written, and nibabel finds it in the same place, or it is refused."""
    try:
        check_precision(image.affine, image.shape, path)
    except MRCascadeError:
        with pytest.raises(MRCascadeError, match="single precision cannot hold"):
            write_image(image, path, overwrite=True)
        return
    write_image(image, path, overwrite=True)
    out = nib.load(path)
    np.testing.assert_array_equal(np.asanyarray(out.dataobj), image.data)
    np.testing.assert_allclose(out.affine, image.affine, rtol=1e-5, atol=1e-6)
    assert out.header.get_xyzt_units()[0] in ("mm", "unknown")


@pytest.mark.parametrize("seed", [*PLAIN, *PACKED])
@pytest.mark.filterwarnings("error")
def test_damaged_nifti(tmp_path: Path, seed: str, capfd: pytest.CaptureFixture) -> None:
    raw, path = (PLAIN | PACKED)[seed], tmp_path / "in" / "a.nii.gz"
    path.parent.mkdir()
    path.write_bytes(raw)
    assert read_or_refused(path, capfd) is not None  # whole, it is read
    outcomes = {"refused": 0, "read": 0, "read alone": 0}
    for number in range(PER_SEED):
        damage = DAMAGES[number % len(DAMAGES)]
        damaged = damage(bytearray(raw), np.random.default_rng(number))
        if seed in PLAIN and number % 2:
            damaged = gzip.compress(damaged, 1, mtime=0) + bytes(number % 5) + b"end" * (number % 3)
        path.write_bytes(damaged)
        image = read_or_refused(path, capfd)
        if image is None:
            outcomes["refused"] += 1
            continue
        assert damage is not cut, number
        outcomes["read" if check_result(image, path) else "read alone"] += 1
        check_output(image, tmp_path / "out.nii")
        capfd.readouterr()  # what nibabel says
    assert outcomes["refused"] > PER_SEED / 20
    assert outcomes["read alone"] < PER_SEED / 20  # nibabel stops at damaged extensions
    if seed in PLAIN:  # both happen; gzip notices nearly all damage
        assert outcomes["read"] > PER_SEED / 20
