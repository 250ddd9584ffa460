"""Complex images of several coils: sensitivity maps by ESPIRiT, and combination.

ESPIRiT (Uecker et al., Magn Reson Med 71:990-1001, 2014) needs no smoothing of images. In an
adaptive combination (Walsh et al. 2000) smoothing biases edges, and the bias enters the phase. The
method is implemented here, as the maintained library that has it (sigpy) brings a compiler and
holds every kernel at the size of the image. Here the kernels' correlation, a few samples wide, is
evaluated row by row.

Two things differ from the paper. The maps fill the whole image without a threshold on eigenvalues,
so that noise stays as it is and nothing dark is erased. There is one set of maps, so that anatomy
that folds over in the encoded field of view is combined wrongly.

Phase. Coils and object share a phase that no data can separate. Maps, and with them the combined
image, get the phase that a virtual coil sees: the combination of coils with the most energy in the
calibration region of the volume's middle slice, with a real weight for the strongest coil. One
phase common to all slices stays arbitrary, and where the virtual coil sees nothing the phase jumps.
"""

import numpy as np

from mrcascade.io.fastmri.kspace import Matrix, centre, forward

# Central samples of k-space, and the side of the kernels in it, as in the paper.
CALIBRATION = 24
# fastMRI has up to 24 coils; time and memory grow with their square and cube.
MOST_COILS = 64
_KERNEL = 6
# Singular values of the calibration matrix below this share of the largest are noise.
_NOISE = 0.02
# Numbers of squarings of a matrix and of its applications after that; together they leave
# (l2 / l1)^72 of a second eigenvector.
_SQUARINGS, _APPLIED = 3, 8
# Numbers in the matrices of the pixels that are held at once.
_HELD = 2**21
# No coil is sensitive in a pixel whose map is below this share of the largest.
_INSENSITIVE = 1e-6


def virtual_coil(images: np.ndarray) -> np.ndarray:
    """Return the weights (coils,) of the virtual coil, with norm 1; see the module.

    Args:
        images: (coils, rows, columns), complex.
    """
    samples = _calibration(images).reshape(len(images), -1)
    weights = np.linalg.eigh(samples @ samples.conj().T)[1][:, -1]
    strongest = weights[np.abs(weights).argmax()]
    return weights * (np.abs(strongest) / strongest)


def estimate_maps(
    images: np.ndarray, virtual: np.ndarray, matrix: Matrix | None = None
) -> np.ndarray:
    """Return sensitivity maps (coils, rows, columns), complex64.

    The squared magnitudes of the maps sum to 1 in each pixel.

    Args:
        images: one slice, (coils, rows, columns), complex, fully sampled. Where they were cropped
            through anatomy, maps are wrong near the cut, as kernels in k-space are periodic.
        virtual: weights (coils,) of `virtual_coil`.
        matrix: (rows, columns) of the central part to return maps for; None for all.
    """
    coils, *size = images.shape
    kernel = min(_KERNEL, *size)
    correlation = _correlation(_calibration(images), kernel)
    first, second = (
        _waves(n, len(correlation), m) for n, m in zip(size, matrix or size, strict=True)
    )
    maps = np.empty((coils, len(first), len(second)), np.complex64)
    step = max(1, _HELD // (coils**2 * len(second)))
    for start in range(0, len(first), step):
        block = slice(start, start + step)
        matrices = _matrices(correlation, first[block], second)
        vectors = _dominant(matrices.reshape(-1, coils, coils))
        seen = vectors @ virtual.conj()
        vectors *= np.exp(-1j * np.angle(seen))[:, None]
        maps[:, block] = vectors.T.reshape(coils, -1, len(second))
    return maps


def combine(images: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Return the least-squares image (rows, columns), complex64; 0 where no coil is sensitive.

    Noise is assumed equal and independent in all coils.

    Args:
        images, maps: (coils, rows, columns), complex.
    """
    weight = (maps.real**2 + maps.imag**2).sum(axis=0)
    seen = (maps.conj() * images).sum(axis=0)
    where = weight > _INSENSITIVE**2 * weight.max()
    return np.divide(seen, weight, out=np.zeros_like(seen), where=where).astype(np.complex64)


def _calibration(images: np.ndarray) -> np.ndarray:
    """Return the central k-space of images, (coils, CALIBRATION, CALIBRATION) or fewer samples.

    They are scaled to a largest magnitude of 1, as fastMRI's values are tiny.
    """
    first = centre(forward(images, 1), 1, CALIBRATION)
    samples = centre(forward(first, 2), 2, CALIBRATION).astype(np.complex128)
    return samples / (np.abs(samples).max() or 1.0)


def _correlation(calibration: np.ndarray, kernel: int) -> np.ndarray:
    """Return the correlation (w, w, coils, coils) of the calibration kernels, complex64.

    Its shifts between samples are -kernel < d < kernel.
    """
    coils = len(calibration)
    patches = np.lib.stride_tricks.sliding_window_view(calibration, (kernel, kernel), (1, 2))
    columns = patches.transpose(0, 3, 4, 1, 2).reshape(coils * kernel**2, -1)
    values, vectors = np.linalg.eigh(columns @ columns.conj().T)
    kept = vectors[:, values > _NOISE**2 * values[-1]]
    projector = (kept @ kept.conj().T).reshape(coils, kernel, kernel, coils, kernel, kernel)
    total = np.zeros((2 * kernel - 1, 2 * kernel - 1, coils, coils), projector.dtype)
    for p, q in np.ndindex(kernel, kernel):
        first, second = kernel - 1 - p, kernel - 1 - q  # where the shift is -p and -q
        window = total[first : first + kernel, second : second + kernel]
        window += projector[:, p, q].transpose(2, 3, 0, 1)
    return (total / kernel**2).astype(np.complex64)


def _matrices(correlation: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the paper's G of each pixel, (rows, columns, coils, coils).

    They are Hermitian, with eigenvalues from 0 to 1.

    Args:
        correlation: as returned by `_correlation`.
        rows, columns: as returned by `_waves`, for the pixels to compute.
    """
    width, _, coils, _ = correlation.shape
    along_rows = rows @ correlation.reshape(width, -1)
    both = columns @ along_rows.reshape(-1, width, coils * coils)
    return both.reshape(*both.shape[:2], coils, coils)


def _waves(size: int, width: int, wanted: int) -> np.ndarray:
    """Return exp(-2 pi i x d / size) for centred pixels x and shifts d, (wanted, width).

    Pixels are the central ones of `size`, as `centre` takes them.
    """
    pixels = centre(np.arange(size) - size // 2, 0, wanted)
    shifts = np.arange(width) - width // 2
    return np.exp(-2j * np.pi * np.outer(pixels, shifts) / size).astype(np.complex64)


def _dominant(matrices: np.ndarray) -> np.ndarray:
    """Return the dominant eigenvectors, of norm 1, of Hermitian matrices (N, coils, coils).

    A matrix of zeros gives the first unit vector.
    """
    for _ in range(_SQUARINGS):
        trace = np.trace(matrices, axis1=1, axis2=2).real
        matrices = matrices / np.where(trace > 0, trace, 1)[:, None, None]
        matrices = matrices @ matrices
    # They tend to rank 1, where all columns are alike: the longest is the best start.
    longest = np.diagonal(matrices, axis1=1, axis2=2).real.argmax(axis=1)
    vectors = np.take_along_axis(matrices, longest[:, None, None], axis=2)
    for _ in range(_APPLIED):
        vectors = matrices @ vectors
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors /= np.where(lengths > 0, lengths, 1)
    vectors[lengths[:, 0, 0] == 0, 0] = 1
    return vectors[..., 0]
