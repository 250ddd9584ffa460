"""Random changes of training images that a scanner could have made: another contrast, a bias field,
blur and noise.

Images are in units of the robust maximum, 0 standing for no signal
(``mrcascade.arrays.intensity``). Of a complex image the magnitude is changed and the phase kept,
but for noise, which is complex. Each change takes a strength and is the identity, bit by bit, at
strength 0.
"""

from __future__ import annotations

import numpy as np
from scipy.interpolate import PchipInterpolator

from mrcascade.arrays.intensity import robust_maximum
from mrcascade.training.config import TrainConfig

AIR = 0.05  # intensities below stay below in every random map
KNOTS = np.array([0.0, AIR, 0.3, 0.55, 0.8, 1.0])  # where a random map is drawn
DARKEST = 0.05  # value that a map may give to tissue
TABLE = np.linspace(0.0, 1.0, 513)
ORDER = 3  # highest frequency of a bias field, in half periods per side


def is_on(config: TrainConfig) -> bool:
    """Whether a run changes any image."""
    shares = (
        config.contrast_map_share,
        config.bias_field_share,
        config.blur_share,
        config.added_noise_share,
    )
    return max(shares) > 0


def augmented(image: np.ndarray, config: TrainConfig, rng: np.random.Generator) -> np.ndarray:
    """A slice (H, W) with the changes that ``rng`` draws by the shares of ``config``: first another
    contrast, then a bias field, blur and noise, as in a scanner. The same array where it draws
    none."""
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
    """Values at the intensities ``TABLE`` of a random smooth map of [0, 1] into itself.

    Values at ``KNOTS`` above ``AIR`` are drawn from ``DARKEST`` to 1 in rising, falling or any
    order, each once in three. They are mixed with the identity (1 - strength) and joined by
    monotone cubic pieces (Fritsch and Carlson 1980), so the map is monotone where its values are.
    The distance of the knots keeps it smooth, so that edges stay edges.
    """
    values = rng.uniform(DARKEST, 1.0, len(KNOTS) - 2)
    order = rng.integers(3)
    if order < 2:
        values = np.sort(values)[:: 1 - 2 * order]
    drawn = np.concatenate([KNOTS[:2], values])
    return np.asarray(PchipInterpolator(KNOTS, KNOTS + strength * (drawn - KNOTS))(TABLE))


def with_contrast(image: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The image with its magnitudes mapped: ``TABLE`` to ``values``, larger ones by the factor of
    1. Then it is scaled so that its robust maximum stays; signs and phases stay, and 0 is 0."""
    level = np.clip(np.abs(image).astype(np.float64), np.finfo(np.float32).tiny, 1.0)
    gain = np.interp(level, TABLE, values) / level
    return _of_same_maximum(image, image * gain.astype(np.float32))


def bias_field(shape: tuple[int, int], strength: float, rng: np.random.Generator) -> np.ndarray:
    """A smooth random gain (H, W) that reaches ``exp(strength)`` or its inverse, float32: the
    exponential of cosines of at most ``ORDER`` half periods per side."""
    weights = rng.standard_normal((ORDER + 1, ORDER + 1))
    frequency = np.arange(ORDER + 1)
    weights /= 1 + frequency[:, None] ** 2 + frequency**2
    weights[0, 0] = 0.0
    rows, cols = (np.cos(np.pi * frequency * ((np.arange(n)[:, None] + 0.5) / n)) for n in shape)
    field = rows @ weights @ cols.T
    return np.exp(strength * field / np.abs(field).max()).astype(np.float32)


def blurred(image: np.ndarray, std: tuple[float, float]) -> np.ndarray:
    """Periodic convolution with a Gaussian of standard deviation ``std`` (rows, columns) in pixels:
    frequency f (per pixel) times ``exp(-2 (pi std f)^2)``."""
    if not any(std):
        return image
    rows, cols = (
        np.exp(-2 * (np.pi * s * np.fft.fftfreq(n)) ** 2)
        for s, n in zip(std, image.shape, strict=True)
    )
    result = np.fft.ifft2(np.fft.fft2(image) * (rows[:, None] * cols))
    return (result if np.iscomplexobj(image) else result.real).astype(image.dtype)


def noisy(image: np.ndarray, std: float, rng: np.random.Generator) -> np.ndarray:
    """The image plus Gaussian noise of standard deviation ``std``, of both parts if complex."""
    noise = std * rng.standard_normal(image.shape, np.float32)
    if np.iscomplexobj(image):
        noise = noise + 1j * std * rng.standard_normal(image.shape, np.float32)
    return (image + noise).astype(image.dtype)


def _of_same_maximum(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    ratio = robust_maximum(before) / max(robust_maximum(after), 1e-12)
    return after * np.float32(ratio)
