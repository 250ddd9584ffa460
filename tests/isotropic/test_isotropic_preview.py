"""The preview of thin slices: both reformatted planes, at true aspect, and what they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from skimage.io import imread
from thick_images import phantom, thick_file

import mrcascade
from mrcascade.io import Display
from mrcascade.pictures import sheet
from mrcascade.pictures.preview import Panel, intensity_window
from mrcascade.pictures.reformatted import Reformatted, write_reformatted
from mrcascade.prior.cascade import CascadePrior
from mrcascade.restore.volume import ThickSlices, least_squares

SHAPE = (36, 32, 12)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    calls: list[tuple[Any, ...]] = []

    def note(path: Path, *arguments: Any) -> None:
        calls.append(arguments)
        path.write_bytes(b"a picture")

    monkeypatch.setattr("mrcascade.jobs.preview.write_reformatted", note)
    return calls


def test_both_planes_before_and_after(
    tmp_path: Path, prior: CascadePrior, drawn: list[tuple[Any, ...]]
) -> None:
    path = thick_file(tmp_path / "a.nii.gz", phantom(SHAPE))
    options: dict[str, Any] = {"samples": 2, "steps": 4, "noise": 0.0, "spacing": 2.0}
    made = mrcascade.make_isotropic_file(path, tmp_path / "out", prior, **options)
    ((planes, title, about, unit, zero),) = drawn
    assert title.splitlines() == [
        "Thick slices resolved into thin ones, mode sample, 4 steps",
        "coronal and sagittal planes, slices 4 mm apart become 2 mm",
    ]
    assert about == "gaussian profile 4 mm thick"
    assert (unit, zero) == ("a.u.", 0.0)
    mean, std = (nib.load(p).get_fdata().transpose(2, 0, 1) for p in (made[0], made[2]))
    low = phantom(SHAPE).transpose(2, 0, 1)
    baseline = least_squares(low, ThickSlices(12, 24))
    columns, rows = 16, 18  # the middle ones
    for plane, cut in zip(planes, (np.s_[:, :, columns], np.s_[:, rows]), strict=True):
        assert [p.title for p in plane.panels] == [
            "12 slices, 4 mm apart",
            "least squares, no prior",
            "mean of 2 samples",
            "standard deviation of 2 samples",
        ]
        expected = [np.repeat(low, 2, 0)[cut], baseline[cut], mean[cut], std[cut]]
        for panel, pixels in zip(plane.panels, expected, strict=True):
            np.testing.assert_allclose(panel.pixels, pixels, atol=2e-3)
        assert [p.spread for p in plane.panels] == [False, False, False, True]
    # Rows are slices 2 mm apart, columns pixels of 1 mm; head above, L or P on the right.
    first, second = (plane.display for plane in planes)
    assert (first.aspect, second.aspect) == pytest.approx((2, 2))
    assert (first.top, second.top) == ("S", "S")
    assert {(first.left, first.right), (second.left, second.right)} == {("R", "L"), ("A", "P")}


@pytest.mark.parametrize(
    ("order", "names", "aspects"),
    [
        ((0, 1, 2), "coronal and sagittal", (0.5, 0.5)),  # axial slices of 1 mm pixels
        ((2, 0, 1), "axial and coronal", (2.0, 2.0)),  # sagittal slices: across the picture
    ],
)
def test_least_squares_have_no_baseline(
    order: tuple[int, ...],
    names: str,
    aspects: tuple[float, float],
    tmp_path: Path,
    prior: CascadePrior,
    drawn: list[tuple[Any, ...]],
) -> None:
    """The display follows the patient, whatever the slice axis of the array."""
    spacing = np.array([1.0, 1.0, 4.0])
    affine = np.eye(4)
    for axis, world in enumerate(order):
        affine[:3, axis] = 0
        affine[world if order == (0, 1, 2) else (1, 2, 0)[axis], axis] = spacing[axis]
    path = thick_file(tmp_path / "a.nii.gz", phantom(), affine)
    mrcascade.make_isotropic_file(path, tmp_path / "out", prior, mode="lsq", spacing=0.5)
    ((planes, title, *_),) = drawn
    assert title.splitlines()[1].startswith(f"{names} planes")
    assert [[p.title for p in plane.panels] for plane in planes] == [
        ["6 slices, 4 mm apart", "result"]
    ] * 2
    assert tuple(plane.display.aspect for plane in planes) == pytest.approx(aspects)


@pytest.mark.preview
def test_the_picture_has_rows_of_true_aspect(tmp_path: Path) -> None:
    """Two planes of 100 x 200 mm and 100 x 50 mm, with a square of 40 mm in each."""
    planes = []
    for width in (200, 50):
        image = np.zeros((25, width), np.float32)  # rows of 4 mm
        image[8:18, 5:45] = 100.0
        display = Display(aspect=4.0)
        planes.append(Reformatted([Panel("a", image), Panel("b", image)], display))
    write_reformatted(tmp_path / "p.png", planes, "title\nsecond", "about")
    picture = imread(tmp_path / "p.png")[..., 0].astype(float)
    sizes = [sheet.panel_size((25, width), 4.0) for width in (200, 50)]
    assert sizes == [(192, 384), (384, 192)]
    top = sheet.HEAD + sheet.TITLE
    for height, width in sizes:
        left = sheet.MARGIN + (384 - width) // 2
        panel = picture[top : top + height, left : left + width]
        bright = panel > 128
        rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
        # A square on screen, to a pixel at each edge.
        assert abs(np.ptp(rows) - np.ptp(columns)) <= 2
        assert abs(np.ptp(rows) + 1 - 0.4 * height) <= 2
        top += height + sheet.GAP
    assert intensity_window(planes[0].panels[0].pixels) == (0.0, 100.0)
