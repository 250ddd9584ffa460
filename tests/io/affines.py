"""Random places of images in the world."""

from __future__ import annotations

import numpy as np


def random_affine(rng: np.random.Generator) -> np.ndarray:
    """An oblique affine, unequal spacing, any order and sign of axes (LAS included), any origin."""
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = rotation * rng.choice([-1, 1], 3) * rng.uniform(0.4, 3.0, 3)
    affine[:3, 3] = rng.uniform(-150, 150, 3)
    return affine
