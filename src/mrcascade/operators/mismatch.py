"""Difference of two operators on images of a given power spectrum."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from mrcascade.errors import MRCascadeError
from mrcascade.operators.base import LinearOperator
from mrcascade.operators.kernels import Matrix
from mrcascade.operators.separable import SeparableOperator

IMAGES = 16
Spectrum = Callable[[Matrix, Matrix], Matrix]


def expected_error(
    operator: SeparableOperator, reference: SeparableOperator, spectrum: Spectrum
) -> float:
    """Root mean square of (A - B) x per measurement sample, over stationary random images x.

    With A = H and B = H up ... up down ... down it is the error of a level that sees only the
    coarse part of the image: the missing bands, as the measurement sees them.

    The image is periodic on its H x W grid, x = sum_k X_k exp(2 pi i (f_r r + f_c c)), with
    uncorrelated X_k of variance S(k) / (H W). Then, with a_k = A_rows e_k and so on,

        E ||(A - B) x||^2 = 1 / (H W) sum_k S(k) ||a_r (x) a_c - b_r (x) b_c||^2 ,

    and every term follows from norms and inner products of the 1-D responses alone.

    Args:
        operator, reference: A and B, with equal input and output shapes.
        spectrum: function of the frequencies ``fr`` (H, 1) and ``fc`` (1, W) in cycles per
            pixel, in [-1/2, 1/2). It returns the power spectral density S, finite and >= 0,
            broadcastable to (H, W). Its unit is (unit of x)^2 per (cycle / pixel)^2: the
            integral over the square, here the mean over the grid, is the variance of a pixel.
            It includes the zero frequency: S(0, 0) / (H W) is the mean square of the mean.

    Returns:
        The error in the unit of x.

    Raises:
        MRCascadeError: shapes differ, or the spectrum has a wrong shape or invalid values.
    """
    _check_shapes(operator, reference)
    rows = _responses(operator.rows, reference.rows)
    cols = _responses(operator.cols, reference.cols)
    # a_r (x) a_c - b_r (x) b_c = d_r (x) a_c + b_r (x) d_c with d = a - b: nearly equal
    # operators lose no digits, and equal ones give exactly zero.
    gain = (
        np.outer(_inner(rows.d, rows.d), _inner(cols.a, cols.a))
        + np.outer(_inner(rows.b, rows.b), _inner(cols.d, cols.d))
        + 2 * np.outer(_inner(rows.d, rows.b), _inner(cols.a, cols.d))
    ).real
    density = _density(spectrum, operator.in_shape)
    power = float(np.mean(density * gain)) / (operator.out_shape[0] * operator.out_shape[1])
    return float(np.sqrt(max(power, 0.0)))


def sampled_error(
    operator: LinearOperator,
    reference: LinearOperator,
    spectrum: Spectrum,
    channels: int = 1,
    device: str | torch.device = "cpu",
) -> float:
    """Estimate `expected_error` of any two operators from `IMAGES` random images.

    The images are Gaussian with the given spectrum, (IMAGES, channels, H, W) on ``device``.
    Channels are independent, and every call draws the same images. Raises MRCascadeError as
    `expected_error` does.
    """
    _check_shapes(operator, reference)
    root = np.sqrt(_density(spectrum, operator.in_shape))
    white = np.random.default_rng(0).normal(size=(IMAGES, channels, *operator.in_shape))
    x = torch.from_numpy(np.fft.ifft2(np.fft.fft2(white) * root).real.astype(np.float32)).to(device)
    return float((operator(x) - reference(x)).square().mean().sqrt())


class _Responses:
    """1-D responses a, b and a - b to the complex exponentials, each (samples, frequencies)."""

    def __init__(self, a: NDArray[np.complex128], b: NDArray[np.complex128]) -> None:
        self.a, self.b, self.d = a, b, a - b


def _responses(a: Matrix, b: Matrix) -> _Responses:
    return _Responses(
        np.fft.ifft(a, axis=1, norm="forward"), np.fft.ifft(b, axis=1, norm="forward")
    )


def _inner(a: NDArray[np.complex128], b: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Inner product per frequency."""
    product: NDArray[np.complex128] = (a.conj() * b).sum(axis=0)
    return product


def _density(spectrum: Spectrum, shape: tuple[int, int]) -> Matrix:
    fr, fc = (np.fft.fftfreq(n).astype(np.float64) for n in shape)
    density = np.asarray(spectrum(fr[:, None], fc[None, :]), dtype=np.float64)
    try:
        density = np.broadcast_to(density, shape)
    except ValueError:
        raise MRCascadeError(
            f"the spectrum returned shape {density.shape}; it must broadcast to {shape}"
        ) from None
    if not (np.isfinite(density).all() and (density >= 0).all()):
        raise MRCascadeError("the spectrum must be finite and >= 0 at every frequency, 0 included")
    return density


def _check_shapes(a: LinearOperator, b: LinearOperator) -> None:
    if (a.in_shape, a.out_shape) != (b.in_shape, b.out_shape):
        raise MRCascadeError(
            f"operators '{a.name}' ({a.in_shape} -> {a.out_shape}) and '{b.name}' "
            f"({b.in_shape} -> {b.out_shape}) have different shapes and cannot be compared"
        )
