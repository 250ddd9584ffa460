"""Augmentation of training images: random contrast, bias field, blur and noise.

Images are in units of the robust maximum, and no signal is 0 (``mrcascade.arrays.intensity``).
Changes of complex images keep the phase, except noise, which is complex. Each change has a
strength, and is exactly the identity at strength 0.
"""

from __future__ import annotations

import numpy as np
from scipy.interpolate import PchipInterpolator

from mrcascade.arrays.intensity import robust_maximum
from mrcascade.training.config import TrainConfig

AIR = 0.05  # every random map keeps intensities below it below it
KNOTS = np.array([0.0, AIR, 0.3, 0.55, 0.8, 1.0])  # intensities at which a random map is drawn
DARKEST = 0.05  # least value of tissue in a random map
TABLE = np.linspace(0.0, 1.0, 513)
ORDER = 3  # highest frequency of a bias field, in half periods per side


def is_on(config: TrainConfig) -> bool:
    """Return whether a run changes any image."""
    shares = (
        config.contrast_map_share,
        config.bias_field_share,
        config.blur_share,
        config.added_noise_share,
    )
    return max(shares) > 0


def augmented(image: np.ndarray, config: TrainConfig, rng: np.random.Generator) -> np.ndarray:
    """Apply random changes to a slice, each with the probability that ``config`` gives it.

    The order is that of a scanner: contrast, bias field, blur, noise.

    Args:
        image: (H, W), real or complex.
        config: shares and strengths of the changes.
        rng: random generator.

    Returns:
        The changed slice; the same array if no change was drawn.
    """
    contrast, bias, blur, noise = rng.random(4)
    result = image
    if contrast < config.contrast_map_share:
        result = with_contrast(result, random_map(config.contrast_map_strength, rng))
    if bias < config.bias_field_share:
        strength = config.bias_field_strength * rng.random()
        shape = image.shape[0], image.shape[1]
        result = _of_same_maximum(image, result * bias_field(shape, strength, rng))
    if blur < config.blur_share:
        rows, cols = config.largest_blur * rng.random(2)
        result = blurred(result, (float(rows), float(cols)))
    if noise < config.added_noise_share:
        result = noisy(result, config.largest_added_noise * float(rng.random()), rng)
    return result


def random_map(strength: float, rng: np.random.Generator) -> np.ndarray:
    """Draw a random smooth map of [0, 1] into itself, and return its values at ``TABLE``.

    Values at ``KNOTS`` above ``AIR`` are drawn from ``DARKEST`` to 1. Their order is rising,
    falling or arbitrary, with probability 1/3 each. They are mixed with the identity (weight
    1 - strength) and joined by monotone cubic pieces (Fritsch and Carlson 1980), so the map is
    monotone wherever its knots are. The distance between knots keeps the map smooth.
    """
    values = rng.uniform(DARKEST, 1.0, len(KNOTS) - 2)
    order = rng.integers(3)
    if order < 2:
        values = np.sort(values)[:: 1 - 2 * order]
    drawn = np.concatenate([KNOTS[:2], values])
    return np.asarray(PchipInterpolator(KNOTS, KNOTS + strength * (drawn - KNOTS))(TABLE))


def with_contrast(image: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Map the magnitudes of an image from ``TABLE`` to ``values``.

    Magnitudes above 1 are multiplied by the same factor as 1. The result is scaled back to the
    image's robust maximum. Signs and phases stay, and 0 stays 0.
    """
    level = np.clip(np.abs(image).astype(np.float64), np.finfo(np.float32).tiny, 1.0)
    gain = np.interp(level, TABLE, values) / level
    return _of_same_maximum(image, image * gain.astype(np.float32))


def bias_field(shape: tuple[int, int], strength: float, rng: np.random.Generator) -> np.ndarray:
    """Draw a smooth random gain (H, W), float32, that reaches ``exp(strength)`` or its inverse.

    It is the exponential of a sum of cosines with up to ``ORDER`` half periods per side.
    """
    weights = rng.standard_normal((ORDER + 1, ORDER + 1))
    frequency = np.arange(ORDER + 1)
    weights /= 1 + frequency[:, None] ** 2 + frequency**2
    weights[0, 0] = 0.0
    rows, cols = (np.cos(np.pi * frequency * ((np.arange(n)[:, None] + 0.5) / n)) for n in shape)
    field = rows @ weights @ cols.T
    return np.exp(strength * field / np.abs(field).max()).astype(np.float32)


def blurred(image: np.ndarray, std: tuple[float, float]) -> np.ndarray:
    """Convolve an image periodically with a Gaussian of standard deviation ``std`` in pixels.

    ``std`` is (rows, columns). Frequencies f (per pixel) are multiplied by
    ``exp(-2 (pi std f)^2)``.
    """
    if not any(std):
        return image
    rows, cols = (
        np.exp(-2 * (np.pi * s * np.fft.fftfreq(n)) ** 2)
        for s, n in zip(std, image.shape, strict=True)
    )
    result = np.fft.ifft2(np.fft.fft2(image) * (rows[:, None] * cols))
    return (result if np.iscomplexobj(image) else result.real).astype(image.dtype)


def noisy(image: np.ndarray, std: float, rng: np.random.Generator) -> np.ndarray:
    """Add Gaussian noise of standard deviation ``std``, to both parts of a complex image."""
    noise = std * rng.standard_normal(image.shape, np.float32)
    if np.iscomplexobj(image):
        noise = noise + 1j * std * rng.standard_normal(image.shape, np.float32)
    return (image + noise).astype(image.dtype)


def _of_same_maximum(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    ratio = robust_maximum(before) / max(robust_maximum(after), 1e-12)
    return after * np.float32(ratio)
