"""`sr --isotropic`: what is refused, by one line, before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from thick_images import phantom, thick_file

from mrcascade.errors import MRCascadeError
from mrcascade.measurement.thick import Isotropic, result_label

LSQ = ("--mode", "lsq")


def spaced(distance: float, pixel: float = 1.0) -> np.ndarray:
    return np.diag([pixel, pixel, distance, 1.0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--mode", "lsq", "--steps", "3"), "mode 'lsq' has no use for --steps"),
        (("--mode", "lsq", "--samples", "3"), "mode 'lsq' has no use for --samples"),
        (("--mode", "lsq", "--noise", "0"), "mode 'lsq' has no use for --noise"),
        (("--mode", "lsq:smoothness=1"), "'lsq' has no settings"),
        (("--kernel", "area"), "--kernel says how planes were made"),
        (("--isotropic", "--factor", "2", "--mode", "sample"), "by mode 'mean' alone"),
        (("--isotropic", "--factor", "2", "--samples", "2"), "by mode 'mean' alone"),
        (("--isotropic", "--factor", "2", "--mode", "lsq"), "by mode 'mean' alone"),
        (("--isotropic", "--factor", "1"), "give factors above 1"),
        (("--mode", "mean", "--samples", "2"), "mode 'mean' has one result"),
        (("--factor", "2", "--slice-thickness", "3"), "--slice-thickness: of --isotropic alone"),
        (("--factor", "2", "--slice-profile", "rect"), "--slice-profile: of --isotropic alone"),
        (("--factor", "2", "--mode", "lsq"), "mode 'lsq' is one of --isotropic"),
        (("--isotropic", "0.4"), "more than 8 new slices for each; give --isotropic 0.5 or more"),
        (("--isotropic", "3.9"), "which makes none thinner; give --isotropic 3.429 or less"),
        (("--isotropic", "40"), "which makes none thinner; give --isotropic 3.429 or less"),
        (("--slice-thickness", "17"), "give the right thickness with --slice-thickness MM"),
        (("--slice-profile", "boxcar"), "slice profile boxcar: neither one of gaussian, rect nor"),
        (("--format", "dicom"), "is no DICOM series"),
        (("--axes", "0,1", "--acquired-matrix", "40,40"), "is larger than the stored"),
    ],
)
def test_options_that_do_not_fit(
    options: tuple[str, ...], message: str, tmp_path: Path, sr: Callable, capsys
) -> None:
    path = thick_file(tmp_path / "a.nii.gz")
    assert sr(path, *options) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("shape", "affine", "message"),
    [
        ((36, 32), spaced(4), "is a single slice; --isotropic needs a stack of at least 3"),
        ((36, 32, 1), spaced(4), "is a single slice"),
        ((36, 32, 2), spaced(4), "has 2 slices; --isotropic needs at least 3"),
        ((36, 32, 6), spaced(1.04), "6 slices 1.04 mm apart and its pixels have 1 mm, so that"),
        ((36, 32, 6), spaced(1.06), "so that it is isotropic already"),  # 6.36 new slices
    ],
)
def test_images_that_are_no_thick_slices(
    shape: tuple[int, ...], affine: np.ndarray, message: str, tmp_path: Path, sr: Callable, capsys
) -> None:
    path = thick_file(tmp_path / "a.nii.gz", phantom((36, 32, 6))[..., : (*shape, 1)[2]], affine)
    if len(shape) == 2:
        thick_file(path, phantom()[..., 0], affine)
    assert sr(path, *LSQ) == 2
    error = capsys.readouterr().err
    assert f"{path}" in error
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_ratio_just_above_the_limit_is_restored(tmp_path: Path, sr: Callable) -> None:
    path = thick_file(tmp_path / "a.nii.gz", phantom((36, 32, 20)), spaced(1.06))
    assert sr(path, *LSQ) == 0


def test_arrays_without_voxel_sizes(tmp_path: Path, sr: Callable, capsys) -> None:
    np.save(tmp_path / "a.npy", phantom())
    assert sr(tmp_path / "a.npy", *LSQ) == 2
    assert "does not state its voxel sizes, which --isotropic needs" in capsys.readouterr().err


def test_neither_factor_nor_isotropic(tmp_path: Path, capsys, prior_folder: Path) -> None:
    from mrcascade.cli import main

    path = thick_file(tmp_path / "a.nii.gz")
    assert main(["sr", str(path), "-o", str(tmp_path / "out")]) == 2
    assert "give --factor, such as 2, or --isotropic" in capsys.readouterr().err


def test_inputs_come_before_the_option(tmp_path: Path, capsys) -> None:
    from mrcascade.cli import main

    with pytest.raises(SystemExit) as stop:
        main(["sr", "--isotropic", "a.nii.gz", "-o", "out"])
    assert stop.value.code == 2
    assert "inputs come before --isotropic" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("factor", "isotropic", "label"),
    [
        ((2.0, 2.0), None, "sr2x"),
        ((1.0, 1.0), Isotropic(), "sriso"),
        ((1.0, 1.0), Isotropic(0.8), "sriso0p8mm"),
        ((2.0, 1.0), Isotropic(), "sr2by1xiso"),
        ((1.5, 1.5), Isotropic(2.0), "sr1p5xiso2mm"),
    ],
)
def test_labels_of_names(
    factor: tuple[float, float], isotropic: Isotropic | None, label: str
) -> None:
    assert result_label(factor, isotropic) == label


@pytest.mark.parametrize("field", ["spacing", "thickness"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_lengths_are_above_zero(field: str, value: float) -> None:
    with pytest.raises(MRCascadeError, match=f"{field} .* must be above 0"):
        Isotropic(**{field: value})
