"""T2 files of fastMRI prostate as complex images: values, noise, phases, grid, refused files."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from fastmri_files import PIXEL, UNIT, coil_maps
from prostate_files import (
    FILLED,
    GRID,
    RECON,
    T2Scan,
    Turn,
    fully_sampled,
    grappa_by_windows,
    kernel_by_windows,
    publishers_magnitude,
    t2_scan,
)
from tests.quick import slow

from mrcascade.cli import main
from mrcascade.data.folder import list_data, read_slices
from mrcascade.errors import MRCascadeError
from mrcascade.io import open_source, read_image
from mrcascade.io.fastmri.grappa import REGULARISATION

TURNED: tuple[Turn, Turn, Turn] = ((0, 0, 0), (2.5, 0.02, -0.01), (-1.0, -0.01, 0.03))
NOISE = 0.03


def stack(path: Path) -> np.ndarray:
    """The complex image as (slices, rows, columns), in units of the object."""
    return np.moveaxis(read_image(path, complex_valued=True).data, 2, 0) / UNIT


def object_of(scan: T2Scan) -> np.ndarray:
    return scan.stored > 0.2 * scan.stored.max()


def rms(error: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.abs(error) ** 2)))


def error_of_kernels(scan: T2Scan) -> float:
    """Bound of the error that GRAPPA leaves without noise, as root mean square over the matrix.

    The norm of the error in k-space, by another implementation: that in the whole image is the
    same, and unit maps never make it larger."""
    worst = 0.0
    for number, calibration in enumerate(scan.calibration):
        errors = []
        for average in scan.averages[:2, number]:
            filled, _ = grappa_by_windows(average, calibration, (5, 7), REGULARISATION)
            errors.append(np.linalg.norm(filled - scan.complete[number]) / UNIT)
        worst = max(worst, (2 * errors[0] + errors[1]) / 3)
    return float(worst / np.sqrt(RECON[0] * RECON[1]))


def expected_noise(scan: T2Scan) -> float:
    """Root mean square of the noise in the combined image, within the object.

    GRAPPA multiplies the coils' images of the measured lines, in each pixel, by a matrix of coils,
    the transform of the kernel (Breuer et al., Magn Reson Med 62:739-746, 2009)."""
    (calibration,) = scan.calibration
    coils = len(calibration)
    mask = np.zeros((5, 7), bool)
    mask[:, ::2] = True
    kernel = kernel_by_windows(calibration, mask, REGULARISATION).reshape(5, 4, coils, coils)
    y, x = (np.arange(m) - m // 2 for m in RECON)
    waves = [
        np.exp(-2j * np.pi * np.outer(shift, place) / n)
        for shift, place, n in zip(([-2, -1, 0, 1, 2], [-3, -1, 1, 3]), (y, x), GRID, strict=True)
    ]
    unfolded = np.einsum("rcpq,ry,cx->yxqp", kernel, *waves) + np.eye(coils)
    whole = coil_maps(coils, GRID, FILLED)[:, 16:48, 16:48]
    maps = whole / np.sqrt((np.abs(whole) ** 2).sum(axis=0))
    # The row order of k-space: the object's is reversed.
    gain = (np.abs(np.einsum("qyx,yxqp->yxp", maps.conj(), unfolded)) ** 2).sum(axis=2)[::-1]
    measured = np.count_nonzero((scan.averages[:, 0] != 0).any(axis=1)[:, 0], axis=1) * GRID[0]
    one = 2 * NOISE**2 * gain[None] * measured[:, None, None] / np.prod(GRID)
    inside = object_of(scan)[0]
    return float(np.sqrt((one.sum(axis=0) / 9)[inside].mean()))


# ---- values ----


@pytest.mark.parametrize("turns", [slow(((0, 0, 0),) * 3), TURNED])
def test_complex_image_is_that_of_a_fully_sampled_scan(
    tmp_path: Path, turns: tuple[Turn, Turn, Turn]
) -> None:
    """At the phase of the first average, whatever that of the others."""
    scan = t2_scan(tmp_path / "a.h5", slices=2, turns=turns)
    ours, full = stack(scan.path), stack(fully_sampled(tmp_path / "full.h5", scan))
    assert ours.dtype == full.dtype == np.complex64
    assert rms(ours - full) < error_of_kernels(scan)


def test_noise_is_as_expected(tmp_path: Path) -> None:
    """The root mean square over 1000 pixels is good to 2 %; kernels fitted to noisy calibration
    data leave 2 % more, and those of the two lines at the edge of k-space 4 %."""
    scan = t2_scan(tmp_path / "a.h5", noise=NOISE, turns=TURNED)
    inside = object_of(scan)
    ours, full = stack(scan.path)[inside], stack(fully_sampled(tmp_path / "full.h5", scan))[inside]
    # One phase is arbitrary: with noise another one of like coils can be the strongest.
    error = ours * np.exp(-1j * np.angle(np.vdot(full, ours))) - full
    assert rms(error) == pytest.approx(expected_noise(scan), rel=0.1)


def test_magnitude_agrees_with_the_stored_reconstruction(tmp_path: Path) -> None:
    """Within the noise; that reconstruction has its own GRAPPA, and adds the coils' noise."""
    scan = t2_scan(tmp_path / "a.h5", noise=NOISE, turns=TURNED)
    error = np.abs(stack(scan.path)) - publishers_magnitude(scan) / UNIT
    assert rms(error[object_of(scan)]) < expected_noise(scan)


def test_magnitude_priors_read_the_stored_reconstruction(tmp_path: Path) -> None:
    scan = t2_scan(tmp_path / "a.h5", slices=2)
    image, complex_image = read_image(scan.path), read_image(scan.path, complex_valued=True)
    np.testing.assert_array_equal(image.data, np.moveaxis(scan.stored, 0, 2))
    np.testing.assert_allclose(image.affine, complex_image.affine)
    assert image.spacing == pytest.approx((*PIXEL, 4.5))


def test_lines_that_are_measured_in_all_averages(tmp_path: Path) -> None:
    """A fully sampled centre stays as it is, so that kernels leave less error than without."""
    scan = t2_scan(tmp_path / "a.h5")
    limit = error_of_kernels(scan)
    averages = scan.averages.copy()
    averages[..., 18:27] = scan.complete[..., 18:27]
    path = scan.write(tmp_path / "b.h5", kspace=averages)
    full = stack(fully_sampled(tmp_path / "full.h5", scan))
    assert rms(stack(path) - full) < limit / 2


def test_empty_slice(tmp_path: Path) -> None:
    scan = t2_scan(tmp_path / "a.h5", slices=3)
    averages = scan.averages.copy()
    averages[:, 0] = 0
    image = stack(scan.write(tmp_path / "b.h5", kspace=averages))
    assert not image[0].any()
    assert image[1:].any(axis=(1, 2)).all()


# ---- grid ----


@pytest.mark.parametrize("centre", [20, slow(24)])
def test_centre_of_kspace_is_the_headers(tmp_path: Path, centre: int) -> None:
    scan = t2_scan(tmp_path / "a.h5", centre=centre)
    full = stack(fully_sampled(tmp_path / "full.h5", scan, centre))
    assert rms(stack(scan.path) - full) < error_of_kernels(scan)
    # Columns reach 44 - 20 + 1 = 25 or 24 from the centre: 50 and 48 of 64, and so of 32.
    with open_source(scan.path, complex_valued=True) as source:
        assert source.acquired == {0: 32, 1: {20: 25, 24: 24}[centre]}


def test_without_a_header_columns_are_padded_evenly(tmp_path: Path) -> None:
    """9 columns of 19 on the left: one less than by the header, a linear phase in the image."""
    scan = t2_scan(tmp_path / "a.h5")
    bare = scan.write(tmp_path / "b.h5", without=("ismrmrd_header",))
    x = np.arange(RECON[1]) - RECON[1] // 2
    turned = stack(bare) * np.exp(2j * np.pi * x / GRID[1])
    expected = stack(scan.path)
    turned *= np.exp(-1j * np.angle(np.vdot(expected, turned)))
    assert rms(turned - expected) < error_of_kernels(scan)
    assert read_image(bare, complex_valued=True).spacing == (1, 1, 1)


def test_odd_rows_are_cropped_as_the_publisher_crops(tmp_path: Path) -> None:
    scan = t2_scan(tmp_path / "a.h5", recon=(31, 29))
    error = (np.abs(stack(scan.path)) - scan.stored / UNIT)[object_of(scan)]
    assert stack(scan.path).shape == (1, 31, 29)
    assert rms(error) < 0.01  # a row off is 0.2


# ---- data, refused files ----


def test_data_for_training(tmp_path: Path) -> None:
    """At the acquired matrix: 46 of 64 columns are reached, and so 23 of 32."""
    t2_scan(tmp_path / "training" / "file_prostate_AXT2_001.h5", slices=2)
    (file,) = list_data(tmp_path, True, True)
    assert (file.group, file.split) == ("prostate", "train")
    found = read_slices(file)
    assert (found.stack.dtype, found.stack.shape) == (np.complex64, (2, *RECON))
    assert found.acquired.matrix == (32, 23)


def refused(path: Path, *parts: str) -> None:
    with pytest.raises(MRCascadeError) as caught:
        read_image(path, complex_valued=True)
    message = str(caught.value)
    assert message.isprintable()
    assert all(part in message for part in (str(path), ";", "reconstruct", *parts)), message
    read_image(path)  # the magnitude is still there


def test_other_layouts_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    scan = t2_scan(path, slices=3)
    spoiled = {name: scan.averages.copy() for name in ("far", "none", "other", "gone")}
    spoiled["far"][..., 10:16] = 0
    spoiled["none"][1] = 0
    spoiled["other"][:, 2, ..., 2::4] = 0
    spoiled["gone"][2, 0] = 0
    lacking = scan.calibration.copy()
    lacking[..., 5] = 0
    for name, values, reason in (
        ("kspace", np.repeat(scan.averages, 2, axis=0), "6 averages"),  # diffusion has 50
        ("calibration_data", scan.calibration[:2], "does not fit"),
        ("calibration_data", scan.calibration[:, :4], "does not fit"),
        ("calibration_data", scan.calibration[:, :, :60], "does not fit"),
        ("calibration_data", scan.calibration[..., :6], "smaller than a kernel"),
        ("calibration_data", lacking, "lack lines"),
        ("kspace", scan.averages[:, :, :1], "one coil"),
        ("kspace", spoiled["far"], "more than 3 lines"),
        ("kspace", spoiled["none"], "no samples"),
        ("kspace", spoiled["other"], "average 0 of slice 2 is sampled on other lines"),
        ("kspace", spoiled["gone"], "average 2 of slice 0 has no samples"),
    ):
        refused(scan.write(path, **{name: values}), reason)
    refused(scan.write(path, without=("calibration_data",)), "no calibration_data")


def test_calibration_data_that_are_damaged(tmp_path: Path) -> None:
    scan = t2_scan(tmp_path / "a.h5")
    endless = scan.calibration.copy()
    endless[0, 0, 3, 3] = np.nan
    for values, reason in (
        (endless, "calibration_data holds values that are NaN"),
        (np.abs(scan.calibration), "calibration_data holds values of type"),
        (scan.calibration[0], "calibration_data has the shape"),
    ):
        path = scan.write(tmp_path / "b.h5", calibration_data=values)
        with pytest.raises(MRCascadeError, match=reason):
            read_image(path, complex_valued=True)
        np.testing.assert_array_equal(read_image(path).data, np.moveaxis(scan.stored, 0, 2))


def test_without_a_stored_reconstruction(tmp_path: Path) -> None:
    """The complex image is there all the same."""
    scan = t2_scan(tmp_path / "a.h5")
    path = scan.write(tmp_path / "b.h5", without=("reconstruction_rss",))
    assert read_image(path, complex_valued=True).shape == (*RECON, 1)
    with pytest.raises(MRCascadeError, match=r"3 averages.* no reconstruction"):
        read_image(path)


@pytest.mark.slow
def test_memory_does_not_grow_with_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The averages of one slice take 0.4 MB, their images 0.6 MB."""
    monkeypatch.setattr("mrcascade.io.blocks.BLOCK_VOXELS", 2 * RECON[0] * RECON[1])
    peaks = []
    for slices in (2, 8):
        path = t2_scan(tmp_path / f"{slices}.h5", slices=slices).path
        tracemalloc.start()
        with open_source(path, complex_valued=True) as source:
            for _ in source.blocks():
                pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.05 * peaks[0]


# ---- commands ----

COMBINED = "6 coils combined with maps by ESPIRiT"
OBSTACLE = (
    "its k-space has 3 averages, which in fastMRI prostate are each undersampled and meant for"
    " GRAPPA"
)


def test_sr_reads_the_complex_image_or_the_magnitude(
    tmp_path: Path, sr: Callable[..., int], complex_prior: Path, prior_folder: Path, capsys
) -> None:
    path = t2_scan(tmp_path / "prostate.h5").path
    said = {}
    for prior, kind, source in (
        (complex_prior, np.complex64, f"3 averages completed by GRAPPA, {COMBINED}"),
        (prior_folder, np.float32, f"the stored reconstruction_rss, as {OBSTACLE}"),
    ):
        assert sr(path, "--overwrite", prior=prior) == 0
        said[kind] = capsys.readouterr().out
        result = nib.load(tmp_path / "out" / "prostate_desc-sr2x.nii.gz")
        assert result.get_data_dtype() == kind
        sidecar = json.loads((tmp_path / "out" / "prostate_desc-sr2x.json").read_text())
        assert sidecar["SourceImage"] == source
    assert "32 x 32 pixels were interpolated from 32 x 23 acquired ones" in said[np.complex64]


def test_info(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    scan = t2_scan(tmp_path / "a.h5", slices=2)
    assert main(["info", str(scan.path)]) == 0
    said = capsys.readouterr().out
    assert "k-space: 3 averages, 2 slices, 6 coils, 64 x 45, each undersampled" in said
    assert "complex priors read its averages, completed by GRAPPA, as 32 x 32" in said
    assert main(["info", str(scan.write(tmp_path / "b.h5", without=("calibration_data",)))]) == 0
    assert "no complex image: " in (said := capsys.readouterr().out)
    assert "no calibration_data" in said
