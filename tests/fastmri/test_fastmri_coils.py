"""Complex images of several coils, against simulations with known maps and the paper's algorithm.

Without noise the error comes from the width of the kernels, six samples of k-space, which the
spectra of simulated coils exceed. The limits here are the figures of
`benchmarks/coil_combination.py` with a margin.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fastmri_files import UNIT, Scan, coil_maps, crop, multicoil, phantom

from mrcascade.io import read_image
from mrcascade.io.fastmri.coils import combine, estimate_maps, virtual_coil

SIZE = (64, 64)
PHASE_ERROR, MAGNITUDE_ERROR = 0.0025, 1e-4  # root mean square: rad, relative


def simulated(coils: int = 8, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Object, maps and coil images of one slice."""
    image = phantom(1, SIZE, SIZE)[0] / UNIT
    maps = coil_maps(coils, SIZE, SIZE)
    drawn = np.random.default_rng(0).normal(size=(2, *maps.shape))
    return image, maps, image * maps + noise * (drawn[0] + 1j * drawn[1])


def errors(
    combined: np.ndarray, image: np.ndarray, maps: np.ndarray, virtual: np.ndarray
) -> tuple[float, float]:
    """Root mean square errors within the object: phase (rad, but for a constant), magnitude.

    The truth: the object at the coils' joint sensitivity, with the phase the virtual coil sees.
    """
    seen = np.einsum("c,cyx->yx", virtual.conj(), maps)
    joint = np.sqrt((np.abs(maps) ** 2).sum(axis=0))
    ratio = combined / np.where(image == 0, 1, image * joint * seen / np.abs(seen))
    ratio = ratio[np.abs(image) > 0.2 * np.abs(image).max()]
    phase = np.angle(ratio / ratio.mean())
    return np.sqrt(np.mean(phase**2)), np.sqrt(np.mean((np.abs(ratio) - 1) ** 2))


@pytest.mark.parametrize("coils", [2, 8, 16])
def test_against_known_maps(coils: int) -> None:
    image, maps, seen = simulated(coils)
    virtual = virtual_coil(seen)
    phase, magnitude = errors(combine(seen, estimate_maps(seen, virtual)), image, maps, virtual)
    assert phase < PHASE_ERROR
    assert magnitude < MAGNITUDE_ERROR


def test_noise_stays_what_it_is() -> None:
    """With unit maps a combination has the noise of one coil: of n values, to 5 / sqrt(2 n)."""
    rng = np.random.default_rng(1)
    image, _, seen = simulated(8)
    maps = estimate_maps(seen, virtual_coil(seen))
    np.testing.assert_allclose((np.abs(maps) ** 2).sum(axis=0), 1, atol=1e-5)
    noise = rng.normal(size=seen.shape) + 1j * rng.normal(size=seen.shape)
    combined = combine(noise, maps)
    assert combined.real.std() == pytest.approx(1, abs=5 / np.sqrt(2 * image.size))
    assert combined.imag.std() == pytest.approx(1, abs=5 / np.sqrt(2 * image.size))


def test_against_the_paper_written_out() -> None:
    """Kernels at the size of the image and an eigendecomposition per pixel (Uecker et al. 2014)."""
    _, _, seen = simulated(4, noise=0.01)
    k = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(seen, (1, 2)), norm="ortho"), (1, 2))
    region = k[:, 20:44, 20:44]
    patches = [region[:, i : i + 6, j : j + 6].ravel() for i in range(19) for j in range(19)]
    _, s, vh = np.linalg.svd(np.array(patches), full_matrices=False)
    kernels = vh[s > 0.02 * s[0]].reshape(-1, 4, 6, 6)
    y = np.arange(64) - 32
    waves = np.exp(-2j * np.pi * np.outer(y, np.arange(6)) / 64)
    # A patch is a row of the matrix, so that the filters are the conjugates of its row space.
    images = np.einsum("kcpq,yp,xq->yxck", kernels.conj(), waves, waves) / 6
    u, values, _ = np.linalg.svd(images)
    assert values.max() < 1 + 1e-6
    dominant = np.moveaxis(u[..., 0], 2, 0).conj()
    maps = estimate_maps(seen, virtual_coil(seen))
    clear = values[..., 1] < 0.9 * values[..., 0]  # elsewhere 72 applications do not suffice
    overlap = np.abs((dominant.conj() * maps).sum(axis=0))
    assert clear.mean() > 0.6
    np.testing.assert_allclose(overlap[clear], 1, atol=1e-4)


def test_phase_is_that_of_the_virtual_coil() -> None:
    _, _, seen = simulated(8)
    virtual = virtual_coil(seen)
    maps = estimate_maps(seen, virtual)
    reference = np.einsum("c,cyx->yx", virtual.conj(), maps)
    assert np.abs(np.angle(reference)).max() < 1e-3
    assert np.linalg.norm(virtual) == pytest.approx(1)
    assert virtual[np.abs(virtual).argmax()].imag == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("turn", [1j, np.exp(2.5j)])
def test_turned_coils_turn_only_the_image(turn: complex) -> None:
    """A phase common to all coils is the object's."""
    _, _, seen = simulated(4)
    first, second = (combine(z, estimate_maps(z, virtual_coil(z))) for z in (seen, seen * turn))
    np.testing.assert_allclose(second, first * turn, atol=2e-4 * np.abs(first).max())


def test_slices_share_their_phase(tmp_path: Path) -> None:
    """Whatever their content: of what each slice shows, the object is taken away."""
    scan = multicoil(tmp_path / "a.h5", slices=5, coils=8)
    stack = np.moveaxis(read_image(scan.path, complex_valued=True).data, 2, 0)
    joint = np.sqrt((np.abs(scan.maps) ** 2).sum(axis=0))
    seen = stack * (scan.image * joint).conj()  # its phase, weighted by its energy
    phases = np.angle(seen.sum(axis=(1, 2)))
    assert np.ptp(phases) < 0.02


def test_file_without_maps(scan: Scan) -> None:
    image = np.moveaxis(read_image(scan.path, complex_valued=True).data, 2, 0)
    assert image.dtype == np.complex64
    inside = scan.rss > 0.2 * scan.rss.max()
    ratio = np.abs(image[inside]) / scan.rss[inside]
    assert np.sqrt(np.mean((ratio - 1) ** 2)) < 0.01  # 32 x 32 pixels, four coils
    assert ratio.max() < 1 + 1e-4  # a combination never has more energy than the coils


def test_anatomy_beyond_the_crop(tmp_path: Path) -> None:
    """As of a leg along the readout: a cut through it is no edge of the coils' sensitivities."""
    size, recon = (128, 64), (64, 64)
    long = phantom(1, size, (120, 60))
    scan = multicoil(tmp_path / "a.h5", 1, 8, size, recon, objects=long)
    image = np.moveaxis(read_image(scan.path, complex_valued=True).data, 2, 0)
    inside = scan.rss > 0.2 * scan.rss.max()
    assert inside[:, [0, -1]].any()
    ratio = np.abs(image[inside]) / scan.rss[inside]
    assert np.sqrt(np.mean((ratio - 1) ** 2)) < MAGNITUDE_ERROR


@pytest.mark.parametrize("shape", [(3, 4, 30), (1, 8, 8), (2, 1, 9), (4, 5, 5)])
def test_small_and_empty_slices(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    for seen in (rng.normal(size=shape) + 1j * rng.normal(size=shape), np.zeros(shape, complex)):
        virtual = virtual_coil(seen)
        maps = estimate_maps(seen, virtual)
        assert np.isfinite(maps).all()
        np.testing.assert_allclose((np.abs(maps) ** 2).sum(axis=0), 1, atol=1e-4)


def test_combination_is_least_squares() -> None:
    rng = np.random.default_rng(2)
    maps, seen = (rng.normal(size=(3, 4, 5)) + 1j * rng.normal(size=(3, 4, 5)) for _ in range(2))
    combined = combine(seen, maps)
    for place in np.ndindex(4, 5):
        column = maps[(slice(None), *place)][:, None]
        (best,), *_ = np.linalg.lstsq(column, seen[(slice(None), *place)])
        assert combined[place] == pytest.approx(best, rel=1e-5)
    assert crop(combined, (2, 2)).shape == (2, 2)
