"""Slices as 8-bit pictures: the window, and a coding that keeps a report small."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Bytes of pictures in a report of up to ``VOXELS`` voxels per layer; larger results get more in
#: proportion, up to ``MOST_BYTES``. As text they take a third more.
BYTES, MOST_BYTES = 6_900_000, 42_000_000
VOXELS = 256 * 256 * 200
#: Qualities of JPEG, from the best. PNG, which is exact, comes before all of them.
QUALITIES = (95, 92, 88, 84, 80, 75, 70, 60, 50)
ICON = 96  # pixels along the longer side of a thumbnail


@dataclass(frozen=True)
class Coding:
    """How the slices of a report are stored.

    Attributes:
        quality: quality of JPEG; None for PNG, which keeps every grey level.
        every: distance of the slices that are stored, 1 for all.
    """

    quality: int | None = None
    every: int = 1

    @property
    def mime(self) -> str:
        """Media type of the pictures."""
        return "image/png" if self.quality is None else "image/jpeg"

    def encode(self, pixels: np.ndarray) -> bytes:
        """Return a grey picture of pixels (H, W), uint8."""
        return encoded(pixels, self.quality)


def eight_bit(image: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Return grey levels of an image: 0 at and below the window, 255 at and above it.

    Args:
        image: (H, W), real.
        window: values shown black and white.
    """
    low, high = window
    share = (np.asarray(image, np.float32) - low) / np.float32(high - low)
    return np.rint(255 * np.clip(np.nan_to_num(share), 0, 1)).astype(np.uint8)


def encoded(pixels: np.ndarray, quality: int | None) -> bytes:
    """Return a grey PNG (quality None) or JPEG of pixels (H, W), uint8."""
    from PIL import Image

    file = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    if quality is None:
        picture.save(file, "PNG", optimize=False, compress_level=6)
    else:
        picture.save(file, "JPEG", quality=quality, optimize=True)
    return file.getvalue()


def thumbnail(pixels: np.ndarray, aspect: float) -> bytes:
    """Return a JPEG of ``ICON`` pixels along its longer side.

    Args:
        pixels: (H, W), uint8.
        aspect: height of a pixel over its width.
    """
    from PIL import Image

    height, width = pixels.shape[0] * aspect, float(pixels.shape[1])
    scale = ICON / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    picture = Image.fromarray(np.ascontiguousarray(pixels)).resize(size, Image.Resampling.BOX)
    return encoded(np.asarray(picture), 80)


def choose_coding(layers: Sequence[tuple[int, Sequence[np.ndarray]]]) -> Coding:
    """Return the best coding whose pictures fit into a report.

    Args:
        layers: for each layer of each view, its number of slices and some of them, (H, W) uint8.
    """
    voxels = max(count * some[0].size for count, some in layers)
    budget = min(MOST_BYTES, BYTES * max(1.0, voxels / VOXELS))
    size = 0.0
    for quality in (None, *QUALITIES):
        size = sum(
            count * sum(len(encoded(one, quality)) for one in some) / len(some)
            for count, some in layers
        )
        if size <= budget:
            return Coding(quality)
    return Coding(QUALITIES[-1], int(np.ceil(size / budget)))
