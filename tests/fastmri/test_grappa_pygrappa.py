"""GRAPPA against pygrappa's, an implementation by other people."""

from __future__ import annotations

import numpy as np
import pytest
from fastmri_files import UNIT, coil_maps, phantom, to_kspace

from mrcascade.io.fastmri.grappa import REACH_COLUMNS, REACH_ROWS, REGULARISATION, Grappa

pygrappa = pytest.importorskip("pygrappa", reason="needs pygrappa, which is compiled")

SIZE = (48, 33)


@pytest.mark.parametrize("noise", [0.0, 0.02])
@pytest.mark.parametrize("start", [0, 1])
def test_completed_kspace_agrees(start: int, noise: float) -> None:
    """It also fits windows that reach over the edge of the calibration data, where it takes zeros:
    here they get a rim of zeros. Kernels solve equations of condition up to 1e5 in double
    precision, from samples in single precision."""
    full = to_kspace(phantom(1, SIZE, SIZE)[0] / UNIT * coil_maps(8, SIZE, SIZE))
    drawn = np.random.default_rng(0).normal(size=(2, *full.shape))
    kspace = (full + noise * (drawn[0] + 1j * drawn[1])).astype(np.complex128)
    calibration = kspace[..., 4:28]
    measured = np.arange(SIZE[1]) % 2 == start
    theirs = pygrappa.mdgrappa(
        kspace * measured,
        calib=calibration.copy(),
        kernel_size=(2 * REACH_ROWS + 1, 2 * REACH_COLUMNS + 1),
        coil_axis=0,
        lamda=REGULARISATION,
    )
    rim = ((0, 0), (REACH_ROWS,) * 2, (REACH_COLUMNS,) * 2)
    grappa = Grappa(np.pad(calibration, rim), measured[None])
    ours, _ = grappa.complete(kspace * measured, measured)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9 * np.abs(kspace).max())
