"""Padding pixels of a DICOM image count as no signal, whatever their value."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dicom_series import classic, enhanced, phantom, read_all, volume
from pydicom.dataset import Dataset

from mrcascade.cli import main
from mrcascade.io import read_image

SHAPE = (3, 32, 32)


def padded(value: int, kind: type = np.int16) -> np.ndarray:
    """(slices, rows, columns): values from 1 to 1000, whose first eight rows are padding."""
    pixels = phantom(SHAPE).clip(1, 1000).astype(kind)
    pixels[:, :8] = value
    return pixels


def expected(value: int = 0) -> np.ndarray:
    return volume(padded(value))


def write(folder: Path, datasets: list[Dataset], value: int, vr: str, limit: int | None = None):
    folder.mkdir()
    for place, dataset in enumerate(datasets):
        dataset.add_new(0x00280120, vr, value)
        if limit is not None:
            dataset.add_new(0x00280121, vr, limit)
        dataset.save_as(folder / f"{place}.dcm", enforce_file_format=True)
    return folder


@pytest.mark.parametrize(
    ("stored", "kind", "declared", "vr"),
    [
        (-2000, np.int16, -2000, "SS"),
        (-2000, np.int16, 2**16 - 2000, "US"),  # the sign is that of the pixels
        (-(2**15), np.int16, 2**15, "US"),
        (2**16 - 2000, np.uint16, -2000, "SS"),
        (2**16 - 1, np.uint16, 2**16 - 1, "US"),
        (0, np.uint16, 0, "US"),
    ],
)
def test_padding_counts_as_no_signal(
    tmp_path: Path, stored: int, kind: type, declared: int, vr: str
) -> None:
    folder = write(tmp_path / "s", classic(padded(stored, kind)), declared, vr)
    np.testing.assert_array_equal(read_image(folder).data, expected())


def test_a_range_of_padding(tmp_path: Path) -> None:
    pixels = padded(-2000)
    pixels[:, :4] = -1990
    folder = write(tmp_path / "s", classic(pixels), -2000, "SS", limit=-1990)
    np.testing.assert_array_equal(read_image(folder).data, expected())


def test_padding_lies_below_slope_and_intercept(tmp_path: Path) -> None:
    """Where measured values lie below 0, the lowest of them takes the place of padding."""
    datasets = classic(padded(0), RescaleSlope="2", RescaleIntercept="-1024")
    folder = write(tmp_path / "s", datasets, 0, "SS")
    values = 2.0 * expected() - 1024
    values[:, :8] = values[:, 8:].min()
    assert values.min() < 0
    np.testing.assert_array_equal(read_image(folder).data, values)


def test_padding_of_some_slices_only(tmp_path: Path) -> None:
    pixels = padded(-2000)
    pixels[1, :8] = 7
    datasets = classic(pixels)
    folder = write(tmp_path / "s", datasets, -2000, "SS")
    del datasets[1].PixelPaddingValue
    datasets[1].save_as(folder / "1.dcm", enforce_file_format=True)
    values = expected()
    values[:, :8, 1] = 7
    np.testing.assert_array_equal(read_image(folder).data, values)


def test_a_slice_of_padding_alone(tmp_path: Path) -> None:
    pixels = padded(-2000)
    pixels[0] = -2000
    folder = write(tmp_path / "s", classic(pixels), -2000, "SS")
    values = expected()
    values[..., 0] = 0
    np.testing.assert_array_equal(read_image(folder).data, values)


def test_enhanced_multi_frame(tmp_path: Path) -> None:
    """Slope 2 and intercept -10: the smallest stored 20 is 30."""
    pixels = padded(0).clip(20, None)
    pixels[:, :8] = -2000
    folder = write(tmp_path / "s", [enhanced(pixels)], -2000, "SS")
    values = 2.0 * volume(pixels) - 10
    values[:, :8] = 0
    np.testing.assert_array_equal(read_image(folder).data, values)


def test_white_as_zero(tmp_path: Path) -> None:
    """Padding, white as well, does not set the value from which the image is turned over."""
    pixels = (4095 - padded(0)).astype(np.int16)
    pixels[:, :8] = 32000
    inverted = classic(pixels, PhotometricInterpretation="MONOCHROME1")
    folder = write(tmp_path / "s", inverted, 32000, "SS")
    values = expected().astype(float)
    values[:, 8:] -= values[:, 8:].min()
    np.testing.assert_array_equal(read_image(folder).data, values)


def test_a_value_among_measured_ones_is_no_padding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = padded(0)
    value = int(pixels[0, 16, 16])
    folder = write(tmp_path / "s", classic(pixels), value, "SS")
    np.testing.assert_array_equal(read_image(folder).data, volume(pixels))
    assert main(["info", str(folder)]) == 0
    assert f"PixelPaddingValue {value} lies among measured values" in capsys.readouterr().out


@pytest.mark.parametrize("dark", [3, 500])
def test_all_slices_tell_whether_a_value_is_padding(tmp_path: Path, dark: int) -> None:
    """500 is the largest value of one slice, or its only one, and lies among those of others."""
    pixels = padded(1)
    pixels[0] = dark
    pixels[0, 4, 4] = 500
    folder = write(tmp_path / "s", classic(pixels), 500, "SS")
    np.testing.assert_array_equal(read_image(folder).data, volume(pixels))


@pytest.mark.parametrize("value", [b"\x01\x02\x03\x04", b""])
def test_a_malformed_value_declares_nothing(tmp_path: Path, value: bytes) -> None:
    datasets = classic(padded(0))
    folder = write(tmp_path / "s", datasets, 0, "SS")
    for place, dataset in enumerate(datasets):
        dataset.add_new(0x00280120, "OB", value)
        dataset.save_as(folder / f"{place}.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(read_image(folder).data, expected())


def test_padded_series_is_restored_like_one_of_zeros(
    tmp_path: Path, sr: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """The derived series declares no padding and has background there."""
    results = {}
    for name, value in (("padded", -2000), ("zeros", 0)):
        folder = write(tmp_path / name, classic(padded(value)), value, "SS")
        assert sr(folder, "--mode", "mean") == 0
        said = capsys.readouterr().out
        assert ("25 % of its pixels are padding (PixelPaddingValue -2000)" in said) == bool(value)
        derived = read_all(next(p for p in (tmp_path / "out").glob(f"{name}*") if p.is_dir()))
        assert not any("PixelPaddingValue" in dataset for dataset in derived)
        results[name] = np.stack([dataset.pixel_array for dataset in derived])
    np.testing.assert_array_equal(results["padded"], results["zeros"])
