"""From k-space to images, slice by slice: transform, crop, root sum of squares.

fastMRI's k-space is centred and orthonormal. Its readout, the rows, is oversampled by two; cropping
the image to the reconstructed matrix removes the oversampling (Zbontar et al., *fastMRI: An Open
Dataset and Benchmarks for Accelerated MRI*, 2018).
"""

from dataclasses import dataclass

import numpy as np

Matrix = tuple[int, int]

# Share of the samples within the acquired rectangle that may be 0, by chance or where a scanner
# leaves corners out.
_MISSING_SHARE = 0.01


@dataclass(frozen=True)
class Sampling:
    """Sampling of a slice's k-space.

    Attributes:
        full: whether no line is missing within the rectangle of samples that are not 0. Samples
            around it were filled up with zeros.
        acquired: (rows, columns) of the centred extent that contains the rectangle.
    """

    full: bool
    acquired: Matrix


def sampling_of(kspace: np.ndarray) -> Sampling:
    """Return the sampling of one slice (coils, rows, columns); only zeros count as sampled."""
    sampled = (kspace != 0).any(axis=0)
    lines = [np.flatnonzero(sampled.any(axis=axis)) for axis in (1, 0)]
    if not lines[0].size:
        return Sampling(True, (sampled.shape[0], sampled.shape[1]))
    inside = sampled[np.ix_(*(np.arange(found[0], found[-1] + 1) for found in lines))]
    lacking = not (inside.any(axis=0).all() and inside.any(axis=1).all())
    sparse = np.count_nonzero(inside) < (1 - _MISSING_SHARE) * inside.size
    rows, columns = (_reach(f, n) for f, n in zip(lines, sampled.shape, strict=True))
    return Sampling(not lacking and not sparse, (rows, columns))


def coil_images(kspace: np.ndarray, matrix: Matrix) -> np.ndarray:
    """Transform k-space (coils, rows, columns) to images cropped to `matrix`, complex64.

    Rows are cropped before the columns are transformed, which saves half of the work.
    """
    rows = centre(inverse(kspace, 1), 1, matrix[0])
    return centre(inverse(rows, 2), 2, matrix[1]).astype(np.complex64)


def root_sum_of_squares(images: np.ndarray) -> np.ndarray:
    """Combine images (coils, rows, columns) to their root sum of squares (rows, columns), real."""
    squares = images.real**2 + images.imag**2
    return np.sqrt(squares.sum(axis=0))


def inverse(data: np.ndarray, axis: int) -> np.ndarray:
    """Apply the centred, orthonormal inverse Fourier transform along an axis."""
    turned = np.fft.ifft(np.fft.ifftshift(data, axes=axis), axis=axis, norm="ortho")
    return np.fft.fftshift(turned, axes=axis)


def forward(data: np.ndarray, axis: int) -> np.ndarray:
    """Apply the centred, orthonormal Fourier transform along an axis, the inverse of `inverse`."""
    turned = np.fft.fft(np.fft.ifftshift(data, axes=axis), axis=axis, norm="ortho")
    return np.fft.fftshift(turned, axes=axis)


def central(data: np.ndarray, matrix: Matrix) -> np.ndarray:
    """Return the central rows and columns, the last two axes, of images."""
    return centre(centre(data, data.ndim - 2, matrix[0]), data.ndim - 1, matrix[1])


def centre(data: np.ndarray, axis: int, size: int) -> np.ndarray:
    """Return the central `size` samples along an axis; all of them where there are fewer."""
    start = max(0, (data.shape[axis] - size) // 2)
    return data.take(range(start, min(start + size, data.shape[axis])), axis=axis)


def _reach(found: np.ndarray, size: int) -> int:
    """Return the smallest centred extent of `size` samples that holds those found."""
    middle = size // 2
    return min(size, 2 * int(max(middle - found[0], found[-1] + 1 - middle)))
