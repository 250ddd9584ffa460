"""Sensitivity maps against sigpy's ESPIRiT, an implementation by other people."""

from __future__ import annotations

import numpy as np
import pytest
from fastmri_files import UNIT, coil_maps, phantom

from mrcascade.io.fastmri.coils import combine, estimate_maps, virtual_coil

mri = pytest.importorskip("sigpy.mri", reason="needs sigpy, which brings a compiler")

SIZE = (64, 64)


@pytest.mark.parametrize("noise", [0.0, 0.01])
@pytest.mark.parametrize("coils", [4, 8])
def test_maps_agree_with_espirit_of_sigpy(coils: int, noise: float) -> None:
    image = phantom(1, SIZE, SIZE)[0] / UNIT
    drawn = np.random.default_rng(0).normal(size=(2, coils, *SIZE))
    seen = image * coil_maps(coils, SIZE, SIZE) + noise * (drawn[0] + 1j * drawn[1])
    samples = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(seen, (1, 2)), norm="ortho"), (1, 2))
    calibration = mri.app.EspiritCalib(
        samples, calib_width=24, thresh=0.02, kernel_width=6, crop=0, show_pbar=False
    )
    theirs = calibration.run()
    ours = estimate_maps(seen, virtual_coil(seen))
    inside = np.abs(image) > 0.2 * np.abs(image).max()
    # The phase of a map is a convention; its direction among the coils is not.
    overlap = np.abs((theirs.conj() * ours).sum(axis=0))[inside]
    np.testing.assert_allclose(overlap, 1, atol=2e-6)
    by_them, by_us = (np.abs(combine(seen, maps))[inside] for maps in (theirs, ours))
    np.testing.assert_allclose(by_us, by_them, rtol=5e-6)
