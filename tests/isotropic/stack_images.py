"""Stacks of thick slices of one made-up anatomy, which is known in closed form."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from thick_images import FWHM, thick_file

# Directions of (slices, rows, columns); pixels of 1 mm, slices 4 mm apart.
PLANES = {"axial": (2, 1, 0), "coronal": (1, 2, 0), "sagittal": (0, 2, 1)}
SIDE = 40  # mm, of a stack's field of view


def stack_affine(plane: str) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Affine (slices, rows, columns -> mm) around the origin, and shape of a stack.

    An "oblique" one is a coronal one turned by 8 degrees about x.
    """
    order = PLANES["coronal" if plane == "oblique" else plane]
    directions = np.eye(3)[:, order]
    if plane == "oblique":
        c, s = np.cos(np.deg2rad(8)), np.sin(np.deg2rad(8))
        directions = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ directions
    shape = (SIDE // 4, SIDE, SIDE)
    affine = np.eye(4)
    affine[:3, :3] = directions * [4, 1, 1]
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine, shape


@dataclass(frozen=True)
class Anatomy:
    """A sum of Gaussian blobs.

    Attributes:
        seed: decides where they are.
        motion: (4, 4), how the person has moved (mm).
    """

    seed: int = 0
    motion: np.ndarray | None = None

    def moved(self, motion: np.ndarray | None) -> Anatomy:
        return replace(self, motion=motion)

    def slices(self, affine: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
        """The anatomy integrated over slices of 4 mm with a Gaussian profile."""
        rng = np.random.default_rng(self.seed)
        centres, widths = rng.uniform(-11, 11, (40, 3)), rng.uniform(1.5, 4, 40)
        heights = rng.uniform(100, 500, 40)
        if self.motion is not None:
            centres = nib.affines.apply_affine(self.motion, centres)
        normal = affine[:3, 0] / np.linalg.norm(affine[:3, 0])
        places = nib.affines.apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1))
        total = np.zeros(shape)
        for centre, width, height in zip(centres, widths, heights, strict=True):
            offset = places - centre
            across = offset @ normal
            through = width**2 + (4 / FWHM) ** 2
            in_plane = (offset**2).sum(-1) - across**2
            value = np.exp(-in_plane / (2 * width**2) - across**2 / (2 * through))
            total += height * width / np.sqrt(through) * value
        return total

    def save(self, path: Path, plane: str, gain: float = 1.0, **document: Any) -> Path:
        """A NIfTI file of a stack, slices last."""
        affine, shape = stack_affine(plane)
        slices = (gain * self.slices(affine, shape)).astype(np.float32)
        return thick_file(path, slices.transpose(2, 1, 0), affine[:, [2, 1, 0, 3]], **document)
