"""Simulated measurements of images in memory: y = H x + noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from mrcascade.arrays.factors import Factor
from mrcascade.arrays.intensity import Intensity, robust_maximum
from mrcascade.errors import MRCascadeError
from mrcascade.measurement.noise import zero_level
from mrcascade.operators import SeparableOperator, gaussian_noise


def simulate(
    image: np.ndarray,
    factor: Factor | Sequence[Factor],
    *,
    kernel: str = "fourier",
    noise: float = 0.0,
    seed: int = 0,
) -> tuple[np.ndarray, SeparableOperator]:
    """Measure an image with a lower resolution, as ``mrcascade simulate`` measures a file.

    Args:
        image: (H, W), or slices (S, H, W), real or complex.
        factor: by which the sides shrink, one number or (rows, columns); it must divide the sides
            into whole samples.
        kernel: name of the downsampling kernel (``KERNELS``).
        noise: standard deviation of the Gaussian noise as a fraction of the robust maximum of the
            noise-free measurement (99.9th percentile above the value of no signal). Real and
            imaginary part of complex images each get noise of that standard deviation.
        seed: of the noise.

    Returns the measurement, (h, w) or (S, h, w) in the image's intensities and at least float32,
    and the operator H, with which `super_resolve` restores it.

    Raises MRCascadeError for an unknown kernel, a factor that does not divide the sides, and an
    image that is not finite or zero almost everywhere.

    Example:
        >>> import numpy as np
        >>> import mrcascade
        >>> image = np.random.default_rng(0).random((32, 32), dtype=np.float32)
        >>> low, operator = mrcascade.simulate(image, 2, kernel="area", noise=0.01)
        >>> low.shape, low.dtype, operator.name
        ((16, 16), dtype('float32'), 'area 2x')
        >>> bool(np.abs(low - operator @ image).std() < 0.01)
        True
    """
    if image.ndim not in (2, 3) or image.dtype.kind not in "biufc":
        raise MRCascadeError(
            f"image: expected numbers (H, W) or (slices, H, W), got {image.dtype} {image.shape}"
        )
    if not np.isfinite(image).all():
        raise MRCascadeError("the image holds NaN or infinite pixels; replace them, such as by 0")
    if not 0 <= noise < np.inf:
        raise MRCascadeError(f"noise {noise}: give a standard deviation of 0 or more")
    stack = image[None] if image.ndim == 2 else image
    stack = np.require(stack, np.result_type(stack, np.float32), ["C", "W"])
    operator = SeparableOperator.from_kernel(kernel, factor, stack.shape[1:])
    low, _ = measured_slices(stack, operator, noise, seed)
    return (low[0] if image.ndim == 2 else low), operator


def measured_slices(
    stack: np.ndarray, operator: SeparableOperator, noise: float, seed: int | Sequence[int]
) -> tuple[np.ndarray, Intensity]:
    """Measurement (S, h, w) of slices (S, H, W), and the intensity of its noise-free part.

    noise: as for `simulate`. Raises MRCascadeError for slices that are zero almost everywhere.
    """
    low = operator(torch.from_numpy(stack)).numpy()
    zero = zero_level(stack)  # which H keeps
    intensity = Intensity(robust_maximum(low - zero if zero else low), zero)
    if not intensity.scale > 0:
        raise MRCascadeError("zero almost everywhere; there is nothing to measure")
    return low + gaussian_noise(low, noise * intensity.scale, seed), intensity
