"""The XML header: the fields that are read, and safety against hostile text."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from fastmri_files import Scan, header, multicoil, write

from mrcascade.errors import MRCascadeError
from mrcascade.io import read_image
from mrcascade.io.fastmri.header import ISMRMRDHeader, parse_header

PLAIN = header((640, 368), (320, 320), ef=(280.0, 161.0), rf=(140.0, 140.0))


def test_a_knee() -> None:
    found = parse_header(PLAIN)
    assert found.encoded.matrix == (640, 368, 1)
    assert found.recon.matrix == (320, 320, 1)
    assert found.recon.field == (140, 140, 4.5)
    assert found.voxel((640, 368)) == pytest.approx((0.4375, 0.4375, 4.5))
    assert found.voxel(None) == pytest.approx((0.4375, 0.4375, 4.5))


@pytest.mark.parametrize(
    "change",
    [
        lambda xml: xml.replace(' xmlns="http://www.ismrm.org/ISMRMRD"', ""),
        lambda xml: xml.replace("ISMRMRD", "other"),
        lambda xml: xml.encode(),
        lambda xml: xml + "\0\0",
        lambda xml: xml[: xml.index("<ismrmrd")] + "<!-- note -->" + xml[xml.index("<ismrmrd") :],
    ],
)
def test_what_does_not_matter(change) -> None:
    assert parse_header(change(PLAIN)) == parse_header(PLAIN)


def test_spaces_are_optional() -> None:
    assert parse_header("<ismrmrdHeader/>") == ISMRMRDHeader()
    assert parse_header("<h><encoding/></h>").voxel((3, 4)) == (1, 1, 1)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<x>320</x>", "<x>0</x>"),
        ("<x>320</x>", "<x>many</x>"),
        ("<x>320</x>", ""),
        ("<x>320</x>", "<x>99999999</x>"),
        ("<x>140.0</x>", "<x>nan</x>"),
        ("<x>140.0</x>", "<x>-140</x>"),
        ("</reconSpace>", ""),
    ],
)
def test_what_cannot_be(old: str, new: str) -> None:
    assert old in PLAIN
    with pytest.raises(ValueError, match=r"header|invalid|could not"):
        parse_header(PLAIN.replace(old, new))


def bomb() -> str:
    entities = ['<!ENTITY a0 "aaaaaaaaaa">']
    for i in range(1, 12):
        entities.append(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">')
    return f"<!DOCTYPE h [{''.join(entities)}]><h>&a11;</h>"


@pytest.mark.parametrize(
    "text", [bomb(), bomb().encode("utf-16"), "<a>" * 400_000, "<a>" * 300_000, "", "\0", b"\xff"]
)
def test_harmful_headers(tmp_path: Path, scan: Scan, text: str | bytes) -> None:
    with h5py.File(scan.path, "r+") as file:
        del file["ismrmrd_header"]
        content = np.bytes_(text.encode() if isinstance(text, str) else text)
        file["ismrmrd_header"] = content if content else h5py.Empty("S1")
    with pytest.raises(MRCascadeError, match=r"brain\.h5 is a damaged fastMRI file"):
        read_image(scan.path)


@pytest.mark.parametrize("xml", [np.array([1.0, 2.0]), np.array(3), np.array([b"a", b"b"])])
def test_header_of_another_kind(tmp_path: Path, xml: np.ndarray) -> None:
    scan = multicoil(tmp_path / "a.h5", without=("ismrmrd_header",))
    with h5py.File(scan.path, "r+") as file:
        file["ismrmrd_header"] = xml
    with pytest.raises(MRCascadeError, match="ismrmrd_header"):
        read_image(scan.path)


def test_header_as_published(tmp_path: Path, scan: Scan) -> None:
    """Text of variable length, of fixed length, and an array of one."""
    read = []
    for kind in (h5py.string_dtype(), f"S{len(PLAIN)}"):
        for shape in ((), (1,)):
            path = write(tmp_path / "b.h5", {"kspace": scan.kspace})
            with h5py.File(path, "r+") as file:
                text = file.create_dataset("ismrmrd_header", shape, kind)
                text[...] = header((64, 40), (32, 32)).encode()
            read.append(read_image(path))
    assert all(image.shape == (32, 32, 3) for image in read)
