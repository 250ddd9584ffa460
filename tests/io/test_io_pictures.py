"""Grey PNG and TIFF: reading, refusing, writing."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from mrcascade.errors import MRCascadeError
from mrcascade.io import Image, list_images, read_image, result_ending, write_image

RAMP = np.arange(30).reshape(5, 6)


def saved(path: Path, data: np.ndarray, **options: object) -> Path:
    Picture.fromarray(data).save(path, **options)
    return path


def refused(path: Path, *parts: str) -> None:
    with pytest.raises(MRCascadeError) as caught:
        read_image(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert re.search(".*".join(map(re.escape, parts)), message), message


@pytest.mark.parametrize(
    ("name", "kind", "gain"),
    [
        ("a.png", np.uint8, 8),
        ("a.png", np.uint16, 2000),
        ("a.tif", np.uint8, 8),
        ("a.tiff", np.uint16, 2000),
        ("A.TIF", np.float32, 0.37),
    ],
)
def test_grey_pictures(tmp_path: Path, name: str, kind: type, gain: float) -> None:
    data = (RAMP * gain).astype(kind)
    image = read_image(saved(tmp_path / name, data))
    assert image.data.dtype == np.float32
    np.testing.assert_array_equal(image.data, data)
    assert image.affine is None
    assert image.format == ("png" if name.endswith("png") else "tiff")


def test_signed_and_big_endian_tiff(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    for data in (RAMP.astype(np.int16) - 15, (RAMP * 2000).astype(">u2")):
        tifffile.imwrite(tmp_path / "a.tif", data)
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif").data, data)


def test_opaque_alpha_is_dropped_and_transparency_refused(tmp_path: Path) -> None:
    grey = RAMP.astype(np.uint8)
    alpha = np.full_like(grey, 255)
    path = saved(tmp_path / "a.png", np.dstack([grey, alpha]))
    np.testing.assert_array_equal(read_image(path).data, grey)
    alpha[2, 3] = 254
    refused(saved(path, np.dstack([grey, alpha])), "transparent pixels", "plain grey")
    refused(saved(tmp_path / "key.png", grey, transparency=3), "transparent pixels")


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "1"])
def test_colour_palette_and_bilevel_are_refused(tmp_path: Path, name: str, mode: str) -> None:
    Picture.fromarray(RAMP.astype(np.uint8)).convert("RGB").convert(mode).save(tmp_path / name)
    words = {"P": "palette", "1": "black-and-white"}
    refused(tmp_path / name, words.get(mode, f"colour ({mode})"), "save it as grey")


def test_wide_integers_inverted_and_paged_tiff_are_refused(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "a.tif", RAMP.astype(np.uint32))
    refused(tmp_path / "a.tif", "32-bit integer")
    tifffile.imwrite(tmp_path / "a.tif", RAMP.astype(np.uint16), photometric="miniswhite")
    refused(tmp_path / "a.tif", "white as zero")
    tifffile.imwrite(
        tmp_path / "a.tif", np.stack([RAMP] * 3).astype(np.uint8), photometric="minisblack"
    )
    refused(tmp_path / "a.tif", "has 3 pages", "NIfTI")


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_damaged_pictures(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    path = saved(tmp_path / name, noise)
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    refused(path, "damaged")
    for content in (b"", b"patient;age\n1;30\n" * 9):
        path.write_bytes(content)
        refused(path, "not a grey PNG or TIFF picture")
    refused(saved(path, np.full((4, 4), 9, np.uint8)), "constant")


def test_results_are_float_tiff(tmp_path: Path) -> None:
    data = (RAMP * 0.37 - 3).astype(np.float32)
    image = Image(data, None, tmp_path / "a.png", "png", None, "")
    write_image(image, tmp_path / "b.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "b.tif").data, data)
    np.testing.assert_array_equal(np.asarray(Picture.open(tmp_path / "b.tif")), data)
    with pytest.raises(MRCascadeError, match=r"b\.png has no supported ending: PNG cannot hold"):
        write_image(image, tmp_path / "b.png")
    volume = image.with_data(np.stack([data, data]), None)
    with pytest.raises(MRCascadeError, match=r"one slice only; write \.npy"):
        write_image(volume, tmp_path / "c.tif")
    placed = image.with_data(data, np.eye(4))
    with pytest.raises(MRCascadeError, match="would lose the geometry"):
        write_image(placed, tmp_path / "c.tif")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.tif"]


def test_pictures_are_found_and_results_have_an_ending(tmp_path: Path) -> None:
    names = ["a.npy", "b.PNG", "c.tif", "d.tiff", "e.nii", "f.nii.gz"]
    for name in [*names, "g.jpg"]:
        (tmp_path / name).touch()
    assert [p.name for p in list_images(tmp_path)] == names
    endings = [result_ending(Path(n)) for n in names]
    assert endings == [".npy", ".tif", ".tif", ".tif", ".nii.gz", ".nii.gz"]
