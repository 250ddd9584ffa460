"""T2 files in the layout of fastMRI prostate, simulated, and the publisher's way to a magnitude.

The object fills the field of view, so that every second line alone folds it over.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fastmri_files import UNIT, coil_maps, header, phantom, to_images, to_kspace, write

GRID = (64, 64)
COLUMNS = 45
CENTRE = 22  # of the columns: half of them, rounded down
RECON = (32, 32)
FILLED = (60, 60)  # matrix that the object reaches across
LINES = 24  # of the calibration data

Turn = tuple[float, float, float]


@dataclass
class T2Scan:
    """What a file holds and was made of.

    Attributes:
        path: the file.
        averages: k-space (averages, slices, coils, rows, columns), undersampled, complex64.
        calibration: (slices, coils, rows, lines), complex64.
        stored: reconstruction (slices, rows, columns), float32: of `complete`.
        complete: k-space of the first average without noise, (slices, coils, rows, columns).
        xml: the header.
    """

    path: Path
    averages: np.ndarray
    calibration: np.ndarray
    stored: np.ndarray
    complete: np.ndarray
    xml: str

    def write(self, path: Path, without: tuple[str, ...] = (), **changed: np.ndarray) -> Path:
        """Write a file with some datasets changed, or without some fields."""
        arrays = {
            "kspace": self.averages,
            "calibration_data": self.calibration,
            "reconstruction_rss": self.stored,
        }
        path.parent.mkdir(exist_ok=True)
        return write(path, arrays | changed, self.xml, without)


def t2_scan(
    path: Path,
    slices: int = 1,
    coils: int = 6,
    noise: float = 0.0,
    turns: tuple[Turn, Turn, Turn] = ((0, 0, 0), (0, 0, 0), (0, 0, 0)),
    centre: int = CENTRE,
    recon: tuple[int, int] = RECON,
) -> T2Scan:
    """Write a file.

    Args:
        path: the file.
        slices, coils: their numbers.
        noise: standard deviation of the real and the imaginary part of all samples, as a fraction
            of the object's scale.
        turns: phase of each average's image: a constant (rad), and slopes along the rows and the
            columns (rad per pixel).
        centre: column in the centre of k-space.
        recon: reconstructed matrix.
    """
    seen = phantom(slices, GRID, FILLED)[:, None] * coil_maps(coils, GRID, FILLED)
    y, x = (np.arange(n) - n // 2 for n in GRID)
    left = GRID[1] // 2 - centre
    inside = slice(left, left + COLUMNS)
    rng = np.random.default_rng(3)
    averages = []
    for number, (constant, down, across) in enumerate(turns):
        turned = seen * np.exp(1j * (constant + down * y[:, None] + across * x))
        kspace = to_kspace(turned)[..., inside].astype(np.complex128)
        kspace += noise * UNIT * drawn(rng, kspace.shape)
        kspace[..., 1 - number % 2 :: 2] = 0
        averages.append(kspace.astype(np.complex64))
    complete = to_kspace(seen)[..., inside]
    calibration = complete[..., centre - LINES // 2 : centre + LINES // 2].astype(np.complex128)
    calibration += noise * UNIT * drawn(rng, calibration.shape)
    images = upright(on_grid(complete, centre), recon)
    scan = T2Scan(
        path,
        np.stack(averages),
        calibration.astype(np.complex64),
        np.sqrt((np.abs(images) ** 2).sum(axis=1)).astype(np.float32),
        complete,
        header(GRID, recon, last=COLUMNS - 1, middle=centre),
    )
    scan.write(path)
    return scan


def drawn(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Complex noise, whose real and imaginary part have the standard deviation 1."""
    parts = rng.normal(size=(2, *shape))
    return parts[0] + 1j * parts[1]


def fully_sampled(path: Path, scan: T2Scan, centre: int = CENTRE) -> Path:
    """Write the scan as if fully sampled without noise, in fastMRI's layout for other anatomies."""
    images = to_images(on_grid(scan.complete, centre), GRID)[..., ::-1, :]
    return write(path, {"kspace": to_kspace(images)}, header(GRID, RECON))


def on_grid(kspace: np.ndarray, centre: int = CENTRE) -> np.ndarray:
    """Zero-fill the last axis to `GRID`, column `centre` in its centre."""
    left = GRID[1] // 2 - centre
    right = GRID[1] - kspace.shape[-1] - left
    return np.pad(kspace, [(0, 0)] * (kspace.ndim - 1) + [(left, right)])


def upright(kspace: np.ndarray, recon: tuple[int, int] = RECON) -> np.ndarray:
    """Images of k-space on the grid, with the rows reversed as in the stored reconstruction."""
    whole = to_images(kspace, GRID)[..., ::-1, :]
    rows, columns = ((n - m) // 2 for n, m in zip(GRID, recon, strict=True))
    return whole[..., rows : rows + recon[0], columns : columns + recon[1]]


def publishers_magnitude(scan: T2Scan, recon: tuple[int, int] = RECON) -> np.ndarray:
    """Mean over the averages of the root sum of squares, (slices, rows, columns).

    GRAPPA from windows of 5 x 5 samples, with 0.01 as Tikhonov's parameter.
    """
    slices = []
    for number, data in enumerate(scan.calibration):
        filled = [grappa_by_windows(a[number], data, (5, 5), 0.01)[0] for a in scan.averages]
        images = upright(on_grid(np.stack(filled)), recon)
        slices.append(np.sqrt((np.abs(images) ** 2).sum(axis=1)).mean(axis=0))
    return np.stack(slices)


def grappa_by_windows(
    kspace: np.ndarray, calibration: np.ndarray, size: tuple[int, int], share: float
) -> tuple[np.ndarray, float]:
    """GRAPPA sample by sample: windows of zero-padded k-space, dense least squares for each kind.

    Returns the completed k-space (coils, rows, columns) and the mean variance of the noise in it,
    relative to that in measured samples. Windows of the calibration data lie within it.
    """
    half = size[0] // 2, size[1] // 2
    around = [(0, 0), (half[0], half[0]), (half[1], half[1])]
    padded = np.pad(kspace.astype(np.complex128), around)
    padded = np.lib.stride_tricks.sliding_window_view(padded, size, (1, 2))
    patches = padded.transpose(1, 2, 3, 4, 0).reshape(-1, *size, len(kspace))
    masks = (patches != 0).any(axis=3)
    completed = kspace.astype(np.complex128).reshape(len(kspace), -1)
    noise = 0.0
    for mask in np.unique(masks, axis=0):
        which = (masks == mask).all(axis=(1, 2))
        if mask[half]:
            noise += which.sum()
            continue
        kernel = kernel_by_windows(calibration, mask, share)
        completed[:, which] = (patches[which][:, mask].reshape(which.sum(), -1) @ kernel).T
        noise += which.sum() * (np.abs(kernel) ** 2).sum() / len(kspace)
    return completed.reshape(kspace.shape), noise / len(masks)


def kernel_by_windows(calibration: np.ndarray, mask: np.ndarray, share: float) -> np.ndarray:
    """The kernel (samples, coils) for measured samples of a window, samples in the order of rows,
    columns and coils; by QR, with Tikhonov's term as rows of its own."""
    size = mask.shape
    fitted = np.lib.stride_tricks.sliding_window_view(
        calibration.astype(np.complex128), size, (1, 2)
    )
    fitted = fitted.transpose(1, 2, 3, 4, 0).reshape(-1, *size, len(calibration))
    sources, targets = (
        fitted[:, mask].reshape(len(fitted), -1),
        fitted[:, size[0] // 2, size[1] // 2],
    )
    count = sources.shape[1]
    ridge = np.sqrt(share * np.linalg.norm(sources.conj().T @ sources) / count)
    left = np.concatenate([sources, ridge * np.eye(count)])
    right = np.concatenate([targets, np.zeros((count, len(calibration)))])
    return np.linalg.lstsq(left, right)[0]
