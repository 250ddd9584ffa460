"""Average of several acquisitions of one object that differ in their phase.

Between two acquisitions the centre frequency drifts, which turns the phase of the image, and so
does a shift of the echo in k-space, which adds a phase linear in the pixels. Both are estimated
from the images, for all coils together: the phase is that of the sum over the coils of one image
times the conjugate of the other. The autocorrelation of neighbouring pixels gives its slopes (Ahn
and Cho, IEEE Trans Med Imaging 6:32-36, 1987), without unwrapping. Newton's method then maximises
the real part of what the two images have in common: the maximum likelihood for noise that is
Gaussian.
"""

from collections.abc import Sequence

import numpy as np

# Newton's method squares the error with each step; it starts within a few percent of a radian.
_STEPS = 8
# Share of what two images have in common that is a rounding.
_LOST = 1e-9


def average(images: Sequence[np.ndarray], noise: Sequence[float]) -> np.ndarray:
    """Return the weighted mean (coils, rows, columns) of images, at the phase of the first.

    Args:
        images: of each average (coils, rows, columns), complex.
        noise: relative variance of the noise of each. Weights are its inverse.

    >>> import numpy as np
    >>> first = np.ones((1, 4, 4), complex)
    >>> bool(np.allclose(average([first, 1j * first], [1.0, 1.0]), first))
    True
    """
    share = 1 / sum(1 / float(one) for one in noise)
    total = images[0] * (share / float(noise[0]))
    for image, variance in zip(images[1:], noise[1:], strict=True):
        common = np.zeros(image.shape[1:], np.complex128)  # holds the square of any value
        for one, other in zip(images[0], image, strict=True):
            common += one.conj() * other.astype(np.complex128)
        turned = share / float(variance) * np.exp(-1j * linear_phase(common))
        total += turned.astype(image.dtype) * image
    return total


def linear_phase(common: np.ndarray) -> np.ndarray:
    """Return the phase (rows, columns), linear in the pixels, that fits an image best, rad.

    Args:
        common: complex image (rows, columns), whose magnitudes are weights of its phases. Its
            phase must change by less than pi from pixel to pixel.

    >>> import numpy as np
    >>> y, x = np.mgrid[:8, :8]
    >>> phase = linear_phase(np.exp(1j * (0.5 + 2.0 * y - 1.0 * x)))
    >>> bool(abs(phase[1, 0] - phase[0, 0] - 2.0) < 1e-9)
    True
    """
    place = [np.arange(n) - (n - 1) / 2 for n in common.shape]
    largest = np.abs(common).max()
    if largest == 0:
        return np.zeros(common.shape)
    values = common / largest
    slopes = [
        float(np.angle(np.sum(values[1:] * values[:-1].conj()))),
        float(np.angle(np.sum(values[:, 1:] * values[:, :-1].conj()))),
    ]
    phase = slopes[0] * place[0][:, None] + slopes[1] * place[1]
    phase = phase + np.angle(np.sum(values * np.exp(-1j * phase)))
    # Scaled to about 1, for the condition of the equations.
    scale = [max(1.0, float(np.abs(p).max())) for p in place]
    basis = np.stack(
        [
            np.ones(common.shape),
            np.broadcast_to(place[0][:, None] / scale[0], common.shape),
            np.broadcast_to(place[1] / scale[1], common.shape),
        ]
    )
    best, fit = phase, -np.inf
    for _ in range(_STEPS):
        left = values * np.exp(-1j * phase)
        if left.real.sum() < fit - _LOST * np.abs(values).sum():
            return best  # where there is little in common, a step can lead away
        best, fit = phase, left.real.sum()
        gradient = np.einsum("kyx,yx->k", basis, left.imag)
        curvature = np.einsum("kyx,lyx,yx->kl", basis, basis, left.real)
        step = np.linalg.lstsq(curvature, gradient, rcond=None)[0]
        phase = phase + np.einsum("k,kyx->yx", step, basis)
    return best
