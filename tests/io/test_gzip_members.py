"""Gzip files as other tools write and truncate them, against zlib's own reading of members."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mrcascade.errors import MRCascadeError
from mrcascade.io import read_image
from mrcascade.io.gzip_members import GzipMembers

DATA = np.random.default_rng(0).integers(1, 1000, (15, 16, 17)).astype(np.int16)
PLAIN = nib.Nifti1Image(DATA, np.diag([1, 1, 2, 1])).to_bytes()
PACKED = gzip.compress(PLAIN)


def members(*sizes: int) -> bytes:
    """The file in members of these numbers of bytes, the rest in a last one."""
    ends = np.cumsum([0, *sizes])
    parts = [PLAIN[a:b] for a, b in zip(ends, [*ends[1:], None], strict=True)]
    return b"".join(gzip.compress(part) for part in parts)


def named() -> bytes:
    """With the name of a file in the header, as the tool gzip writes it."""
    stream = io.BytesIO()
    with gzip.GzipFile("scan.nii", "wb", fileobj=stream, mtime=1) as packed:
        packed.write(PLAIN)
    return stream.getvalue()


READ = {
    "one member": PACKED,
    "stored": gzip.compress(PLAIN, 0),
    "named": named(),
    "two members": members(400),
    "members inside the header": members(1, 3, 90),
    "empty members": members(0, 0, 500, 0),
    "an empty member at the end, as bgzip writes it": PACKED + gzip.compress(b""),
    "zeros at the end": PACKED + bytes(1000),
    "zeros between members": gzip.compress(PLAIN[:400]) + bytes(70) + gzip.compress(PLAIN[400:]),
    "one byte at the end": PACKED + b"\x1f",
    "anything at the end": PACKED + b"not a member of this file" * 9000,
    "zeros and anything": PACKED + bytes(70) + b"garbage",
    "a further member": PACKED + gzip.compress(b"of bytes that no voxel needs"),
    "not packed": PLAIN,
}


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii"])
@pytest.mark.parametrize("case", READ)
def test_what_holds_all_voxels_is_read(case: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(READ[case])
    np.testing.assert_array_equal(read_image(tmp_path / name).data, DATA)


def changed(place: int) -> bytes:
    raw = bytearray(PACKED)
    raw[place] ^= 1
    return bytes(raw)


REFUSED = {
    "without its checksum": PACKED[:-8],
    "a byte short": PACKED[:-1],
    "cut in the middle": PACKED[: len(PACKED) // 2],
    "cut in its header": PACKED[:5],
    "wrong checksum": changed(-6),
    "wrong length": changed(-2),
    "wrong method": changed(2),
    "changed in the middle": changed(len(PACKED) // 2),
    "second member cut": members(400)[:-1],
    "second member damaged": members(400)[:-6] + b"\0" * 6,
    "a last member that is cut": PACKED + PACKED[:50],
}


@pytest.mark.parametrize("case", REFUSED)
def test_damaged_files_are_refused(case: str, tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(REFUSED[case])
    with pytest.raises(MRCascadeError, match=r"a\.nii\.gz is a truncated or damaged gzip file;"):
        read_image(path)


def test_a_second_member_that_is_none(tmp_path: Path) -> None:
    """Its voxels are missing."""
    path = tmp_path / "a.nii.gz"
    first = gzip.compress(PLAIN[:400])
    path.write_bytes(first + b"\x1f\x8c" + members(400)[len(first) + 2 :])
    with pytest.raises(MRCascadeError, match="is truncated: 400 of"):
        read_image(path)


@pytest.mark.parametrize("count", [1, 7, 2**16, 2**22])
def test_any_cut_into_pieces_gives_the_content(count: int) -> None:
    content = np.random.default_rng(1).bytes(20_000) + bytes(300_000)
    packed = gzip.compress(content[:7]) + bytes(3) + gzip.compress(content[7:]) + b"tail"
    reader = GzipMembers(io.BytesIO(packed))
    pieces = list(iter(lambda: reader.read(count), b""))
    assert b"".join(pieces) == content
    assert max(map(len, pieces)) <= count


def test_a_piece_is_no_larger_than_asked(tmp_path: Path) -> None:
    """However well the file is packed."""
    reader = GzipMembers(io.BytesIO(gzip.compress(bytes(50_000_000))))
    assert len(reader.read(1000)) == 1000
