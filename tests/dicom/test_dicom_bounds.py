"""Elements, frames and archives larger than an image needs are refused or ignored."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_series import classic, compressed, enhanced, phantom, series
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from tests.quick import slow

from mrcascade.errors import MRCascadeError
from mrcascade.io import read_image
from mrcascade.io.dicom.codestream import check_jpeg, check_jpeg_2000, check_run_lengths
from mrcascade.io.dicom.files import DicomFile
from mrcascade.io.dicom.header import read_header

PACKAGED = Path(pydicom.__file__).parent / "data" / "test_files"
PATIENT = b"\x10\x00\x10\x00PN"


def encoded(dataset: pydicom.Dataset) -> bytes:
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def one_slice(**changed: object) -> bytes:
    return encoded(classic(phantom((1, 12, 10)), **changed)[0])


def refused(path: Path, *words: str) -> None:
    with pytest.raises(MRCascadeError) as caught:
        read_image(path)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in (str(path), *words)), message


def test_a_large_private_element_is_passed_over(tmp_path: Path) -> None:
    raw, length = one_slice(), 2**31
    place = raw.index(PATIENT)
    with (tmp_path / "a.dcm").open("wb") as file:
        file.write(raw[:place] + b"\x09\0\x10\x10OB\0\0" + struct.pack("<I", length))
        file.seek(length, 1)  # holds no blocks on disk
        file.write(raw[place:])
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as packed:
        packed.writestr("b.dcm", raw)
    stored = read_image(tmp_path / "b.zip").data
    one = DicomFile(tmp_path / "a.dcm")
    with one.open() as stream:
        header = read_header(one, stream)
    assert (0x0009, 0x1010) not in header.dataset
    assert header.dataset.PatientName == pydicom.dcmread(io.BytesIO(raw)).PatientName
    assert header.offset is not None
    with (tmp_path / "a.dcm").open("rb") as file:
        file.seek(header.offset)
        pixels = np.frombuffer(file.read(header.length), "<i2").reshape(12, 10)
    np.testing.assert_array_equal(stored[..., 0].T, pixels)


def test_a_large_element_that_is_cut(tmp_path: Path) -> None:
    raw = one_slice()
    place = raw.index(PATIENT)
    cut = raw[:place] + b"\x09\0\x10\x10OB\0\0" + struct.pack("<I", 2**31) + raw[place:]
    (tmp_path / "a.dcm").write_bytes(cut)
    refused(tmp_path / "a.dcm", "truncated within element")


@pytest.mark.parametrize("head", [b"", one_slice()[:200], one_slice()])
def test_zeros_instead_of_elements(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "a.dcm").write_bytes(head)
    with (tmp_path / "a.dcm").open("r+b") as file:
        file.truncate(2**34)
    refused(tmp_path / "a.dcm", "damaged DICOM file")


def test_a_deflated_file_is_inflated_within_a_bound(tmp_path: Path) -> None:
    dataset = classic(phantom((1, 12, 10)))[0]
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    raw = encoded(dataset)
    (tmp_path / "a.dcm").write_bytes(raw)
    assert read_image(tmp_path / "a.dcm").shape == (10, 12, 1)
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    body = packer.compress(b"\x09\0\x10\x10OB\0\0" + struct.pack("<I", 2**30))
    body += b"".join(packer.compress(bytes(2**24)) for _ in range(17)) + packer.flush()
    head = pydicom.filereader.read_file_meta_info(tmp_path / "a.dcm")
    meta = 144 + head.FileMetaInformationGroupLength
    (tmp_path / "b.dcm").write_bytes(raw[:meta] + body)
    refused(tmp_path / "b.dcm", "inflates to more than 256 MiB")


def with_frame(frame: bytes, syntax: str, side: int) -> bytes:
    dataset = classic(phantom((1, 12, 10)))[0]
    dataset.Rows = dataset.Columns = side
    dataset.PixelData = encapsulate([frame + b"\0" * (len(frame) % 2)])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = syntax
    return encoded(dataset)


def test_frames_that_cannot_hold_their_pixels(tmp_path: Path) -> None:
    segments = struct.pack("<16L", 2, 64, 66, *[0] * 13) + b"\x81\x01" * 2
    (tmp_path / "a.dcm").write_bytes(with_frame(segments, RLELossless, 8192))
    refused(tmp_path / "a.dcm", "68 compressed bytes for a frame of 134217728")
    (tmp_path / "a.dcm").write_bytes(with_frame(segments, RLELossless, 65535))
    refused(tmp_path / "a.dcm", "65535 x 65535 pixels")
    large = b"\xff\xd8\xff\xf7" + struct.pack(">HBHHB", 11, 16, 60000, 60000, 1) + bytes(30)
    (tmp_path / "a.dcm").write_bytes(with_frame(large, JPEGLSLossless, 64))
    refused(tmp_path / "a.dcm", "compressed pixels of 60000 x 60000")
    sizes = struct.pack(">8L", 64, 64, 0, 0, 64, 64, 0, 0)
    many = b"\xff\x4f\xff\x51" + struct.pack(">HH", 41, 0) + sizes + struct.pack(">H", 16384)
    (tmp_path / "a.dcm").write_bytes(with_frame(many, JPEG2000Lossless, 64))
    refused(tmp_path / "a.dcm", "16384 components")


@pytest.mark.slow
def test_a_table_of_frames_without_end_is_not_read(tmp_path: Path) -> None:
    raw, length = encoded(compressed(phantom((3, 24, 20)), pieces=2)), 2**30
    start = raw.index(b"\xe0\x7f\x10\x00OB") + 12
    with (tmp_path / "a.dcm").open("wb") as file:
        file.write(raw[: start + 4] + struct.pack("<L", length))
        file.seek(length, 1)  # holds no blocks on disk
        file.write(raw[start + 8 + 12 :])
    tracemalloc.start()
    refused(tmp_path / "a.dcm", "6 compressed pieces for 3 frames")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24


def test_sizes_of_real_frames_are_found() -> None:
    """Of pydicom's own files, whose sizes pydicom knows."""
    checks: dict[str, Callable[[bytes, int, int], None]] = {
        "MR_small_jp2klossless.dcm": check_jpeg_2000,
        "MR_small_jpeg_ls_lossless.dcm": check_jpeg,
    }
    for name, check in checks.items():
        dataset = pydicom.dcmread(PACKAGED / name)
        frame = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
        check(frame, dataset.Rows, dataset.Columns)
        with pytest.raises(ValueError, match=f"pixels of {dataset.Rows} x {dataset.Columns}"):
            check(frame, dataset.Rows + 1, dataset.Columns)
    check_run_lengths(bytes(2), 128)
    with pytest.raises(ValueError, match="2 compressed bytes"):
        check_run_lengths(bytes(2), 129)


def test_an_archive_is_unpacked_as_far_as_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = series(tmp_path / "s", phantom((3, 12, 10)))
    path = tmp_path / "s.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        with packed.open("notes", "w", force_zip64=True) as notes:
            for _ in range(64):
                notes.write(bytes(2**20))
        for number in range(300):
            packed.writestr(f"n{number}", b"x")
        for one in folder.iterdir():
            packed.write(one, one.name)
    read, opened = [], []
    unpack, whole = zipfile.ZipExtFile.read, zipfile.ZipFile.__init__

    def counting(self: zipfile.ZipExtFile, count: int | None = -1) -> bytes:
        data = unpack(self, count)
        read.append(len(data))
        return data

    def noting(self: zipfile.ZipFile, *args: object, **kwargs: object) -> None:
        opened.append(args)
        whole(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(zipfile.ZipExtFile, "read", counting)
    monkeypatch.setattr(zipfile.ZipFile, "__init__", noting)
    np.testing.assert_array_equal(read_image(path).data, read_image(folder).data)
    files = sum(one.stat().st_size for one in folder.iterdir())
    assert files < sum(read) < 5 * files + 301 * 132
    assert len(opened) == 1


def test_an_archive_that_changed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "s.zip"
    for shape in ((2, 12, 10), (3, 14, 10)):
        folder = series(tmp_path / str(shape), phantom(shape))
        with zipfile.ZipFile(path, "w") as packed:
            for one in folder.iterdir():
                packed.write(one, one.name)
        np.testing.assert_array_equal(read_image(path).data, read_image(folder).data)


@pytest.mark.parametrize("large", [False, True])
def test_a_list_of_members_without_end(tmp_path: Path, large: bool) -> None:
    path, size = tmp_path / "s.zip", 2**24 + 1
    end = b"PK\5\6" + struct.pack("<4H2LH", 0, 0, 9, 9, 2**32 - 1 if large else size, 0, 0)
    if large:
        end = b"PK\6\6" + struct.pack("<Q2H2L4Q", 44, 45, 45, 0, 0, 9, 9, size, 0) + end
    with path.open("wb") as file:
        file.seek(2**25)
        file.write(end)
    refused(path, "the list alone has 16 MiB")


# ---- elements ----


def with_elements(elements: bytes, syntax: str | None = None) -> bytes:
    dataset = classic(phantom((1, 12, 10)))[0]
    if syntax:
        dataset.file_meta.TransferSyntaxUID = syntax
    raw = encoded(dataset)
    mark = b"\x10\x00\x10\x00" if syntax == ImplicitVRLittleEndian else PATIENT
    place = raw.index(mark)
    return raw[:place] + elements + raw[place:]


def body_of(raw: bytes) -> int:
    """Where the dataset begins, after the meta header."""
    return 144 + struct.unpack("<L", raw[140:144])[0]


def empty_elements(count: int) -> bytes:
    return b"".join(
        struct.pack("<HH2sH", 9 + 2 * (i >> 15), 0x1000 + (i & 0x7FFF), b"LO", 0)
        for i in range(count)
    )


ITEM, LAST_ITEM, LAST = (struct.pack("<HHL", 0xFFFE, e, 0) for e in (0xE000, 0xE00D, 0xE0DD))
SEQUENCE = b"\x09\0\x10\x10SQ\0\0"
OPEN_SEQUENCE = SEQUENCE + b"\xff" * 4
OPEN_ITEM = ITEM[:4] + b"\xff" * 4


@pytest.mark.parametrize(
    "elements",
    [
        empty_elements(70_000),
        SEQUENCE + struct.pack("<L", 8 * 70_000) + ITEM * 70_000,
        OPEN_SEQUENCE + ITEM * 70_000 + LAST,
        SEQUENCE
        + struct.pack("<L", 8 * 70_001)
        + ITEM[:4]
        + struct.pack("<L", 8 * 70_000)
        + empty_elements(70_000),
        b"\x09\0\x10\x10UN\0\0" + b"\xff" * 4 + ITEM * 70_000 + LAST,
    ],
)
def test_elements_without_end(tmp_path: Path, elements: bytes) -> None:
    (tmp_path / "a.dcm").write_bytes(with_elements(elements))
    refused(tmp_path / "a.dcm", "more elements than an image needs")


def test_elements_without_end_are_found_in_deflated_and_implicit_files(tmp_path: Path) -> None:
    implicit = b"".join(struct.pack("<HHL", 9, 0x1000 + (i & 0x7FFF), 0) for i in range(70_000))
    (tmp_path / "a.dcm").write_bytes(with_elements(implicit, ImplicitVRLittleEndian))
    refused(tmp_path / "a.dcm", "more elements than an image needs")
    raw = with_elements(empty_elements(70_000))
    meta = body_of(raw)
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    dataset = classic(phantom((1, 12, 10)))[0]
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    head = encoded(dataset)
    packed = head[: body_of(head)] + packer.compress(raw[meta:]) + packer.flush()
    (tmp_path / "a.dcm").write_bytes(packed)
    refused(tmp_path / "a.dcm", "more elements than an image needs")


def test_sequences_without_bottom(tmp_path: Path) -> None:
    depth = 40_000
    nested = (OPEN_SEQUENCE + OPEN_ITEM) * depth + (LAST_ITEM + LAST) * depth
    (tmp_path / "a.dcm").write_bytes(with_elements(nested))
    refused(tmp_path / "a.dcm", "nested too deeply")


def test_an_element_of_a_million_values(tmp_path: Path) -> None:
    raw = one_slice()
    place = raw.index(b"\x08\x00\x08\x00CS")
    (length,) = struct.unpack("<H", raw[place + 6 : place + 8])
    values = b"A\\" * 2**20
    kind = b"\x08\x00\x08\x00UN\0\0" + struct.pack("<L", len(values))
    (tmp_path / "a.dcm").write_bytes(raw[:place] + kind + values + raw[place + 8 + length :])
    refused(tmp_path / "a.dcm", "element 0008,0008 has 2 MiB")


def test_what_large_headers_rightly_hold(tmp_path: Path) -> None:
    """A blob, a picture in a sequence, and references to ten thousand images."""
    reference = b"\x08\0\x55\x11UI\x1a\0" + b"1.2.840.10008.5.1.4.1.1.4\0"
    item = ITEM[:4] + struct.pack("<L", len(reference)) + reference
    icon = (
        b"\xe0\x7f\x10\0OB\0\0"
        + b"\xff" * 4
        + ITEM
        + b"".join(ITEM[:4] + struct.pack("<L", 2**16) + b"\x01" * 2**16 for _ in range(16))
    )
    elements = (
        SEQUENCE
        + struct.pack("<L", len(item) * 10_000)
        + item * 10_000
        + b"\x09\0\x11\x10OB\0\0"
        + struct.pack("<L", 2**21)
        + bytes(2**21)
        + b"\x09\0\x12\x10SQ\0\0"
        + struct.pack("<L", len(icon) + 16)
        + ITEM[:4]
        + struct.pack("<L", len(icon) + 8)
        + icon
        + LAST
    )
    (tmp_path / "a.dcm").write_bytes(with_elements(elements))
    (tmp_path / "b.dcm").write_bytes(one_slice())
    found, plain = read_image(tmp_path / "a.dcm"), read_image(tmp_path / "b.dcm")
    np.testing.assert_array_equal(found.data, plain.data)


@pytest.mark.parametrize("open_items", [slow(False), True])
def test_frames_may_have_many_elements(tmp_path: Path, open_items: bool) -> None:
    """Each frame may describe itself at length, though all together exceed what one image may."""
    frames, items = 300, 250
    values = np.arange(frames, dtype=float).reshape(-1, 1, 1) + np.zeros((1, 8, 8))
    dataset = enhanced(values, "oblique", list(range(frames)))
    sequence = dataset["PerFrameFunctionalGroupsSequence"]
    sequence.is_undefined_length = open_items
    for one in sequence.value:
        one.is_undefined_length_sequence_item = open_items
        one.add_new((0x0009, 0x1010), "UN", ITEM * items)
    (tmp_path / "a.dcm").write_bytes(encoded(dataset))
    with (tmp_path / "a.dcm").open("rb") as stream:
        header = read_header(DicomFile(tmp_path / "a.dcm"), stream)
    assert len(header.dataset.PerFrameFunctionalGroupsSequence) == frames
    (tmp_path / "b.dcm").write_bytes(
        with_elements(
            b"\x09\0\x10\x10UN\0\0"
            + struct.pack("<L", 8 * frames * items)
            + ITEM * (frames * items)
        )
    )
    refused(tmp_path / "b.dcm", "more elements than an image needs")
