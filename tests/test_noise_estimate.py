"""Noise of images that come without a number for it."""

from __future__ import annotations

import numpy as np
import pytest

from mrcascade import CascadePrior, SeparableOperator, super_resolve
from mrcascade.intensity import robust_maximum
from mrcascade.noise_estimate import estimate_noise


def test_noise_is_estimated_on_request(prior: CascadePrior) -> None:
    operator = SeparableOperator.from_kernel("fourier", 2, (128, 128))
    y = (1 + 0.05 * np.random.default_rng(0).normal(size=(2, 64, 64))).astype(np.float32)
    noise = estimate_noise(y) / robust_maximum(y)
    estimated = super_resolve(y, operator, prior, noise=None)
    assert estimated.settings["noise"] == noise > 0.01
    np.testing.assert_array_equal(
        estimated.mean, super_resolve(y, operator, prior, noise=noise).mean
    )


def test_noise_of_complex_images() -> None:
    """The parts of a sloping phase pass through zero everywhere. The quantile of 282 blocks of 64
    details varies by 2 %, four times which is allowed; the phase itself adds under 1 % to it."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:256, :256] / 256
    body = 1.0 * ((rows - 0.5) ** 2 + (columns - 0.5) ** 2 < 0.2)
    for cycles in (0, 6, 12):
        image = body * np.exp(2j * np.pi * cycles * (rows + columns))
        image += 0.02 * (rng.normal(size=body.shape) + 1j * rng.normal(size=body.shape))
        assert estimate_noise([image]) == pytest.approx(0.02, rel=0.08)
