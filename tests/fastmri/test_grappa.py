"""GRAPPA: exact where k-space is linearly dependent, dense least squares elsewhere, its noise."""

from __future__ import annotations

import numpy as np
import pytest
from prostate_files import grappa_by_windows
from tests.quick import slow

from mrcascade.io.fastmri.grappa import REGULARISATION, Grappa, check_kernels

EVEN = np.arange(31) % 2 == 0
PATTERNS = {
    "every second line": EVEN,
    "the lines between": ~EVEN,
    "every third line": np.arange(31) % 3 == 0,
    "every fourth line": np.arange(31) % 4 == 0,
    "a full centre": EVEN | (abs(np.arange(31) - 15) < 5),
}


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


def dependent(coils: int, rows: int = 40, columns: int = 31) -> np.ndarray:
    """k-space of an arbitrary object and of coils whose sensitivities have 3 x 3 frequencies."""
    wide, taps = draw(rows + 2, columns + 2), draw(coils, 3, 3, seed=1)
    return sum(
        taps[:, i, j, None, None] * wide[i : i + rows, j : j + columns] for i, j in np.ndindex(3, 3)
    )


def smooth(noise: float) -> np.ndarray:
    """k-space of eight coils that is strong in the centre, with noise."""
    far = np.hypot(np.arange(-20, 20)[:, None], np.arange(-15, 16))
    return dependent(8) * np.exp(-((far / 8) ** 2)) + noise * draw(8, 40, 31, seed=2)


@pytest.mark.parametrize("name", [name for name in PATTERNS if "fourth" not in name])
def test_linear_dependence_is_recovered(name: str) -> None:
    """Measured lines up to three apart see all columns of the object between them, and a kernel
    has more samples of 16 coils than these columns have in 5 + 2 rows: it is exact. Beyond the
    last measured line, and between lines four apart, part of the object is not seen. Tikhonov's
    share of 1e-12 is far below the least singular value that matters: roundings are left."""
    kspace, measured = dependent(16), PATTERNS[name]
    grappa = Grappa(kspace[..., 4:28], measured[None], regularisation=1e-12)
    completed, _ = grappa.complete(kspace * measured, measured)
    first, *_, last = np.flatnonzero(measured)
    np.testing.assert_allclose(
        completed[..., first : last + 1],
        kspace[..., first : last + 1],
        rtol=0,
        atol=1e-10 * np.abs(kspace).max(),
    )
    np.testing.assert_array_equal(completed[..., measured], kspace[..., measured])


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("noise", [0.05, slow(1.0)])
def test_kernels_are_those_of_dense_least_squares(name: str, noise: float) -> None:
    """At the edges too, and with the noise that they leave. A kernel for every third line reaches
    two lines far, and is fitted to windows of that width."""
    kspace, measured = smooth(noise), PATTERNS[name]
    calibration = kspace[..., 9:24]
    ours, gain = Grappa(calibration, measured[None]).complete(kspace * measured, measured)
    size = (5, 5 if "third" in name else 7)
    theirs, expected = grappa_by_windows(kspace * measured, calibration, size, REGULARISATION)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9 * np.abs(kspace).max())
    assert gain == pytest.approx(expected, rel=1e-9)


def test_patterns_share_their_kernels() -> None:
    kspace = smooth(0.1)
    both = Grappa(kspace[..., 9:24], np.stack([EVEN, ~EVEN]))
    for measured in (EVEN, ~EVEN):
        alone = Grappa(kspace[..., 9:24], measured[None])
        expected, noise = alone.complete(kspace * measured, measured)
        completed, gain = both.complete(kspace * measured, measured)
        np.testing.assert_allclose(completed, expected, atol=1e-9 * np.abs(kspace).max())
        assert gain == pytest.approx(noise, rel=1e-9)


def test_noise_after_completion() -> None:
    """White noise through fixed kernels: the mean square of n samples, of which those of a window
    of up to 20 hang together, is within 5 sqrt(20 / n) of its expectation."""
    grappa = Grappa(smooth(0.3)[..., 9:24], np.stack([EVEN, ~EVEN]))
    for measured in (EVEN, ~EVEN):
        squares, gains = zip(
            *(
                ((np.abs(completed) ** 2).mean() / 2, gain)
                for completed, gain in (
                    grappa.complete(draw(8, 40, 31, seed=seed) * measured, measured)
                    for seed in range(10, 30)
                )
            ),
            strict=True,
        )
        count = 20 * 8 * 40 * 31
        assert np.mean(squares) == pytest.approx(gains[0], rel=5 * np.sqrt(20 / count))


def test_single_precision_stays() -> None:
    kspace = smooth(0.1).astype(np.complex64)
    completed, _ = Grappa(kspace[..., 9:24], EVEN[None]).complete(kspace * EVEN, EVEN)
    assert completed.dtype == np.complex64


def test_nothing_missing_or_nothing_there() -> None:
    kspace, full = smooth(0.1), np.ones(31, bool)
    completed, noise = Grappa(kspace[..., 9:24], full[None]).complete(kspace, full)
    np.testing.assert_array_equal(completed, kspace)
    assert noise == 1
    empty = np.zeros_like(kspace)
    completed, noise = Grappa(empty[..., 9:24], EVEN[None]).complete(kspace * EVEN, EVEN)
    np.testing.assert_array_equal(completed, kspace * EVEN)
    assert noise == pytest.approx(16 / 31)


@pytest.mark.parametrize(
    ("shape", "measured", "reason"),
    [
        ((2, 40, 24), np.arange(31) % 5 == 0, "more than 3 lines side by side"),
        ((2, 40, 24), EVEN & (np.arange(31) > 3), "more than 3 lines side by side"),
        ((2, 40, 24), np.zeros(31, bool), "more than 3 lines side by side"),
        ((2, 4, 24), EVEN, "4 x 24 samples are smaller than a kernel of 5 x 7"),
        ((2, 40, 6), EVEN, "40 x 6 samples are smaller than a kernel of 5 x 7"),
    ],
)
def test_what_no_kernel_completes(
    shape: tuple[int, int, int], measured: np.ndarray, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        check_kernels(np.ones(shape, complex), measured[None])
    with pytest.raises(ValueError, match=reason):
        Grappa(np.ones(shape, complex), measured[None])
