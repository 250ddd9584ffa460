"""The preview: its content pixel by pixel, and the choice of the slice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from skimage.io import imread

from mrcascade.arrays.intensity import Intensity
from mrcascade.io import AS_STORED, Display, SliceStore, StackOrder
from mrcascade.jobs import SuperResolution, super_resolve_file
from mrcascade.jobs.preview import shown_slice
from mrcascade.operators import SeparableOperator
from mrcascade.operators.baselines import bicubic, interpolated
from mrcascade.pictures import preview, sheet
from mrcascade.pictures.preview import (
    Panel,
    detail_window,
    intensity_window,
    magnification,
    magnified,
    write_preview,
)
from mrcascade.pictures.sheet import panel_size
from mrcascade.prior.cascade import CascadePrior

pytestmark = pytest.mark.preview
UPSIDE_DOWN = Display(((1, 1), (0, -1)), "R", "L", "A", "P")
TOP = sheet.HEAD + sheet.TITLE


def textured(shape: tuple[int, int] = (48, 64)) -> np.ndarray:
    """Noise in a disc on air: detail everywhere in the body."""
    rows, columns = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    noise = np.random.default_rng(0).uniform(0.3, 1, shape)
    return (100 * noise * (rows**2 + columns**2 < 0.8)).astype(np.float32)


def grey(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """8-bit grey values of an image between black and white."""
    return np.floor(np.clip((image - low) / (high - low), 0, 1) * 256).clip(0, 255)


def upper(picture: np.ndarray, column: int, size: tuple[int, int]) -> np.ndarray:
    """The red channel of a panel of the upper row."""
    step = max(size[1], sheet.COLUMN) + sheet.GAP
    left = sheet.MARGIN + column * step + (step - sheet.GAP - size[1]) // 2
    return picture[TOP : TOP + size[0], left : left + size[1], 0].astype(float)


def lower(picture: np.ndarray, column: int, size: tuple[int, int]) -> np.ndarray:
    """The red channel of a panel of the lower row."""
    return upper(picture[size[0] + sheet.GAP :], column, size)


@pytest.mark.parametrize("display", [AS_STORED, UPSIDE_DOWN])
def test_the_lower_row_is_the_result_pixel_by_pixel(tmp_path: Path, display: Display) -> None:
    result = textured()
    panels = [Panel("input", result), Panel("result", result), Panel("sample", result * 0.5)]
    write_preview(tmp_path / "p.png", panels, (12, 16), display, "title")
    picture = imread(tmp_path / "p.png")
    image = display.turn(result)
    size, low, high = panel_size(image.shape, 1.0), *intensity_window(image)
    zoom = magnification(image.shape, 1.0)
    assert zoom == (18, 18)  # 3 times 384 / 64
    measured = display.turn(np.empty((12, 16))).shape
    window = detail_window(image, measured, size, zoom)
    for column, pixels in enumerate((image, image, image * 0.5)):
        expected = np.kron(grey(pixels[window], low, high), np.ones((18, 18)))
        panel = lower(picture, column, size)
        edges = [(s - e) // 2 for s, e in zip(size, expected.shape, strict=True)]
        rows, columns = (slice(e, e + n) for e, n in zip(edges, expected.shape, strict=True))
        # One grey level: matplotlib's normalisation is in float32.
        assert np.abs(panel[rows, columns] - expected).max() <= 1
    assert high > low == 0


def test_complex_images_are_shown_by_magnitude(tmp_path: Path) -> None:
    result = textured()
    for name, pixels in (("real", result), ("complex", (result * 1j).astype(np.complex64))):
        panels = [Panel("input", pixels), Panel("result", pixels)]
        write_preview(tmp_path / name, panels, (12, 16), AS_STORED, "title")
    np.testing.assert_array_equal(imread(tmp_path / "real"), imread(tmp_path / "complex"))


def test_a_standard_deviation_map_has_a_bar_with_its_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sheets: list[Any] = []
    save = sheet.Sheet.save
    monkeypatch.setattr(sheet.Sheet, "save", lambda s, *a: (sheets.append(s), save(s, *a)))
    std = textured() * 0.1
    panels = [Panel("input", textured()), Panel("result", textured()), Panel("std", std, True)]
    write_preview(tmp_path / "p.png", panels, (12, 16), UPSIDE_DOWN, "title", "mT")
    axes = sheets[0]._figure.axes
    assert [a.get_title() for a in axes[:3]] == ["input", "result", "std"]
    assert axes[-1].get_ylabel() == "standard deviation (mT)"
    limits = [a.images[0].get_clim() for a in axes[:3]]
    assert limits[0] == limits[1] == intensity_window(textured())
    assert limits[2] == (0, pytest.approx(np.quantile(std, preview.LARGEST_STD)))
    for a in axes[:3]:
        assert [t.get_text() for t in a.texts] == ["R", "L", "A", "P"]
    words = " ".join(t.get_text() for t in sheets[0]._figure.texts)
    assert "title" in words
    assert "mT" in words
    assert "research software, not for diagnosis" in words


@pytest.mark.parametrize(
    ("shape", "aspect", "size", "zoom"),
    [
        ((384, 384), 1.0, (384, 384), (3, 3)),
        ((192, 96), 1.0, (384, 192), (6, 6)),
        ((96, 192), 2.0, (384, 384), (12, 6)),  # pixels twice as high as wide
        ((192, 96), 0.5, (384, 384), (6, 12)),
        ((1536, 1536), 1.0, (384, 384), (1, 1)),
        ((2000, 2000), 1.0, (384, 384), (1, 1)),  # never less than a screen pixel
        ((100, 100), 1.2, (384, 320), (12, 10)),
        ((100, 100), 1.25, (384, 307), (11.25, 9)),
        ((100, 200), 0.7, (134, 384), (4, 4 / 0.7)),
    ],
)
def test_sizes(
    shape: tuple[int, int], aspect: float, size: tuple[int, int], zoom: tuple[float, float]
) -> None:
    assert panel_size(shape, aspect) == size
    assert magnification(shape, aspect) == pytest.approx(zoom)


def test_pixels_that_are_not_square_keep_their_aspect(tmp_path: Path) -> None:
    """Of 1.3 mm by 1 mm: three pixels down are as long as four across, to a screen pixel."""
    result = textured((60, 80))
    panels = [Panel("input", result), Panel("result", result)]
    display = Display(aspect=1.3)
    write_preview(tmp_path / "p.png", panels, (15, 20), display, "title")
    size, zoom = panel_size(result.shape, 1.3), magnification(result.shape, 1.3)
    assert zoom == pytest.approx((18.2, 14))
    window = detail_window(result, (15, 20), size, zoom)
    pixels = result[window]
    drawn = magnified(pixels, zoom)
    assert drawn.shape == (round(18.2 * len(pixels)), 14 * pixels.shape[1])
    # Each edge of a pixel lies where it belongs, to half a screen pixel.
    middles = [
        [round((i + 0.5) * z) for i in range(n)] for n, z in zip(pixels.shape, zoom, strict=True)
    ]
    np.testing.assert_array_equal(drawn[np.ix_(*middles)], pixels)
    counts = np.unique(np.nonzero(np.diff(drawn[:, middles[1][0]]))[0] + 1)
    assert all(np.abs(counts / 18.2 - np.round(counts / 18.2)) <= 0.5 / 18.2 + 1e-9)
    panel = lower(imread(tmp_path / "p.png"), 1, size)
    top, left = ((s - n) // 2 for s, n in zip(size, drawn.shape, strict=True))
    shown = panel[top : top + drawn.shape[0], left : left + drawn.shape[1]]
    low, high = intensity_window(result)
    assert np.abs(shown - grey(drawn, low, high)).max() <= 1  # as above


def test_black_is_zero_but_where_the_image_lies_elsewhere() -> None:
    image = textured()
    body = image[image > 0.1 * np.quantile(image, 0.999)]
    assert intensity_window(image) == (0, pytest.approx(np.quantile(body, 0.99)))
    low, high = intensity_window(image - 1024)
    assert low == pytest.approx(-1024)
    assert high == pytest.approx(np.quantile(image - 1024, 0.99))
    assert intensity_window(np.zeros((4, 4))) == (0, 1)


def test_an_offset_changes_nothing_but_the_numbers(tmp_path: Path) -> None:
    """Black is the zero level, white lies as far above it as without the offset."""
    for name, zero in (("plain", 0.0), ("moved", -1024.0)):
        panels = [Panel("input", textured() + zero), Panel("result", textured() + zero)]
        write_preview(tmp_path / name, panels, (12, 16), AS_STORED, "title", zero=zero)
    plain, moved = (imread(tmp_path / name).astype(int) for name in ("plain", "moved"))
    size = panel_size((48, 64), 1.0)
    for row in (upper, lower):
        for column in range(2):
            difference = row(plain, column, size) - row(moved, column, size)
            assert np.abs(difference).max() <= 1  # rounding of float32
    assert (plain != moved).any()  # the numbers of the grey scale


@pytest.mark.parametrize("border", [0, preview.BORDER])
def test_the_detail_is_not_at_the_edge_of_the_field_of_view(
    border: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checks are the finest detail there is, but a jump between opposite edges is stronger."""
    monkeypatch.setattr(preview, "BORDER", border)
    result = np.repeat(np.linspace(50, 200, 96)[:, None], 96, axis=1)
    result[40:52, 60:72] += 20.0 * (np.indices((12, 12)).sum(0) % 2) - 10
    rows, columns = detail_window(result, (24, 24), (384, 384), (12, 12))
    assert rows.stop - rows.start == columns.stop - columns.start == 32
    inside = rows.start <= 40 and rows.stop >= 52
    assert inside == (border > 0)
    assert (columns.start <= 60 and columns.stop >= 72) or not border


def test_the_detail_is_in_the_body() -> None:
    """Stronger checks where the image is darker than a tenth of the robust maximum are air."""
    result = np.repeat(100 * np.sin(np.pi * np.arange(96) / 96)[None] ** 8, 96, axis=0)
    for part, strength in ((result[40:52, 12:20], 7.0), (result[40:52, 44:52], 5.0)):
        part += strength * (np.indices(part.shape).sum(0) % 2)
    rows, columns = detail_window(result, (24, 24), (384, 384), (16, 16))
    assert rows.start <= 40
    assert rows.stop >= 52
    assert columns.start <= 44
    assert columns.stop >= 52


def test_input_is_interpolated_as_the_baseline_is() -> None:
    low = np.random.default_rng(0).normal(size=(1, 12, 16)).astype(np.float32)
    fourier = SeparableOperator.from_kernel("fourier", 4, (48, 64))
    expected = fourier.pinv(torch.from_numpy(low)).numpy()
    np.testing.assert_array_equal(interpolated(low, fourier, "fourier"), expected)
    area = SeparableOperator.from_kernel("area", 4, (48, 64))
    np.testing.assert_array_equal(
        interpolated(low, area, "area"), bicubic(low, "area", area.in_shape)
    )


@pytest.mark.parametrize(
    ("filled", "shown"), [([4, 5, 6], 5), ([0], 0), ([5, 6], 6), (range(7), 3), ([], 3)]
)
def test_the_middle_of_the_slices_that_are_not_air(
    tmp_path: Path, filled: list[int], shown: int
) -> None:
    with SliceStore(tmp_path, StackOrder((8, 8, 7), (2, 1, 0), (0, 1)), np.float32) as store:
        stack = np.full((7, 8, 8), 0.1, np.float32)
        stack[list(filled)] = 50
        store.write(0, stack)
        assert shown_slice(store, Intensity(50.0)) == shown


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """Arguments of the previews that are written."""
    calls: list[tuple] = []

    def note(*arguments: Any) -> None:
        calls.append(arguments)
        write_preview(*arguments)

    monkeypatch.setattr("mrcascade.jobs.preview.write_preview", note)
    return calls


def restore(path: Path, output: Path, prior: CascadePrior, **options: Any) -> Path:
    job = SuperResolution(**{"factor": (2, 2), "noise": 0.0, **options})
    paths = super_resolve_file(
        path, output, prior, job, say=lambda _: None, progress=lambda _: lambda _: None
    )
    return next(p for p in paths if p.suffix == ".png")


AFFINES: dict[str, Callable[[], np.ndarray]] = {
    "RAS": lambda: np.diag([1.0, 1.0, 4.0, 1.0]),
    "LPS": lambda: np.diag([-1.0, -1.0, 4.0, 1.0]),
    "ARS": lambda: np.diag([1.0, 1.0, 4.0, 1.0])[[1, 0, 2, 3]],
    "PLS": lambda: np.diag([-1.0, -1.0, 4.0, 1.0])[[1, 0, 2, 3]],
}


@pytest.mark.parametrize("codes", AFFINES)
def test_a_lesion_in_the_left_front_is_at_the_top_right(
    tmp_path: Path, prior: CascadePrior, codes: str
) -> None:
    """From the file to the PNG: a disc that is brightest where the patient's left front is."""
    affine = AFFINES[codes]()
    rows, columns = np.meshgrid(np.linspace(-1, 1, 32), np.linspace(-1, 1, 32), indexing="ij")
    place = [affine[axis, 0] * rows + affine[axis, 1] * columns for axis in range(2)]  # x, y
    plane = 100.0 * (rows**2 + columns**2 < 0.9)
    plane[(place[0] + 0.4) ** 2 + (place[1] - 0.4) ** 2 < 0.04] = 300
    path = tmp_path / "a.nii.gz"
    nib.save(nib.Nifti1Image(np.stack([plane] * 3, -1).astype(np.float32), affine), path)
    picture = imread(restore(path, tmp_path / "out", prior))
    panel = upper(picture, 0, (sheet.PANEL, sheet.PANEL))
    half = sheet.PANEL // 2
    quarters = [panel[:half, :half], panel[:half, half:], panel[half:, :half], panel[half:, half:]]
    assert int(np.argmax([q.mean() for q in quarters])) == 1
    assert picture.shape[0] > picture.shape[1] > 600
    assert (tmp_path / "out" / "a_desc-sr2x.png").stat().st_size < 2**20


def test_what_titles_say(tmp_path: Path, prior: CascadePrior, drawn: list[tuple]) -> None:
    data = np.stack([textured((32, 24))] * 5, -1)
    data[..., 3:] = 0
    path = tmp_path / "a.nii.gz"
    nib.save(nib.Nifti1Image(data, np.diag([-1.0, 1.5, 4.0, 1.0])), path)
    restore(path, tmp_path / "out", prior, mode="paper:zeta=0.1", steps=6, samples=2)
    _, panels, measured, display, title, unit, _ = drawn[0]
    assert [p.title for p in panels] == [
        "input, zero-filled: 24 x 32",  # as it is drawn, on its side
        "result, mean of 2 samples: 48 x 64",
        "one of the samples",
        "standard deviation of 2 samples",
    ]
    assert [p.spread for p in panels] == [False, False, False, True]
    assert measured == (32, 24)
    assert (display.left, display.top) == ("R", "A")
    assert display.aspect == pytest.approx(1.5)
    assert title == (
        "Super-resolved 2x (fourier), mode paper with changed settings, 6 steps\naxial slice 2 of 5"
    )
    assert unit == "a.u."


def test_arrays_and_fourth_dimensions(
    tmp_path: Path, prior: CascadePrior, drawn: list[tuple]
) -> None:
    data = np.stack([textured((16, 24))] * 6, -1).reshape(16, 24, 2, 3)
    np.save(tmp_path / "a.npy", data)
    restore(tmp_path / "a.npy", tmp_path / "out", prior, kernel="area")
    np.save(tmp_path / "b.npy", data[..., 0, 0])
    restore(tmp_path / "b.npy", tmp_path / "out", prior)
    assert [call[3] for call in drawn] == [AS_STORED] * 2
    assert drawn[0][1][0].title == "input, bicubic: 16 x 24"
    assert drawn[0][4].endswith("\nslice 2 of 2, volume 2 of 3")
    assert drawn[1][4].endswith("\nslice")
